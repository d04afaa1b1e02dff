"""A caller on a raw socket: says exactly what the test wants said, and hears exactly what comes back."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from tests.e2e.http_wire import Message, read_head, read_rest

Address = tuple[str, int] | str
"""Host and port, or the path of a Unix socket."""


def connect_to(
    address: Address, timeout_s: float, *, source: str = "", receive_bytes: int = 0
) -> socket.socket:
    """Connect; the arguments are those of `Client`."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    connection = socket.socket(family, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    try:
        if source:
            connection.bind((source, 0))
        connection.connect(address)
    except OSError:
        connection.close()
        raise
    return connection


class Answer(Message):
    """A response. One that is cut inside its content has `whole` False."""

    @property
    def status(self) -> int:
        """The status code."""
        return int(self.start.split(" ", 2)[1])

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document of a refusal."""
        assert self.get("content-type") == "application/problem+json", (self.start, self.body[:200])
        document: dict[str, Any] = json.loads(self.body)
        assert document["status"] == self.status
        return document

    @property
    def cause(self) -> str:
        """The row of the error table that a refusal names."""
        return str(self.problem["cause"])

    @property
    def exchange(self) -> str:
        """The exchange id."""
        return self.get("fastproxy-exchange")


class Client:
    """One connection.

    Args:
        address: where to.
        timeout_s: for each wait.
        source: address to connect from.
        receive_bytes: size of the kernel's receive buffer, for clients that read slowly.
    """

    def __init__(
        self, address: Address, timeout_s: float = 10, source: str = "", receive_bytes: int = 0
    ) -> None:
        self.socket = connect_to(address, timeout_s, source=source, receive_bytes=receive_bytes)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self.stream.close()
        self.socket.close()

    def reset(self) -> None:
        """Hang up with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def answer(self, method: str = "GET") -> Answer:
        """Read a response to a request of this method; interim ones are skipped."""
        head = read_head(self.stream)
        while (status := int(head.start.split(" ", 2)[1])) < 200:
            head = read_head(self.stream)
        bodiless = method == "HEAD" or status in (204, 304)
        rest = read_rest(self.stream, head, until_close=True, bodiless=bodiless)
        return Answer(rest.start, rest.fields, rest.body, rest.trailers, rest.whole)

    def interim(self) -> str:
        """Read an interim response and return its first line."""
        return read_head(self.stream).start

    def request(
        self,
        method: str,
        target: str,
        body: bytes | None = None,
        headers: list[str] | tuple[str, ...] = (),
        host: str = "proxy.test",
        version: str = "1.1",
    ) -> Answer:
        """Make a request and read its answer. headers: whole lines."""
        self.send(request_bytes(method, target, body, headers, host, version))
        return self.answer(method)

    def is_closed(self) -> bool:
        """Wait for the end of the connection; False when more comes instead."""
        try:
            return self.stream.read1(1) == b""
        except ConnectionError:
            return True


def request_bytes(
    method: str,
    target: str,
    body: bytes | None = None,
    headers: list[str] | tuple[str, ...] = (),
    host: str = "proxy.test",
    version: str = "1.1",
) -> bytes:
    """A request as bytes. body: sized content, None for a request without one."""
    lines = [f"{method} {target} HTTP/{version}", *([f"Host: {host}"] if host else []), *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


def fetch(
    address: Address,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: list[str] | tuple[str, ...] = (),
    host: str = "proxy.test",
) -> Answer:
    """Make one request on a connection of its own."""
    with Client(address) as client:
        return client.request(method, target, body, headers, host)


class Uploader:
    """Sends a long content on a thread of its own, so that the test can read meanwhile.

    Args:
        client: whose head is sent already when `start` is called.
        block: is sent again and again.
        size: of the whole content, in bytes; a multiple of the block's.
        chunked: whether every block is a chunk.
    """

    def __init__(self, client: Client, block: bytes, size: int, chunked: bool = False) -> None:
        self._client = client
        self._block = b"%x\r\n%b\r\n" % (len(block), block) if chunked else block
        self._count = size // len(block)
        self._end = b"0\r\n\r\n" if chunked else b""
        self.error: OSError | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._client.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(30)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def _run(self) -> None:
        try:
            for _ in range(self._count):
                self._client.send(self._block)
            self._client.send(self._end)
        except OSError as error:
            self.error = error


@contextmanager
def meanwhile(client: Client, work: Callable[[], None]) -> Iterator[None]:
    """Do something with a connection on a thread of its own, until it is cut."""

    def run() -> None:
        with suppress(OSError):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        client.socket.shutdown(socket.SHUT_RDWR)
        thread.join(10)
