"""Services that do what no well-made server does, each played by a function on a thread of its own.

What is plain is served by nginx (`nginx.py`); these are for garbage, silence, half answers and the like, and
for looking at what exactly a service got.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import BinaryIO, Self

from tests.e2e.http_wire import CutError, Fields, Message, body_pieces, read_head, read_message

_TIMEOUT_S = 20.0
_WAIT_S = 15.0
"""Less than the other: a test that waits for a connection's end wants it ended by the proxy."""


class Conversation:
    """One connection, seen from the service. number: counts connections from 1."""

    def __init__(self, service: ScriptedService, sock: socket.socket, number: int) -> None:
        self.service = service
        self.socket = sock
        self.number = number
        self.stream: BinaryIO = sock.makefile("rb")

    def request(self) -> Message:
        """Read a request with its content and note it.

        Raises:
            CutError: there is none any more.
        """
        message = read_message(self.stream)
        self.service.note(message)
        return message

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def reset(self) -> None:
        """Close with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def until_gone(self) -> None:
        """Wait for the other side to close, reading and discarding."""
        with contextlib.suppress(ConnectionError):
            while self.stream.read1(65536):  # type: ignore[attr-defined]
                pass

    def close(self) -> None:
        """Close; the other side reads on to what was sent."""
        with contextlib.suppress(OSError):
            self.stream.close()
            self.socket.close()

    def interrupt(self) -> None:
        """Wake up whoever waits for this connection."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


Script = Callable[[Conversation], None]


class ScriptedService:
    """A service on a loopback port. `endpoint` is its address, `requests` what it got, in order.

    Args:
        script: plays each connection; a `CutError` or a reset ends it quietly.
    """

    def __init__(self, script: Script) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self.endpoint = f"127.0.0.1:{self.port}"
        self.requests: list[Message] = []
        self.connections = 0
        self._latest_port = 0
        self._changed = threading.Condition()
        self._open: set[Conversation] = set()
        self._threads: list[threading.Thread] = []
        self._failures: list[BaseException] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if error is None and self._failures:
            raise self._failures[0]

    def note(self, message: Message) -> None:
        """Remember a request."""
        with self._changed:
            self.requests.append(message)
            self._changed.notify_all()

    def wait_for_requests(self, count: int) -> None:
        """Wait until that many requests have come."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, _WAIT_S)

    def wait_for_connections(self, count: int) -> None:
        """Wait until only that many of all connections made so far are open."""
        with socket.create_connection(("127.0.0.1", self.port)) as knock:  # taken after all before it
            port = knock.getsockname()[1]
            with self._changed:
                assert self._changed.wait_for(lambda: self._latest_port == port, _WAIT_S)
                self.connections -= 1
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._open) == count, _WAIT_S)

    @property
    def last(self) -> Message:
        """The latest request."""
        return self.requests[-1]

    def close(self) -> None:
        """Stop listening and end all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(_TIMEOUT_S)
        self._listener.close()
        with self._changed:
            conversations = list(self._open)
        for conversation in conversations:
            conversation.interrupt()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)

    def _accept(self) -> None:
        while True:
            try:
                sock, peer = self._listener.accept()
            except OSError:
                return
            sock.settimeout(_TIMEOUT_S)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._changed:
                self.connections += 1
                self._latest_port = peer[1]
                self._changed.notify_all()
                conversation = Conversation(self, sock, self.connections)
                self._open.add(conversation)
            thread = threading.Thread(target=self._play, args=(conversation,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _play(self, conversation: Conversation) -> None:
        try:
            self._script(conversation)
        except (CutError, ConnectionError, TimeoutError):
            pass
        except BaseException as error:
            self._failures.append(error)
        finally:
            conversation.close()
            with self._changed:
                self._open.discard(conversation)
                self._changed.notify_all()


def answering(answer: bytes) -> Script:
    """A script that answers every request with the same bytes."""

    def script(conversation: Conversation) -> None:
        while True:
            conversation.request()
            conversation.send(answer)

    return script


def resetting(conversation: Conversation) -> None:
    """A script that takes a request and resets the connection instead of answering."""
    conversation.request()
    conversation.reset()


def sized(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """A response with a sized content."""
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def echo(conversation: Conversation) -> None:
    """A script that sends back each content as it comes, framed as it came, trailers too."""
    while True:
        head = read_head(conversation.stream)
        trailers: Fields = []
        conversation.service.note(Message(head.start, head.fields))
        chunks = bool(head.get("transfer-encoding"))
        framing = (
            "Transfer-Encoding: chunked" if chunks else f"Content-Length: {head.get('content-length') or 0}"
        )
        conversation.send(f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode())
        for piece in body_pieces(conversation.stream, head, trailers):
            conversation.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunks else piece)
        if chunks:
            lines = "".join(f"{name}: {value}\r\n" for name, value in trailers)
            conversation.send(f"0\r\n{lines}\r\n".encode("latin-1"))
