"""One kept connection of the load's own, and the request of the record on it."""

from __future__ import annotations

import socket
from typing import Any

import httptools

from fastproxy.bench.configs import CALLER_PATH

BODY = b"param=hello"

ANSWER_LIMIT_S = 10.0
"""How long nothing may be answered, before all counts as hung."""

RECEIVE_BYTES = 65_536


class LineError(Exception):
    """A connection was lost, or answers stayed out."""


def request_bytes(port: int) -> bytes:
    """Return the request of the record, as `post.lua` makes wrk send it."""
    head = (
        f"POST {CALLER_PATH} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Content-Length: {len(BODY)}",
        "Content-Type: application/x-www-form-urlencoded",
        "C_ServiceName: chat_service",
        "Accept: */*",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + BODY


class Line:
    """One kept connection, with at most one request on its way.

    Attributes:
        due_s: when that request was due.
        status: of the answer, once it is here whole; 0 before.
    """

    __slots__ = ("_parser", "_socket", "due_s", "status")

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser: Any = httptools.HttpResponseParser(self)
        self.due_s = 0.0
        self.status = 0

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select`."""
        return self._socket.fileno()

    def ask(self, request: bytes, due_s: float) -> None:
        """Send a request."""
        self.due_s = due_s
        self.status = 0
        self._socket.sendall(request)

    def receive(self) -> None:
        """Read what is here, or wait for it.

        Raises:
            LineError: the connection was closed, or what came is no answer.
        """
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise LineError("a connection was closed")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            raise LineError(f"no HTTP answer: {exc}") from exc

    def on_message_complete(self) -> None:
        """Note the end of an answer; called by the parser."""
        self.status = self._parser.get_status_code()

    def wait(self) -> None:
        """Wait for all of the answer.

        Raises:
            LineError: it doesn't come.
        """
        while not self.status:
            self.receive()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()
