"""Interim (1xx) answers over played connections: who gets them, and who must not."""

from __future__ import annotations

import pytest

from fastproxy.errors import ProxyError
from fastproxy.model import Request, Response, ResponseHead
from fastproxy.net.client import INTERIM_LIMIT, AnswerWaiter
from fastproxy.net.connection import Connection
from fastproxy.net.drive import Waiter
from tests.net.kit import Run, Wire, call, respond
from tests.net.test_client import HEAD, SIZED, Caller
from tests.net.test_server import Listener, answer_of, get, ok, read_all

HINTS = ResponseHead(103, b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n")
CONTINUE = ResponseHead(100, b"HTTP/1.1 100 Continue\r\n")
EXPECTS = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
SENT_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
SENT_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


# --- to the caller ----------------------------------------------------------------------------------------


class Informing:
    """A handler that passes interim answers on, then waits for the test, then answers."""

    def __init__(self, *heads: ResponseHead, reads: bool = False) -> None:
        self._heads = heads
        self._reads = reads
        self.go_on: Waiter[None] = Waiter()

    async def __call__(self, request: Request, connection: Connection) -> None:
        for head in self._heads:
            connection.inform(head)
        await self.go_on
        content = await read_all(request.content) if self._reads else b""
        await respond(connection, answer_of(content))
        for head in self._heads:
            connection.inform(head)


def told(message: bytes, *heads: ResponseHead) -> bytes:
    """What a peer has before its answer."""
    wire = Listener(Informing(*heads)).connect()
    wire.receive(message)
    return wire.take()


def test_an_interim_answer_is_written_at_once() -> None:
    assert told(get(), HINTS, HINTS) == SENT_HINTS * 2


def test_http_1_0_knows_none() -> None:
    assert told(b"GET / HTTP/1.0\r\n\r\n", HINTS) == b""


def test_a_100_is_for_those_who_expect_it_and_only_once() -> None:
    assert told(get(), CONTINUE) == b""
    assert told(EXPECTS, CONTINUE, HINTS, CONTINUE) == SENT_CONTINUE + SENT_HINTS
    assert told(EXPECTS + b"hello", CONTINUE) == b""


@pytest.mark.parametrize("heads", [[], [CONTINUE]])
def test_a_100_that_was_passed_on_is_the_one_that_reading_would_send(heads: list[ResponseHead]) -> None:
    informing = Informing(*heads, reads=True)
    wire = Listener(informing).connect()
    wire.receive(EXPECTS)
    assert wire.take() == SENT_CONTINUE * len(heads)
    informing.go_on.set(None)
    assert wire.take() == (b"" if heads else SENT_CONTINUE)
    wire.receive(b"hello")
    assert wire.take() == ok(b"hello")


def test_none_comes_after_the_final_answer() -> None:
    informing = Informing(HINTS)
    wire = Listener(informing).connect()
    wire.receive(get())
    assert wire.take() == SENT_HINTS
    informing.go_on.set(None)
    assert wire.take() == ok(b"")
    wire.protocol.inform(HINTS)  # type: ignore[union-attr]  # whose exchange is over
    assert wire.take() == b""


# --- from the service -------------------------------------------------------------------------------------


def receive(wire: Wire, *messages: bytes) -> None:
    for message in messages:
        wire.receive(message)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize("how", ["send", "carry"])
def test_each_one_is_handed_over_and_then_the_answer(how: str, joined: bool) -> None:
    caller = Caller()
    heads: list[ResponseHead] = []
    answer = AnswerWaiter(interim_to=heads.append)
    if how == "send":
        answer = caller.connection.send(b"GET", HEAD, heads.append)
    else:
        caller.connection.carry(answer)
    messages = [SENT_CONTINUE, SENT_HINTS, SIZED]
    receive(caller.wire, *([b"".join(messages)] if joined else messages))
    assert [head.start for head in heads] == [CONTINUE.start, HINTS.start]
    assert answer.result is not None
    assert answer.result.content == b"hello"
    assert caller.freed == [caller.connection]


def test_one_that_claims_to_have_content_is_none_the_less_an_interim_one() -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(b"HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n")
    assert not run.done
    caller.wire.receive(SIZED)
    assert run.value()[1] == b"hello"


@pytest.mark.parametrize("how", ["send", "carry"])
def test_an_exchange_gets_none_of_those_of_the_next(how: str) -> None:
    caller = Caller()
    heads: list[ResponseHead] = []
    if how == "send":
        caller.connection.send(b"GET", HEAD, heads.append)
    else:
        caller.connection.carry(AnswerWaiter(interim_to=heads.append))
    caller.wire.receive(SIZED)
    for begin in (
        lambda: caller.connection.send(b"GET", HEAD),
        lambda: caller.connection.carry(AnswerWaiter()),
    ):
        begin()
        receive(caller.wire, SENT_HINTS, SIZED)
    assert heads == []
    assert len(caller.freed) == 3


def test_there_is_a_limit_to_them() -> None:
    caller = Caller()
    heads: list[ResponseHead] = []
    answer = caller.connection.send(b"GET", HEAD, heads.append)
    receive(caller.wire, *[SENT_HINTS] * (INTERIM_LIMIT + 1))
    assert len(heads) == INTERIM_LIMIT
    assert isinstance(answer.error, ProxyError)
    assert answer.error.cause.label == "response_malformed"


def test_the_count_begins_anew_with_each_exchange() -> None:
    caller = Caller()
    for _ in range(3):
        run = Run(call(caller.connection, b"GET", HEAD, b""))
        receive(caller.wire, *[SENT_HINTS] * INTERIM_LIMIT, SIZED)
        response: Response = run.value()
        assert response.content == b"hello"
