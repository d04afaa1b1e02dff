"""What plays in the demo, and how it is set up and taken down.

    out proxy ─────────────┐                                ┌─▶ token_service
    (chat, song)           │                                │
    stranger's out proxy ──┼─▶ eavesdropper ─▶ in proxy ────┤
    old out proxy ─────────┘                                └─▶ search_service
    (lobby)

The old out proxy speaks the wire format of the Go original, as do all proxies of whoever hasn't moved on.
Services and eavesdropper run in threads of this process; each proxy is a process of its own, `fastproxy run`
with a config and key files in a temporary folder. All listen on loopback, on ports that the system picks.
When the stage is left, in whatever way, processes and folder are gone.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from fastproxy.bench.processes import Fleet, Process, StartError
from fastproxy.demo.eavesdropper import Eavesdropper
from fastproxy.demo.sample_services import SampleService
from fastproxy.wire.identity import PrivateKey, format_public_key

START_LIMIT_S = 20.0
LOG_LIMIT_S = 5.0
ANSWER_LIMIT_S = 10.0
POLL_S = 0.01

IN_YAML = """\
role: in
name: services-in
listen: {{address: "127.0.0.1:0", accept: [http, compat]}}
private_key: {{file: services-in.key}}
callers:
  chat_service: {{public_keys: [{chat_service}]}}
  song_service: {{public_keys: [{song_service}]}}
compat:
  sign_keys: {{lobby.sign: {{file: lobby.sign.secret}}}}
  encrypt_keys: {{lobby.encrypt: {{file: lobby.encrypt.secret}}}}
  callers:
    lobby_service: {{sign: [lobby.sign], encrypt: [lobby.encrypt]}}
services:
  token_service: {{endpoints: ["127.0.0.1:{token_port}"]}}
  search_service: {{endpoints: ["127.0.0.1:{search_port}"]}}
privileges:
  - callers: [song_service, lobby_service]
    services: [token_service]
    methods: [POST]
    paths: [/api/service]
  - {{callers: [chat_service], services: [search_service], methods: [POST], paths: [/api/service]}}
  - callers: [chat_service]
    services: [search_service]
    methods: [GET]
    paths: [/api/suggest]
    rate: {{per_s: 0.1, burst: 2}}
enforce: {enforce}
admin: {{address: "127.0.0.1:0"}}
drain: {{grace_s: 1}}
"""

OUT_YAML = """\
role: out
name: {name}
listen: {{address: "127.0.0.1:0", service_from: path}}
{callers}
receivers:
  services-in: {{public_keys: [{receiver_key}], endpoints: ["127.0.0.1:{eavesdropper_port}"]}}
defaults: {{receiver: services-in, timeout_s: 5}}
services: {{token_service: {{}}, search_service: {{}}}}
admin: {{address: "127.0.0.1:0"}}
drain: {{grace_s: 1}}
"""

OLD_OUT_YAML = """\
role: out
name: old-out
listen: {{address: "127.0.0.1:0", service_from: path}}
caller: lobby_service
compat:
  sign_keys: {{lobby.sign: {{file: lobby.sign.secret}}}}
  encrypt_keys: {{lobby.encrypt: {{file: lobby.encrypt.secret}}}}
  callers:
    lobby_service: {{sign: lobby.sign, encrypt: lobby.encrypt, compress: snappy}}
