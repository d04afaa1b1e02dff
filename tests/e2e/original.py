"""Doubles of the Go original's two proxies: they speak wire format v1 as it was recorded, and no more.

What they seal and open is byte for byte what stands in the recorded exchanges; `test_migrating.py` holds them
to it. One request at a time, each on a connection of its own.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import TracebackType
from typing import NamedTuple, Self

from fastproxy.wire.compat.sealing import CompatReceiver, CompatSender

CALLER_HEADER = "C_ServiceName"
CONTEXT_PATH = "/inProxy"
LIMIT_BYTES = 1 << 20
TIMEOUT_S = 10.0


class Reply(NamedTuple):
    """Status and content of an answer."""

    status: int
    content: bytes


def post(port: int, target: str, caller: str, content: bytes) -> Reply:
    """Send a request in the name of a caller, on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("POST", target, content, {CALLER_HEADER: caller})
        response = connection.getresponse()
        return Reply(response.status, response.read())
    finally:
        connection.close()


class Listener:
    """A port on loopback, and a thread that answers there.

    Args:
        answer: given path, caller and content of a request, returns what to answer.
    """

    def __init__(self, answer: Callable[[str, str, bytes], Reply]) -> None:
        class Exchange(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                reply = answer(self.path, self.headers[CALLER_HEADER], content)
                self.send_response(reply.status)
                self.send_header("Content-Length", str(len(reply.content)))
                self.end_headers()
                self.wfile.write(reply.content)

            def log_message(self, format: str, *args: object) -> None:
                """Tests look at answers."""

        self._server = HTTPServer(("127.0.0.1", 0), Exchange)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Answer what has come, and end; later calls change nothing."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class OriginalOutProxy(Listener):
    """Beside the callers. requests: the messages that it sent, in order.

    Args:
        senders: by caller. in_proxy_port: where it sends everything.
    """

    def __init__(self, senders: Mapping[str, CompatSender], in_proxy_port: int) -> None:
        self._senders = senders
        self._in_proxy_port = in_proxy_port
        self.requests: list[bytes] = []
        super().__init__(self._answer)

    def _answer(self, path: str, caller: str, content: bytes) -> Reply:
        """Seal, send, and open what comes back; what isn't a 200 goes back as it is."""
        sender = self._senders[caller]
        self.requests.append(sender.seal(content))
        reply = post(self._in_proxy_port, CONTEXT_PATH + path, caller, self.requests[-1])
        if reply.status != 200:
            return reply
        return Reply(200, sender.open_response(reply.content, LIMIT_BYTES))


class OriginalInProxy(Listener):
    """Beside the services. Its callers may call everything.

    Args:
        receiver: opens messages. services: name to port.
    """

    def __init__(self, receiver: CompatReceiver, services: Mapping[str, int]) -> None:
        self._receiver = receiver
        self._services = services
        super().__init__(self._answer)

    def _answer(self, path: str, caller: str, content: bytes) -> Reply:
        """Open, forward, and seal the service's answer."""
        request = self._receiver.open(caller, content, LIMIT_BYTES)
        service, slash, rest = path.removeprefix(f"{CONTEXT_PATH}/").partition("/")
        reply = post(self._services[service], slash + rest, caller, request.body)
        return Reply(reply.status, request.answer.seal(reply.content))
