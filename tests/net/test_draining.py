"""A listener that ends: what still comes is answered, who waits is taken, and what says nothing is closed."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator

import pytest
import uvloop

from fastproxy.net.connection import Connection
from fastproxy.net.http1 import HeadParser
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.server import DoorLimits, LinkServer
from fastproxy.net.server import Server, ServerLimits
from fastproxy.net.timers import Wheel
from fastproxy.net.waiting import is_waiting
from fastproxy.wire.link.handshake import MAGIC
from tests.net.kit import Wire
from tests.net.link.ends import SETTINGS
from tests.net.test_server import LATE_S, Gate, Listener, get, ok, refusal

IDLE_S = 2.0
CLOSE = b"connection: close\r\n"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected pair; the first end stands behind a played connection."""
    here, there = socket.socketpair()
    with here, there:
        yield here, there


def connected(listener: Listener, sock: socket.socket) -> Wire:
    """Open a connection that has a socket, as far as asking it goes."""
    wire = listener.connect()
    wire._extra["socket"] = sock  # type: ignore[attr-defined]
    return wire


def test_the_next_request_of_an_idle_connection_is_its_last(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    listener = Listener()
    used, fresh = connected(listener, ends[0]), connected(listener, ends[0])
    used.receive(get(b"/1"))
    assert used.take() == ok(b"/1 ")
    listener.server.drain(IDLE_S)
    listener.clock.advance(IDLE_S - LATE_S)
    for wire in (used, fresh):
        assert not wire.closing
        wire.receive(get(b"/2"))
        assert wire.take() == ok(b"/2 ", CLOSE)
        assert wire.closing


def test_who_comes_while_it_drains_is_answered_once(ends: tuple[socket.socket, socket.socket]) -> None:
    listener = Listener()
    listener.server.drain(IDLE_S)
    listener.clock.advance(IDLE_S)
    late, silent = connected(listener, ends[0]), connected(listener, ends[0])
    listener.clock.advance(IDLE_S - LATE_S)
    late.receive(get(b"/late"))
    assert late.take() == ok(b"/late ", CLOSE)
    assert not silent.closing
    listener.clock.advance(2 * LATE_S)
    assert (silent.closing, silent.take()) == (True, b"")


def test_what_says_nothing_is_closed_in_time(ends: tuple[socket.socket, socket.socket]) -> None:
    listener = Listener()
    wire = connected(listener, ends[0])
    listener.server.drain(IDLE_S)
    listener.clock.advance(IDLE_S + LATE_S)
    assert (wire.closing, wire.take()) == (True, b"")


def test_a_request_that_has_come_but_was_not_read_is_awaited(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    listener = Listener()
    wire = connected(listener, ends[0])
    listener.server.drain(IDLE_S)
    ends[1].send(get(b"/last"))
    listener.clock.advance(IDLE_S + 10 * LATE_S)
    assert not wire.closing
    wire.receive(ends[0].recv(1000))
    assert wire.take() == ok(b"/last ", CLOSE)


def test_a_head_that_has_begun_has_its_own_time(ends: tuple[socket.socket, socket.socket]) -> None:
    limits = ServerLimits(header_timeout_s=3 * IDLE_S)
    listener = Listener(limits=limits)
    wire = connected(listener, ends[0])
    listener.server.drain(IDLE_S)
    listener.clock.advance(IDLE_S - LATE_S)
    wire.receive(get(b"/slow")[:-2])
    listener.clock.advance(2 * IDLE_S)
    wire.receive(b"\r\n")
    assert wire.take() == ok(b"/slow ", CLOSE)


def test_what_is_owed_is_answered_however_long_it_takes(ends: tuple[socket.socket, socket.socket]) -> None:
    gate = Gate()
    listener = Listener(gate)
    wire = connected(listener, ends[0])
    wire.receive(get(b"/1"))
    listener.server.drain(IDLE_S)
    listener.clock.advance(5 * IDLE_S)
    gate.open(0)
    assert wire.take() == ok(b"/1", CLOSE)


def test_a_link_that_begins_meanwhile_is_reset(ends: tuple[socket.socket, socket.socket]) -> None:
    """An out proxy takes that for a receiver that is gone for the moment, not for one that refuses it."""
    listener = Listener()
    server = listener.server
    server.links = LinkServer(
        None, None, SETTINGS, DoorLimits(), LinkCounters(), server.wheel, server.loop, server.date_line  # type: ignore[arg-type]
    )  # fmt: skip
    server.drain(IDLE_S)
    wire = connected(listener, ends[0])
    wire.receive(MAGIC)
    assert (wire.aborted, wire.take()) == (True, b"")
    assert ends[0].getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8) == struct.pack("ii", 1, 0)
    assert server.size == 0
    assert not isinstance(wire.protocol, Connection), "its end would be counted once more"


def test_without_time_for_it_nothing_new_is_taken() -> None:
    listener = Listener()
    idle = listener.connect()
    listener.server.drain()
    assert idle.closing
    assert listener.connect().take() == refusal(503, b"draining")


def test_who_waits_to_be_taken_is_taken_before_the_listener_is_shut() -> None:
    count = 20

    async def main() -> None:
        loop = asyncio.get_running_loop()
        listener = socket.create_server(("127.0.0.1", 0), backlog=count)
        wheel = Wheel(loop)
        played = Listener()
        server = Server(played, HeadParser(ServerLimits().head), ServerLimits(), wheel, loop)
        await server.listen(listener)
        address = listener.getsockname()
        server.drain(IDLE_S)
        waiting = [socket.create_connection(address) for _ in range(count)]  # all in one turn of the loop
        for sock in waiting:
            sock.sendall(get(b"/waited"))
        await server.settle()
        server.shut()
        assert server.accepted == count
        assert await server.emptied(30)
        for sock in waiting:
            with sock:
                assert sock.recv(1000).startswith(b"HTTP/1.1 200 OK")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address)
        wheel.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_a_socket_tells_whether_anything_waits_at_it(ends: tuple[socket.socket, socket.socket]) -> None:
    here, there = ends
    assert not is_waiting(here.fileno())
    there.send(b"x")
    assert is_waiting(here.fileno())
    here.recv(1)
    there.close()
    assert is_waiting(here.fileno())  # its end
