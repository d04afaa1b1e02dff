"""The edge that makes requests, over a played connection: answers in every cut, reuse, ways to break."""

from __future__ import annotations

import asyncio

import pytest

from fastproxy.errors import BODY_TIMEOUT, ProxyError
from fastproxy.model import Body, Content, Endpoint, Response
from fastproxy.net.client import ClientConnection
from fastproxy.net.framing import BUFFER_BYTES, IncomingBody
from fastproxy.net.http1 import HeadLimits, HeadParser
from tests.net.kit import Run, Wire, call, in_bytes

HEAD = b"POST / HTTP/1.1\r\nhost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
SIZED = OK + b"Content-Length: 5\r\n\r\nhello"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 5\r\n\r\n"


class Caller:
    """A connection, its pool's side, and the exchange on it."""

    def __init__(self, limits: HeadLimits | None = None) -> None:
        self.freed: list[ClientConnection] = []
        self.lost: list[ClientConnection] = []
        endpoint = Endpoint("192.0.2.9", 80)
        parser = HeadParser(limits or HeadLimits())
        self.connection = ClientConnection(parser, endpoint, self.freed.append, self.lost.append)
        self.wire = Wire(self.connection)

    def call(self, method: bytes = b"POST", content: Content = b"", chunked: bool = False) -> Run:
        """Begin an exchange that reads its answer to the end: (response, content)."""
        return Run(self._exchange(method, content, chunked))

    async def _exchange(self, method: bytes, content: Content, chunked: bool) -> tuple[Response, bytes]:
        response = await call(self.connection, method, HEAD, content, chunked=chunked)
        if isinstance(response.content, bytes):
            return response, response.content
        read = b""
        while data := await response.content.read():
            read += data
        return response, read


def cause(run: Run) -> str:
    assert run.done
    assert isinstance(run.error, ProxyError)
    return run.error.cause.label


def stream(response: Response) -> Body:
    """The content of an answer that didn't come whole."""
    assert not isinstance(response.content, bytes)
    return response.content


def upload() -> IncomingBody:
    """A body that comes as the test pushes it."""
    return IncomingBody(None, None, lambda: None, lambda: None, lambda: None)


# --- answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("message", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_an_answer_is_the_same_in_every_cut(message: bytes) -> None:
    cuts = [[message[:at], message[at:]] for at in range(1, len(message))]
    for pieces in [[message], in_bytes(message), *cuts]:
        caller = Caller()
        run = caller.call()
        caller.wire.receive(*pieces)
        response, content = run.value()
        assert (response.head.status, content) == (200, b"hello")
        assert caller.freed == [caller.connection]
        if message is CHUNKED:
            assert stream(response).trailers == [(b"X-Sum", b"5")]


def test_a_whole_answer_comes_whole() -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(SIZED)
    assert run.value()[0].content == b"hello"


def test_request_and_body_leave_in_one_write() -> None:
    caller = Caller()
    caller.call(content=b"param=hello")
    assert (caller.wire.take(), caller.wire.writes) == (HEAD + b"param=hello", 1)


@pytest.mark.parametrize(
    ("method", "message", "declared"),
    [
        (b"HEAD", OK + b"Content-Length: 5\r\n\r\n", 5),
        (b"HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n", None),
        (b"HEAD", OK + b"\r\n", None),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", None),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 5),
        (b"GET", OK + b"Content-Length: 0\r\n\r\n", 0),
    ],
)
def test_answers_without_a_body(method: bytes, message: bytes, declared: int | None) -> None:
    caller = Caller()
    run = caller.call(method)
    caller.wire.receive(message)
    response, content = run.value()
    assert (content, response.head.length) == (b"", declared)
    assert caller.freed == [caller.connection]


def test_interim_answers_are_passed_over() -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + SIZED)
    assert run.value()[1] == b"hello"


def test_an_answer_may_end_with_the_connection() -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(OK + b"\r\nhel", b"lo")
    assert not run.done
    caller.wire.end()
    assert run.value()[1] == b"hello"
    assert (caller.freed, caller.lost) == ([], [caller.connection])


