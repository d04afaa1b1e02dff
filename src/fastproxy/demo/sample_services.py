"""The services of the demo: plain HTTP servers that know nothing of proxies and remember what they got."""

from __future__ import annotations

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

REMEMBERED = 10_000
BODY_LIMIT_BYTES = 1 << 20


class Got(NamedTuple):
    """A request as it reached a service. caller: who it is by the in proxy's word, "" if nobody said."""

    method: str
    path: str
    caller: str
    body: str


class SampleService:
    """A service on a port that the system picks; use it as a context manager.

    name: of the service. got: the latest requests that reached it, oldest first. port: where it listens.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.got: deque[Got] = deque(maxlen=REMEMBERED)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name=name)

    def _handler(self, *connection: Any) -> BaseHTTPRequestHandler:
        return _Handler(self, *connection)

    def __enter__(self) -> SampleService:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body of an answer leave in one write

    def __init__(self, service: SampleService, *connection: Any) -> None:
        self._service = service
        super().__init__(*connection)

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        length = self.headers["Content-Length"] or "0"
        if not length.isdecimal() or int(length) > BODY_LIMIT_BYTES or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            self.send_error(413, "a sample service takes small bodies with a length")
            return
        body = self.rfile.read(int(length)).decode(errors="replace")
        caller = self.headers["Fastproxy-Caller"] or ""
        self._service.got.append(Got(self.command, self.path, caller, body))
        answer = (
            json.dumps({"service": self._service.name, "caller": caller, "you_sent": body}).encode() + b"\n"
        )
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """The demo shows what a service got; a second log would only repeat it."""
