"""What plays in the demo, and how it is set up and taken down.

    out proxy ─────────────┐                                ┌─▶ token_service, search_service,
    (chat, song)           │                                │   order_service, report_service
    stranger's out proxy ──┼─▶ eavesdropper ─▶ in proxy ────┘
    old out proxy ─────────┘
    (lobby)

Two ways of the out proxy's lead elsewhere: order_service's straight to the in proxy, and mail_service's to a
second eavesdropper with an impostor behind it, an in proxy that has only a caller's key.
The old out proxy speaks the wire format of the Go original, as do all proxies of whoever hasn't moved on.
Services and eavesdroppers run in threads of this process; each proxy is a process of its own, `fastproxy run`
with a config and key files in a temporary folder. All listen on loopback, on ports that the system picks.
When the stage is left, in whatever way, processes and folder are gone.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from fastproxy.bench.processes import Fleet, Process, StartError
from fastproxy.demo.configs import (
    ENCRYPT_KEY,
    RECEIVER,
    SERVICES,
    SIGN_KEY,
    impostor_config,
    in_config,
    out_configs,
)
from fastproxy.demo.eavesdropper import Eavesdropper
from fastproxy.demo.sample_services import SampleService
from fastproxy.wire.identity import PrivateKey, format_public_key

START_LIMIT_S = 20.0
LOG_LIMIT_S = 5.0
ANSWER_LIMIT_S = 40.0
"""Above every timeout of the configs: it is for the proxies to say when time is up."""
POLL_S = 0.01


class Answer(NamedTuple):
    """What a caller got back. headers: by lower-case name."""

    status: int
    headers: dict[str, str]
    body: str

    def problem(self) -> dict[str, Any]:
        """Return the problem document in the body; an empty one when there is none."""
        if self.headers.get("content-type") != "application/problem+json":
            return {}
        content: dict[str, Any] = json.loads(self.body)
        return content


class Proxy:
    """A proxy that runs; its log is the file `log`.

    port: of its listener. admin: address of health and metrics. Both are known when it is ready.

    Args:
        fleet: ends it. folder: with the key files; gets its config and log. name: of those.
        config: its text.
    """

    def __init__(self, fleet: Fleet, folder: Path, name: str, config: str) -> None:
        self._fleet = fleet
        self._folder = folder
        self._name = name
        self._start(name, config)

    def _start(self, name: str, config: str) -> None:
        file = self._folder / f"{name}.yaml"
        file.write_text(config)
        self.log = self._folder / f"{name}.log"
        command = [sys.executable, "-m", "fastproxy", "run", str(file)]
        self._process: Process = self._fleet.start(command, self.log)
        self.port = 0
        self.admin = ""

    def await_ready(self) -> None:
        """Wait until it listens, and learn where.

        Raises:
            StartError: it ended, or wasn't ready within `START_LIMIT_S`.
        """
        ready = self.await_line(lambda line: line.get("message") == "ready", limit_s=START_LIMIT_S)
        if ready is None:
            raise StartError(f"a proxy of the demo did not start: {self._process.log_tail()}")
        self.port = int(ready["listen"].rpartition(":")[2])
        self.admin = ready["admin"]

    def end(self) -> bool:
        """Ask it by SIGTERM to end; return whether it did, with all that was in flight."""
        os.kill(self._process.pid, signal.SIGTERM)
        give_up_at = time.monotonic() + START_LIMIT_S
        while self.is_running():
            if time.monotonic() > give_up_at:
                return False
            time.sleep(POLL_S)
        said = [line.get("message") for line in self.lines()]
        return "stopped" in said and "grace period over" not in said

    def start_again(self, config: str) -> None:
        """Start another process in place of one that has ended, with a log of its own."""
        self._start(f"{self._name}-again", config)

    def is_running(self) -> bool:
        """Return whether its process still runs."""
        return self._process.is_running()

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged, oldest first."""
        lines = []
        for text in self.log.read_bytes().splitlines(keepends=True):
            # Warnings of the start are plain text; a line without its end is still being written.
            if text.startswith(b"{") and text.endswith(b"\n"):
                lines.append(json.loads(text))
        return lines

    def await_line(
        self, wanted: Callable[[dict[str, Any]], bool], *, limit_s: float = LOG_LIMIT_S, skip: int = 0
    ) -> dict[str, Any] | None:
        """Wait until it logs a line that is wanted.

        Args:
            wanted: says whether a line is.
            limit_s: longest wait.
            skip: number of lines at the beginning that don't count.

        Returns:
            The line, or None when the time was up or the process ended.
        """
        give_up_at = time.monotonic() + limit_s
        while True:
            running = self.is_running()
            for line in self.lines()[skip:]:
                if wanted(line):
                    return line
            if not running or time.monotonic() > give_up_at:
                return None
            time.sleep(POLL_S)

    def count(self, metric: str, cause: str) -> int:
        """Return what it has counted of this cause, as its metrics say.

        Raises:
            OSError, http.client.HTTPException: it can't be asked.
        """
        host, _, port = self.admin.rpartition(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=ANSWER_LIMIT_S)
        try:
            connection.request("GET", "/metrics")
            text = connection.getresponse().read().decode()
        finally:
            connection.close()
        found = re.search(rf'^{metric}_total{{.*cause="{cause}".*}} (\d+)', text, re.MULTILINE)
        return 0 if found is None else int(found.group(1))