def test_a_reset_is_no_end() -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(OK + b"\r\nhel")
    caller.wire.lose(ConnectionResetError())
    assert cause(run) == "connection_lost"


# --- answers that can't be trusted ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        OK + b"A: 1\r\n folded\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        OK + b"A: \x00\r\n\r\n",
        OK + b"Content-Length: 0\r\n\r\nmore",
        OK + b"Content-Length: 5\r\n\r\nhello, you",
        OK + b"Transfer-Encoding: chunked\r\n\r\nhello\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\ngarbage\r\n\r\n",
    ],
    ids=repr,
)
def test_a_broken_answer(message: bytes) -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(message)
    assert cause(run) == "response_malformed"
    assert isinstance(run.error, ProxyError)
    assert run.error.sent
    assert caller.wire.aborted
    assert caller.freed == []


def test_a_head_that_never_ends_is_cut_off() -> None:
    caller = Caller(HeadLimits(header_bytes=1024))
    run = caller.call()
    caller.wire.receive(*[b"HTTP/1.1 200 OK\r\nA: " + b"a" * 500] * 3)
    assert cause(run) == "response_too_large"
    assert caller.wire.aborted


@pytest.mark.parametrize("message", [SIZED, CHUNKED], ids=["sized", "chunked"])
def test_a_cut_answer_never_looks_complete(message: bytes) -> None:
    for at in range(len(message)):
        caller = Caller()
        run = caller.call()
        caller.wire.receive(message[:at])
        caller.wire.end()
        assert cause(run) == "connection_lost"


def test_bytes_that_nobody_asked_for_end_the_connection() -> None:
    for before in (b"", SIZED):
        caller = Caller()
        if before:
            caller.call()
            caller.wire.receive(before)
        caller.wire.receive(SIZED)
        assert caller.wire.aborted
        assert caller.connection.closed


def test_bytes_behind_a_chunked_answer_end_the_connection_but_not_the_answer() -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(CHUNKED + b"more")
    assert run.value()[1] == b"hello"
    assert caller.wire.closing
    assert caller.freed == []


# --- reuse ------------------------------------------------------------------------------------------------


def test_a_connection_carries_one_exchange_after_the_other() -> None:
    caller = Caller()
    for number in range(3):
        run = caller.call()
        caller.wire.receive(SIZED if number % 2 else CHUNKED)
        assert run.value()[1] == b"hello"
    assert caller.freed == [caller.connection] * 3


@pytest.mark.parametrize("start", [b"HTTP/1.1 200 OK\r\nConnection: close\r\n", b"HTTP/1.0 200 OK\r\n"])
def test_a_connection_that_ends_is_not_used_again(start: bytes) -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(start + b"Content-Length: 5\r\n\r\nhello")
    assert run.value()[1] == b"hello"
    assert caller.freed == []
    assert caller.wire.closing


def test_an_exchange_that_begins_in_the_moment_the_last_one_ends_is_left_alone() -> None:
    runs: list[Run] = []
    endpoint = Endpoint("192.0.2.9", 80)
    body = upload()

    def begin_next(connection: ClientConnection) -> None:
        if not runs:
            runs.append(Run(call(connection, b"POST", HEAD, body, chunked=True)))

    connection = ClientConnection(HeadParser(HeadLimits()), endpoint, begin_next, lambda _: None)
    wire = Wire(connection)
    first = Run(call(connection, b"GET", HEAD, b"", chunked=False))
    wire.receive(*in_bytes(CHUNKED))
    assert first.done
    assert not wire.aborted
    body.finish(b"up", [])
    wire.receive(SIZED)
    assert runs[0].value().head.status == 200


def test_a_connection_that_was_not_used_goes_back() -> None:
    caller = Caller()
    caller.connection.release()
    assert caller.freed == [caller.connection]
    caller.wire.lose()
    caller.connection.release()
    assert caller.freed == [caller.connection]


# --- requests with a body on its way ----------------------------------------------------------------------


def test_a_body_is_sent_as_it_comes() -> None:
    caller = Caller()
    body = upload()
    run = caller.call(content=body, chunked=True)
    assert caller.wire.take() == HEAD
    body.push(b"hello")
    assert caller.wire.take() == b"5\r\nhello\r\n"
    body.finish(b"", [(b"X", b"1")])
    assert caller.wire.take() == b"0\r\nX: 1\r\n\r\n"
    caller.wire.receive(SIZED)
    assert run.value()[1] == b"hello"
    assert caller.freed == [caller.connection]


