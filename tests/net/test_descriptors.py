"""Descriptors that run out: which are kept back, and what is said to whoever comes then."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from fastproxy.net.connection import Connection
from fastproxy.net.descriptors import RESERVE, Descriptors, Refused
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.server import DoorLimits, LinkServer
from fastproxy.wire.link.handshake import MAGIC
from tests.net.kit import Wire
from tests.net.link.ends import SETTINGS
from tests.net.test_server import LATE_S, Listener, get, refusal

LIMIT = 10_000
PATIENCE_S = 1.0


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    """A socket that connections are played on."""
    with socket.socket() as sock:
        yield sock


class Numbered:
    """A socket with this descriptor's number, as far as anybody asks for it."""

    def __init__(self, fd: int, sock: socket.socket) -> None:
        self._fd = fd
        self._sock = sock

    def fileno(self) -> int:
        return self._fd

    def setsockopt(self, *args: object) -> None:
        self._sock.setsockopt(*args)  # type: ignore[call-overload]


class Came(Wire):
    """A connection that has come with this descriptor."""

    def __init__(self, listener: Listener, fd: int, sock: socket.socket) -> None:
        self._numbered = Numbered(fd, sock)
        super().__init__(Connection(listener.server))

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._numbered if name == "socket" else super().get_extra_info(name, default)

    def set_protocol(self, protocol: object) -> None:
        self.protocol = protocol  # type: ignore[assignment]


def short_listener() -> Listener:
    listener = Listener()
    listener.server.descriptors = Descriptors(LIMIT)
    return listener


@pytest.mark.parametrize(("limit", "reserve"), [(LIMIT, RESERVE), (128, 16), (1024, RESERVE)])
def test_the_last_ones_are_kept_back_and_counted(limit: int, reserve: int) -> None:
    told: list[None] = []
    known = Descriptors(limit, lambda: told.append(None))
    assert [known.is_short(fd) for fd in (3, limit - reserve - 1, limit - reserve, limit - 1)] == [
        False, False, True, True,
    ]  # fmt: skip
    assert [known.is_last(fd) for fd in (limit - reserve, limit - 1)] == [False, True]
    assert known.refused == len(told) == 2


def test_who_comes_with_one_of_them_is_answered_and_not_counted_as_a_connection(sock: socket.socket) -> None:
    listener = short_listener()
    served = Came(listener, LIMIT - RESERVE - 1, sock)
    served.receive(get(b"/1"))
    assert served.take().startswith(b"HTTP/1.1 200 ")
    refused = Came(listener, LIMIT - RESERVE, sock)
    assert isinstance(refused.protocol, Refused)
    assert listener.server.size == 1
    refused.receive(get(b"/2"))
    assert (refused.take(), refused.closing, refused.aborted) == (
        refusal(503, b"descriptors_exhausted"), True, False,
    )  # fmt: skip
    refused.lose()
    served.lose()
    listener.clock.advance(100)
    assert listener.clock.idle


def test_who_says_nothing_is_cut(sock: socket.socket) -> None:
    listener = short_listener()
    wire = Came(listener, LIMIT - RESERVE, sock)
    listener.clock.advance(PATIENCE_S - LATE_S)
    assert not wire.closing
    listener.clock.advance(2 * LATE_S)
    assert (wire.aborted, wire.take()) == (True, b"")


def test_with_the_very_last_ones_nobody_is_waited_for(sock: socket.socket) -> None:
    listener = short_listener()
    wire = Came(listener, LIMIT - 1, sock)
    assert (wire.aborted, wire.take()) == (True, b"")


def test_a_link_gets_a_reset(sock: socket.socket) -> None:
    listener = short_listener()
    server = listener.server
    server.links = LinkServer(
        None, None, SETTINGS, DoorLimits(), LinkCounters(), server.wheel, server.loop, server.date_line  # type: ignore[arg-type]
    )  # fmt: skip
    wire = Came(listener, LIMIT - RESERVE, sock)
    wire.receive(MAGIC)
    assert (wire.aborted, wire.take()) == (True, b"")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
