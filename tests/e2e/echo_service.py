"""A service that takes whatever is framed well: behind it, every refusal is a proxy's own.

It answers 200 to every method and echoes the body of a POST. Three answers are a service's business alone, so
it gives them for the proxies to carry: 204 with `Allow` to OPTIONS (and a Content-Length, which has no place
there: the proxies have to take it off), 405 with `Allow` to DELETE, and 426 to who asks for a WebSocket of
another version than 13 (which carriers of HTTP only refuse themselves). It sends no Date.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ALLOW = b"Allow: GET, HEAD, POST, PUT, OPTIONS\r\n"


class _Exchange(socketserver.StreamRequestHandler):
    """One connection; the socket server calls `handle` once."""

    def handle(self) -> None:
        try:
            while self._answer_one():
                pass
        except (OSError, ValueError):
            return  # the proxy cut the connection, or the framing is broken

    def _answer_one(self) -> bool:
        method = self.rfile.readline().split(b" ")[0]
        if not method:
            return False
        fields: dict[bytes, bytes] = {}
        while line := self.rfile.readline().strip():
            name, _, value = line.partition(b":")
            fields[name.lower()] = value.strip()
        body = self._read_body(fields)
        content = body if method == b"POST" and body else b"OK"
        status, extra = b"200 OK", b""
        if method == b"OPTIONS":
            status, extra, content = b"204 No Content", ALLOW, b""
        elif method == b"DELETE":
            status, extra = b"405 Method Not Allowed", ALLOW
        elif b"upgrade" in fields and fields.get(b"sec-websocket-version", b"13") != b"13":
            status, extra = b"426 Upgrade Required", b"Sec-WebSocket-Version: 13\r\n"
        self.wfile.write(
            b"HTTP/1.1 %b\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n%b\r\n%b"
            % (status, len(content), extra, b"" if method == b"HEAD" else content)
        )
        return True

    def _read_body(self, fields: dict[bytes, bytes]) -> bytes:
        if b"transfer-encoding" not in fields:
            return self.rfile.read(int(fields.get(b"content-length", b"0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return body


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def echo_service() -> Iterator[tuple[str, int]]:
    """Run the service in threads; yields its address."""
    with _Server(("127.0.0.1", 0), _Exchange) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield ("127.0.0.1", server.server_address[1])
        finally:
            server.shutdown()
