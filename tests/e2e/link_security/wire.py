"""Somebody on the path between the proxies, who sees all that passes, keeps it, and may do anything to it.

Bytes of links are passed on whole message by whole message: those of the handshake, then records. What isn't
told otherwise passes unchanged.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tests.e2e.client import Address
from tests.e2e.proxies import endpoint_of

_READ_BYTES = 1 << 16
_JOIN_S = 10.0
_MESSAGE_1_LENGTH_AT, _MESSAGE_LENGTH_BYTES, _RECORD_LENGTH_BYTES = 4, 2, 4


class Passage:
    """One connection through.

    said, answered: messages from the caller's side and from the receiver's, whole and unchanged, the
    handshake's first. raw_said, raw_answered: all bytes, also of messages that never came whole.
    """

    def __init__(self, caller: socket.socket, receiver: socket.socket) -> None:
        self._caller = caller
        self._receiver = receiver
        self._locks = {caller: threading.Lock(), receiver: threading.Lock()}
        self.said: list[bytes] = []
        self.answered: list[bytes] = []
        self.raw_said = b""
        self.raw_answered = b""

    @property
    def seen(self) -> bytes:
        """All that passed, both ways."""
        return self.raw_said + self.raw_answered

    def to_receiver(self, data: bytes) -> None:
        """Send something to the in proxy."""
        self._send(self._receiver, data)

    def to_caller(self, data: bytes) -> None:
        """Send something to the out proxy."""
        self._send(self._caller, data)

    def cut(self) -> None:
        """End the connection on both sides."""
        for sock in (self._caller, self._receiver):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def _send(self, sock: socket.socket, data: bytes) -> None:
        with self._locks[sock]:
            sock.sendall(data)


Change = Callable[[Passage, int, bytes], Iterable[bytes]]
"""Gets a message and its number in its direction, 0 for the handshake's; returns what goes on instead."""


def unchanged(passage: Passage, number: int, message: bytes) -> Iterable[bytes]:
    """Pass on what came."""
    return (message,)


class Wire:
    """The path, on a loopback port.

    passages: connections so far, the latest last.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.endpoint = endpoint_of(self._listener.getsockname())
        self.passages: list[Passage] = []
        self._target: Address = ("", 0)
        self._on_said: Change = unchanged
        self._on_answered: Change = unchanged
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join(_JOIN_S)
        self._listener.close()
        for passage in self.passages:
            passage.cut()
        for thread in self._threads:
            thread.join(_JOIN_S)

    def lead_to(self, address: Address) -> str:
        """Lead to an in proxy; return the path's own address as configs write it."""
        self._target = address
        return self.endpoint

    @contextmanager
    def changing(self, *, said: Change = unchanged, answered: Change = unchanged) -> Iterator[None]:
        """Change what passes, for a while."""
        self._on_said, self._on_answered = said, answered
        try:
            yield
        finally:
            self._on_said = self._on_answered = unchanged

    def _accept(self) -> None:
        while True:
            try:
                caller, _ = self._listener.accept()
            except OSError:
                return
            assert isinstance(self._target, tuple)
            try:
                receiver = socket.create_connection(self._target)
            except OSError:
                caller.close()
                continue
            for sock in (caller, receiver):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            passage = Passage(caller, receiver)
            self.passages.append(passage)
            thread = threading.Thread(target=self._carry, args=(passage, caller, receiver), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _carry(self, passage: Passage, caller: socket.socket, receiver: socket.socket) -> None:
        back = threading.Thread(target=self._pass_answers, args=(passage, receiver), daemon=True)
        back.start()
        with caller, receiver:
            with contextlib.suppress(OSError):
                self._pass_what_is_said(passage, caller)
            passage.cut()
            back.join()

    def _pass_what_is_said(self, passage: Passage, caller: socket.socket) -> None:
        buffer = b""
        while data := caller.recv(_READ_BYTES):
            passage.raw_said += data
            buffer += data
            while message := _first_message(buffer, passage.said, _MESSAGE_1_LENGTH_AT):
                buffer = buffer[len(message) :]
                passage.said.append(message)
                for piece in self._on_said(passage, len(passage.said) - 1, message):
                    passage.to_receiver(piece)

    def _pass_answers(self, passage: Passage, receiver: socket.socket) -> None:
        buffer = b""
        with contextlib.suppress(OSError):
            while data := receiver.recv(_READ_BYTES):
                passage.raw_answered += data
                buffer += data
                while message := _first_message(buffer, passage.answered, 0):
                    buffer = buffer[len(message) :]
                    passage.answered.append(message)
                    for piece in self._on_answered(passage, len(passage.answered) - 1, message):
                        passage.to_caller(piece)
        passage.cut()


def _first_message(buffer: bytes, before: list[bytes], handshake_length_at: int) -> bytes:
    """Return the message that the buffer begins with; empty while it isn't here whole."""
    if before:
        length_at, length_bytes = 0, _RECORD_LENGTH_BYTES
    else:
        length_at, length_bytes = handshake_length_at, _MESSAGE_LENGTH_BYTES
    start = length_at + length_bytes
    if len(buffer) < start:
        return b""
    end = start + int.from_bytes(buffer[length_at:start], "big")
    return buffer[:end] if len(buffer) >= end else b""
