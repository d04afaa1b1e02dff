"""The demo with something broken in it: a pair of proxies, two callers that go on calling, two services.

    chat_service ──▶ out proxy ══▶ eavesdropper ══▶ in proxy ──▶ search_service
    song_service ──▶     "     ═══════════════════▶    "     ──▶ token_service

song_service's calls of token_service go well; what chat_service asks of search_service doesn't (`breakages`).
Everything but the proxies runs in threads of this process, and ends when it is left, in whatever way.
"""

from __future__ import annotations

import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPException
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import NamedTuple

from fastproxy.bench.processes import Fleet, StartError
from fastproxy.demo.breakages import RECEIVER, TIMEOUT_S, Breakage, in_config, out_config
from fastproxy.demo.eavesdropper import Eavesdropper
from fastproxy.demo.sample_services import SampleService
from fastproxy.demo.stage import Answer, Proxy, call, key_file

_PAUSE_S = 0.5
"""Between two calls of a caller."""
_COMPLAINT_LIMIT_S = 30.0


class BrokenDemo(NamedTuple):
    """What runs. exchange: the id of a call of chat_service's that failed, as its answer said it."""

    out_proxy: Proxy
    in_proxy: Proxy
    exchange: str

    def is_running(self) -> bool:
        """Whether both proxies still run."""
        return self.out_proxy.is_running() and self.in_proxy.is_running()


@contextmanager
def set_up_broken(breakage: Breakage) -> Iterator[BrokenDemo]:
    """Start everything, and wait for the first call that fails; take it down when left.

    Raises:
        StartError: a proxy doesn't start, or no call fails.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fastproxy-demo-")))
        there = {
            name: key_file(folder, name) for name in (RECEIVER, "chat_service", "song_service", "stranger")
        }
        there |= _addresses(stack)
        # The fleet is left before the servers of this process: with the proxies go the connections to them.
        eavesdropping = stack.enter_context(ExitStack())
        fleet = stack.enter_context(Fleet())
        config = in_config(there)
        breakage.change(config, there)
        in_proxy = Proxy(fleet, folder, "in", json.dumps(config))
        in_proxy.await_ready()
        eavesdropper = eavesdropping.enter_context(Eavesdropper(in_proxy.port))
        config = out_config(there[RECEIVER], f"127.0.0.1:{eavesdropper.port}", f"127.0.0.1:{in_proxy.port}")
        out_proxy = Proxy(fleet, folder, "out", json.dumps(config))
        out_proxy.await_ready()
        chat = _Caller(out_proxy, "chat_service", "search_service", breakage, eavesdropper)
        stack.enter_context(chat)
        stack.enter_context(_Caller(out_proxy, "song_service", "token_service"))
        yield BrokenDemo(out_proxy, in_proxy, chat.await_failure())


def _addresses(stack: ExitStack) -> dict[str, str]:
    """Start what is called; return addresses by name."""
    ports = {
        name: stack.enter_context(SampleService(name)).port for name in ("search_service", "token_service")
    }
    # Bound, and so nobody else's; the one doesn't listen, the other takes nobody out of the line.
    closed = stack.enter_context(socket.socket())
    closed.bind(("127.0.0.1", 0))
    mute = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    ports |= {"closed": closed.getsockname()[1], "mute": mute.getsockname()[1]}
    ports["babbler"] = stack.enter_context(_babbling())
    return {name: f"127.0.0.1:{port}" for name, port in ports.items()}


class _Babble(StreamRequestHandler):
    """Answers as a mail server would."""

    def handle(self) -> None:
        self.rfile.readline()
        self.wfile.write(b"220 mail.example ESMTP\r\n")


class _Babbler(ThreadingTCPServer):
    daemon_threads = True


@contextmanager
def _babbling() -> Iterator[int]:
    """Run a server that speaks no HTTP; yields its port."""
    with _Babbler(("127.0.0.1", 0), _Babble) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="babbler")
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Caller:
    """Calls a service again and again, from when it is entered until it is left.

    Args:
        proxy: the out proxy. name: of the caller. service: that it calls.
        breakage: what is broken; None where nothing is. eavesdropper: changes what passes, if that is it.
    """

    def __init__(
        self,
        proxy: Proxy,
        name: str,
        service: str,
        breakage: Breakage | None = None,
        eavesdropper: Eavesdropper | None = None,
    ) -> None:
        self._proxy = proxy
        self._name = name
        self._target = f"/{service}/api/service"
        self._late_s = breakage.late_s if breakage else None
        self._eavesdropper = eavesdropper if breakage and breakage.tampers else None
        self._failed: SimpleQueue[str] = SimpleQueue()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def __enter__(self) -> _Caller:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def await_failure(self) -> str:
        """Wait for the first call that fails; return its exchange id.

        Raises:
            StartError: none does.
        """
        try:
            return self._failed.get(timeout=_COMPLAINT_LIMIT_S)
        except Empty:
            raise StartError("nothing fails in the demo, though something is broken") from None

    def _run(self) -> None:
        is_first = True
        for number in count():
            if self._over.is_set():
                return
            # Every other one: the call after it makes the link that the next one finds.
            if self._eavesdropper is not None and number % 2:
                self._eavesdropper.tamper_with_next(inward=False)
            try:
                answer = self._call()
            except (OSError, HTTPException):
                answer = None  # the proxies may be on their way out already
            if is_first and answer is not None and answer.status >= 400:
                is_first = False
                self._failed.put(answer.headers["fastproxy-exchange"])
            self._over.wait(_PAUSE_S)

    def _call(self) -> Answer:
        headers = {"C_ServiceName": self._name}
        if self._late_s is not None:
            headers["request_dead_time"] = str(int(time.time()) - self._late_s + TIMEOUT_S)
        return call(self._proxy, "POST", self._target, headers, "param=hello")