services: {{token_service: {{transport: compat, endpoints: ["127.0.0.1:{eavesdropper_port}"]}}}}
admin: {{address: "127.0.0.1:0"}}
drain: {{grace_s: 1}}
"""

BOTH_CALLERS = """\
callers:
  header: C_ServiceName
  names:
    chat_service: {private_key: {file: chat_service.key}}
    song_service: {private_key: {file: song_service.key}}"""

STRANGER = """\
caller: chat_service
private_key: {file: stranger.key}"""


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

    port: of its listener. admin: address of health and metrics.

    Raises:
        StartError: it ended, or wasn't ready within `START_LIMIT_S`.
    """

    def __init__(self, fleet: Fleet, folder: Path, name: str, config: str) -> None:
        file = folder / f"{name}.yaml"
        file.write_text(config)
        self.log = folder / f"{name}.log"
        self._process: Process = fleet.start([sys.executable, "-m", "fastproxy", "run", str(file)], self.log)
        self.port = 0
        self.admin = ""

    def await_ready(self) -> None:
        """Wait until it listens, and learn where."""
        ready = self.await_line(lambda line: line.get("message") == "ready", limit_s=START_LIMIT_S)
        if ready is None:
            raise StartError(f"a proxy of the demo did not start: {self._process.log_tail()}")
        self.port = int(ready["listen"].rpartition(":")[2])
        self.admin = ready["admin"]

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


class Stage(NamedTuple):
    """Everything that plays, and runs."""

    folder: Path
    services: Mapping[str, SampleService]
    eavesdropper: Eavesdropper
    in_proxy: Proxy
    out_proxy: Proxy
    strangers_proxy: Proxy
    old_proxy: Proxy

    def proxies(self) -> tuple[Proxy, ...]:
        """Return all proxies."""
        return self.in_proxy, self.out_proxy, self.strangers_proxy, self.old_proxy


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
            name: _key_file(folder, name)
            for name in ("services-in", "chat_service", "song_service", "stranger")
        }
        for name in ("lobby.sign", "lobby.encrypt"):
            _write_secret(folder / f"{name}.secret", secrets.token_hex(16))
        token, search = (
            stack.enter_context(SampleService(name)) for name in ("token_service", "search_service")
        )
        # The fleet is left before the servers of this process: with the proxies go the connections to them.
        eavesdropping = stack.enter_context(ExitStack())
        fleet = stack.enter_context(Fleet())
        in_proxy = Proxy(
            fleet,
            folder,
            "in",
            IN_YAML.format(**public_keys, token_port=token.port, search_port=search.port, enforce=enforce),
        )
        in_proxy.await_ready()
        eavesdropper = eavesdropping.enter_context(Eavesdropper(in_proxy.port))
        out_proxies = [
            Proxy(fleet, folder, name, config)
            for name, config in _out_configs(public_keys["services-in"], eavesdropper.port).items()
        ]
        for proxy in out_proxies:
            proxy.await_ready()
        services = {service.name: service for service in (token, search)}
        yield Stage(folder, services, eavesdropper, in_proxy, *out_proxies)


def _out_configs(receiver_key: str, eavesdropper_port: int) -> dict[str, str]:
    """Return the configs of the out proxies by name, in the order in which the stage has them."""
    configs = {
        name: OUT_YAML.format(
            name=name, callers=callers, receiver_key=receiver_key, eavesdropper_port=eavesdropper_port
        )
        for name, callers in (("out", BOTH_CALLERS), ("strangers-out", STRANGER))
    }
    configs["old-out"] = OLD_OUT_YAML.format(eavesdropper_port=eavesdropper_port)
    return configs


def call(
    proxy: Proxy, method: str, target: str, headers: Mapping[str, str], body: str | None = None
) -> Answer:
    """Make a plain HTTP request of an out proxy, as any caller does.

    Raises:
        OSError, http.client.HTTPException: nothing sensible came back.
    """
    connection = http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=ANSWER_LIMIT_S)
    try:
        connection.request(method, target, body, dict(headers))
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, fields, response.read().decode(errors="replace"))
    finally:
        connection.close()


def _key_file(folder: Path, name: str) -> str:
    """Make a private key and write it; return the public key's text."""
    key = PrivateKey(os.urandom(32))
    _write_secret(folder / f"{name}.key", key.reveal())
    return format_public_key(key.public_key)


def _write_secret(file: Path, text: str) -> None:
    """Write a file that only its owner can read."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(text + "\n")
