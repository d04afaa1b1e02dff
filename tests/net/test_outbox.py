"""Messages that leave when a turn of the loop is over: together, in order, each on its own connection."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import pytest

from fastproxy.errors import CONNECTION_LOST, ProxyError
from fastproxy.model import Endpoint
from fastproxy.net.client import ClientConnection
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.outbox import AT_A_TIME, AT_ONCE, Outbox
from tests.net.kit import Wire


class Turn:
    """What was put off to the end of a turn."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self.outbox = Outbox(self.due.append)

    def connection(self) -> Wire:
        parser, endpoint = HeadParser(HeadLimits()), Endpoint("192.0.2.9", 80)
        return Wire(ClientConnection(parser, endpoint, lambda _: None, lambda _: None, self.outbox))

    def end(self) -> None:
        while self.due:
            self.due.pop(0)()


def test_messages_leave_at_the_end_of_the_turn() -> None:
    turn = Turn()
    one, two = turn.connection(), turn.connection()
    turn.outbox.put(one, b"first ")
    turn.outbox.put(two, b"other")
    turn.outbox.put(one, b"second")
    assert not one.written + two.written
    assert len(turn.due) == 1, "one look at the end, however many there are"
    turn.end()
    assert (one.written, two.written) == (b"first second", b"other")
    turn.outbox.put(one, b" third")
    turn.end()
    assert one.written.endswith(b" third")


def test_many_leave_before_it_is_over() -> None:
    turn = Turn()
    one = turn.connection()
    for _ in range(AT_A_TIME):
        turn.outbox.put(one, b".")
    assert one.writes == AT_A_TIME
    turn.outbox.put(one, b"one more")
    assert one.writes == AT_A_TIME
    turn.end()
    assert one.written.endswith(b".one more")


def test_a_connection_that_ends_meanwhile_costs_no_other_its_message() -> None:
    turn = Turn()
    gone, broken, well = turn.connection(), turn.connection(), turn.connection()
    for wire in (gone, broken, well):
        turn.outbox.put(wire, b"hello")
    gone.lose()
    with mock.patch.object(broken, "write", side_effect=RuntimeError("played")):
        turn.end()
    assert not gone.written
    assert broken.aborted, "whoever waits for the answer hears of it"
    assert well.written == b"hello"


@pytest.mark.parametrize("how", ["ends", "is lost", "says something"])
def test_a_request_that_was_not_written_yet_is_told_so(how: str) -> None:
    turn = Turn()
    wire = turn.connection()
    connection = wire.protocol
    assert isinstance(connection, ClientConnection)
    waiting = connection.send(b"POST", b"a request")
    if how == "ends":
        wire.end()
    elif how == "is lost":
        wire.abort()
        turn.end()
        wire.lose(ConnectionResetError())
    else:  # which answers nothing, as nothing was asked
        wire.receive(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        assert wire.aborted
    turn.end()
    assert isinstance(waiting.error, ProxyError)
    assert (waiting.error.cause, waiting.error.sent) == (CONNECTION_LOST, False)
    assert not wire.written


def test_a_request_that_was_written_is_told_so() -> None:
    turn = Turn()
    wire = turn.connection()
    connection = wire.protocol
    assert isinstance(connection, ClientConnection)
    waiting = connection.send(b"POST", b"a request")
    turn.end()
    wire.end()
    assert isinstance(waiting.error, ProxyError)
    assert waiting.error.sent


def test_nothing_overtakes_what_waits() -> None:
    turn = Turn()
    wire = turn.connection()
    connection = wire.protocol
    assert isinstance(connection, ClientConnection)
    turn.outbox.put(wire, b"before ")
    connection.send(b"GET", b"a request ")
    assert wire.writes == 0
    turn.outbox.flush()
    turn.end()
    assert wire.take() == b"before a request "


def test_whoever_has_few_messages_writes_them_at_once() -> None:
    wire = Turn().connection()
    AT_ONCE.put(wire, b"now")
    assert wire.written == b"now"