class Stage(NamedTuple):
    """Everything that plays, and runs.

    impostors_eavesdropper: on the way to the impostor. in_config: makes the in proxy's config for a port.
    """

    folder: Path
    services: Mapping[str, SampleService]
    eavesdropper: Eavesdropper
    impostors_eavesdropper: Eavesdropper
    in_proxy: Proxy
    impostor: Proxy
    out_proxy: Proxy
    strangers_proxy: Proxy
    old_proxy: Proxy
    in_config: Callable[[int], str]

    def proxies(self) -> tuple[Proxy, ...]:
        """Return all proxies."""
        return self.in_proxy, self.impostor, self.out_proxy, self.strangers_proxy, self.old_proxy


@contextmanager
def set_up(enforce: str) -> Iterator[Stage]:
    """Start everything; take it down when left.

    Args:
        enforce: the in proxy's setting of this name. "report" makes it let pass what it should refuse.

    Raises:
        StartError: a proxy doesn't start.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastproxy-demo-")))
        public_keys = {
            name: key_file(folder, name) for name in (RECEIVER, "chat_service", "song_service", "stranger")
        }
        for name in (SIGN_KEY, ENCRYPT_KEY):
            _write_secret(folder / f"{name}.secret", secrets.token_hex(16))
        services = {name: stack.enter_context(SampleService(name)) for name in SERVICES}
        ports = {name: service.port for name, service in services.items()}
        config = partial(in_config, public_keys, ports, enforce=enforce)
        # The fleet is left before the servers of this process: with the proxies go the connections to them.
        eavesdropping = stack.enter_context(ExitStack())
        fleet = stack.enter_context(Fleet())
        in_proxy = Proxy(fleet, folder, "in", config(0))
        impostor = Proxy(fleet, folder, "impostor", impostor_config(public_keys, ports))
        in_proxy.await_ready()
        impostor.await_ready()
        watched, impostors = (
            eavesdropping.enter_context(Eavesdropper(proxy.port)) for proxy in (in_proxy, impostor)
        )
        configs = out_configs(public_keys[RECEIVER], in_proxy.port, watched.port, impostors.port)
        out, strangers, old = [Proxy(fleet, folder, name, text) for name, text in configs.items()]
        for proxy in (out, strangers, old):
            proxy.await_ready()
        yield Stage(folder, services, watched, impostors, in_proxy, impostor, out, strangers, old, config)


def call(
    proxy: Proxy, method: str, target: str, headers: Mapping[str, str], body: str | None = None
) -> Answer:
    """Make a plain HTTP request of an out proxy, as any caller does.

    Head and content leave at once: the proxy has the whole request in hand should it have to send it again.

    Raises:
        OSError, http.client.HTTPException: nothing sensible came back.
    """
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=ANSWER_LIMIT_S)
    try:
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
        connection.request(method, target, body, dict(headers))
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read().decode(errors="replace"))
    finally:
        connection.close()


def key_file(folder: Path, name: str) -> str:
    """Make a private key and write it into the folder as NAME.key; return the public key's text."""
    key = PrivateKey(os.urandom(32))
    _write_secret(folder / f"{name}.key", key.reveal())
    return format_public_key(key.public_key)


def _write_secret(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")