def test_a_slow_endpoint_holds_the_sender_back() -> None:
    caller = Caller()
    body = upload()
    caller.call(content=body)
    caller.connection.pause_writing()
    body.push(b"one")
    body.push(b"two")
    assert caller.wire.take() == HEAD + b"one"
    caller.connection.resume_writing()
    assert caller.wire.take() == b"two"


def test_a_slow_reader_holds_the_endpoint_back() -> None:
    caller = Caller()
    run = Run(call(caller.connection, b"GET", HEAD, b"", chunked=False))
    caller.wire.receive(OK + b"Content-Length: %d\r\n\r\n" % (2 * BUFFER_BYTES), b"a" * (BUFFER_BYTES + 1))
    assert not caller.wire.reading
    Run(stream(run.value()).read())
    Run(stream(run.value()).read())  # what it holds was taken: it wants more
    assert caller.wire.reading


def test_an_early_final_answer_ends_the_upload() -> None:
    for message in (b"HTTP/1.1 413 Too Much\r\nContent-Length: 5\r\n\r\nhello", CHUNKED):
        caller = Caller()
        body = upload()
        run = caller.call(content=body, chunked=True)
        caller.wire.receive(message)
        assert run.value()[1] == b"hello"
        assert caller.wire.aborted
        assert caller.freed == []
        caller.wire.lose()
        body.push(b"late")  # must not be written anywhere
        body.finish(b"", [])


def test_an_answer_may_begin_before_the_request_ends() -> None:
    caller = Caller()
    body = upload()
    run = caller.call(content=body, chunked=True)
    caller.wire.receive(OK + b"Content-Length: 5\r\n\r\nhel")
    body.finish(b"", [])
    caller.wire.receive(b"lo")
    assert run.value()[1] == b"hello"
    assert caller.freed == [caller.connection]


def test_a_request_body_that_breaks_off_breaks_the_exchange() -> None:
    caller = Caller()
    body = upload()
    run = caller.call(content=body, chunked=True)
    body.push(b"half")
    body.fail(ProxyError(BODY_TIMEOUT))
    assert cause(run) == "body_timeout"
    assert caller.wire.aborted
    assert not caller.wire.written.endswith(b"0\r\n\r\n")  # the endpoint must not take it for complete


# --- giving up --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("received", [b"", OK, OK + b"Content-Length: 5\r\n\r\nhe"])
@pytest.mark.parametrize("streamed", [False, True])
def test_an_exchange_that_is_cancelled_takes_its_connection_along(received: bytes, streamed: bool) -> None:
    caller = Caller()
    body = upload() if streamed else b"whole"
    run = caller.call(content=body, chunked=streamed)
    caller.wire.receive(received)
    run.drive.cancel()
    assert isinstance(run.error, asyncio.CancelledError)
    if b"\r\n\r\n" in received:
        caller.connection.abort()  # what closing the response's body does
    assert caller.wire.aborted
    assert caller.freed == []
    caller.wire.lose()
    assert caller.lost == [caller.connection]


def test_a_connection_that_is_given_up_before_it_is_made_does_not_stay_open() -> None:
    connection = ClientConnection(
        HeadParser(HeadLimits()), Endpoint("192.0.2.9", 80), lambda _: None, lambda _: None
    )
    connection.abort()
    assert Wire(connection).aborted


def test_closing_an_unfinished_answer_gives_the_connection_up() -> None:
    caller = Caller()
    run = Run(call(caller.connection, b"GET", HEAD, b"", chunked=False))
    caller.wire.receive(OK + b"Content-Length: 5\r\n\r\nhe")
    stream(run.value()).close()
    assert caller.wire.aborted
    assert caller.freed == []


def test_closing_a_finished_answer_changes_nothing() -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(*in_bytes(CHUNKED))
    stream(run.value()[0]).close()
    assert not caller.wire.aborted
    assert caller.freed == [caller.connection]
