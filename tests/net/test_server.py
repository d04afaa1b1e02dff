"""The edge that takes requests, over a played connection: order, cuts, limits, slow peers, endings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fastproxy.errors import BODY_TOO_LARGE, ProxyError
from fastproxy.model import Content, Exchange, Request, Response, ResponseHead
from fastproxy.net.connection import LINGER_S, PROMPT_BYTES, PROMPT_S, Connection
from fastproxy.net.drive import Waiter
from fastproxy.net.framing import BUFFER_BYTES, IncomingBody
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.server import Edge, Server, ServerLimits
from fastproxy.net.timers import TICK_S, Wheel
from tests.net.kit import Clock, Wire, in_bytes, respond

LATE_S = 3 * TICK_S
"""More than any timeout comes late."""

Answer = Callable[[Request, Connection], Awaitable[None]]


def answer_of(content: Content, status: int = 200, reason: bytes = b"OK") -> Response:
    return Response(ResponseHead(status, b"HTTP/1.1 %d %b\r\n" % (status, reason)), content)


async def read_all(content: Content) -> bytes:
    if isinstance(content, bytes):
        return content
    read = b""
    while data := await content.read():
        read += data
    return read


async def echo(request: Request, connection: Connection) -> None:
    await respond(connection, answer_of(request.head.target + b" " + await read_all(request.content)))


class Listener:
    """A server whose handler the test gives, and the connections that the test opens to it."""

    def __init__(self, answer: Answer = echo, limits: ServerLimits | None = None) -> None:
        self.clock = Clock()
        self.answer = answer
        self.ends: list[BaseException | None] = []
        parser = HeadParser((limits or ServerLimits()).head)
        self.server = Server(self, parser, limits or ServerLimits(), Wheel(self.clock.loop), self.clock.loop)

    async def handle(self, request: Request, connection: Connection) -> None:
        try:
            await self.answer(request, connection)
        except BaseException as error:
            self.ends.append(error)
            raise
        self.ends.append(None)

    def refuse(self, error: ProxyError, peer: str) -> Response:
        return answer_of(error.cause.label.encode(), error.cause.status, b"Refused")

    def connect(self, host: str = "192.0.2.1") -> Wire:
        return Wire(Connection(self.server), (host, 4711))

    def turn(self) -> None:
        """Let the loop run what is due now."""
        self.clock.advance(0)


class Gate:
    """A handler that answers when the test says so."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.opened: list[Waiter[None]] = []

    async def __call__(self, request: Request, connection: Connection) -> None:
        self.requests.append(request.head.target)
        waiter: Waiter[None] = Waiter()
        self.opened.append(waiter)
        await waiter
        await respond(connection, answer_of(request.head.target))

    def open(self, number: int) -> None:
        self.opened[number].set(None)


def get(target: bytes = b"/", *lines: bytes) -> bytes:
    return b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n" % (target, b"".join(line + b"\r\n" for line in lines))


def ok(content: bytes, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n%b" % (len(content), extra, content)


def refusal(status: int, label: bytes) -> bytes:
    head = b"HTTP/1.1 %d Refused\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return head % (status, len(label)) + label


OK = b"HTTP/1.1 200 OK\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED_HEAD = b"POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKED = CHUNKED_HEAD + b"2\r\nhe\r\n3\r\nllo\r\n0\r\nX: 1\r\n\r\n"
THREE = POST + CHUNKED + get(b"/c")
ANSWERS = ok(b"/a hello") + ok(b"/b hello") + ok(b"/c ")


# --- requests and answers ---------------------------------------------------------------------------------


class Seen:
    """A handler that notes how the content of requests came to it."""

    def __init__(self) -> None:
        self.contents: list[Content] = []

    async def __call__(self, request: Request, connection: Connection) -> None:
        self.contents.append(request.content)
        await echo(request, connection)


def test_a_connection_that_was_made_before_a_change_and_begins_after_it_goes_by_the_new_config() -> None:
    """The event loop makes it in one turn, and has it begin in the next."""
    former, following = Seen(), Seen()
    listener, other = Listener(former), Listener(following)
    connection = Connection(listener.server)
    listener.server.change(other, Edge(other.server.parser, ServerLimits(), None))
    wire = Wire(connection, ("192.0.2.1", 4711))
    wire.receive(POST)
    assert wire.take() == ok(b"/a hello")
    assert (former.contents, following.contents) == ([], [b"hello"])


@pytest.mark.parametrize("length", [2, 1000, PROMPT_BYTES])
def test_little_content_that_follows_its_head_at_once_comes_whole(length: int) -> None:
    """Many callers send head and content one by one; several times on a connection."""
    content = b"a" * length
    head = b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length
    for at in (0, 1, length // 2, length - 1):
        seen = Seen()
        listener = Listener(seen)
        wire = listener.connect()
        for _ in range(3):
            wire.receive(head + content[:at])
            assert wire.take() == b""
            wire.receive(content[at:])
            assert wire.take() == ok(b"/1 " + content)
            listener.turn()
        assert seen.contents == [content] * 3


def test_content_that_lets_itself_be_waited_for_is_a_stream() -> None:
    seen = Seen()
    listener = Listener(seen)
    wire = listener.connect()
    for _ in range(2):
        wire.receive(POST[:-3])
        assert len(seen.contents) == 0
        listener.clock.advance(PROMPT_S + LATE_S)
        assert len(seen.contents) == 1
        assert isinstance(seen.contents.pop(), IncomingBody)
        wire.receive(b"llo")
        assert wire.take() == ok(b"/a hello")
        listener.turn()


@pytest.mark.parametrize(
    "lines",
    [b"Content-Length: %d\r\n" % (PROMPT_BYTES + 1), b"Expect: 100-continue\r\nContent-Length: 5\r\n"],
)
def test_large_content_and_what_waits_itself_is_a_stream_at_once(lines: bytes) -> None:
    seen = Seen()
    listener = Listener(seen)
    listener.connect().receive(b"POST /1 HTTP/1.1\r\nHost: a\r\n%b\r\n" % lines)
    assert isinstance(seen.contents[0], IncomingBody)


def test_a_request_whose_rest_is_awaited_is_not_lost_when_the_listener_drains() -> None:
    listener = Listener()
    wire = listener.connect()
    wire.receive(POST[:-3])
    listener.server.drain()
    assert not wire.closing
    listener.clock.advance(PROMPT_S + LATE_S)
    wire.receive(b"llo")
    assert wire.take() == ok(b"/a hello", b"connection: close\r\n")


def test_a_peer_that_ends_where_its_rest_is_awaited_has_broken_its_request() -> None:
    listener = Listener()
    wire = listener.connect()
    wire.receive(POST[:-3])
    wire.protocol.eof_received()
    assert [type(end) for end in listener.ends] == [ProxyError]


def test_pipelined_requests_are_answered_in_order_in_every_cut() -> None:
    cuts = [[THREE[:at], THREE[at:]] for at in range(1, len(THREE))]
    for pieces in [[THREE], in_bytes(THREE), *cuts]:
        listener = Listener()
        wire = listener.connect()
        for piece in pieces:
            wire.receive(piece)
            listener.turn()
        assert wire.take() == ANSWERS
        assert not wire.closing


def test_the_next_request_waits_for_the_answer_to_the_one_before() -> None:
    gate = Gate()
    listener = Listener(gate)
    wire = listener.connect()
    wire.receive(get(b"/1") + get(b"/2"))
    assert gate.requests == [b"/1"]
    gate.open(0)
    listener.turn()
    assert gate.requests == [b"/1", b"/2"]
    assert wire.take() == ok(b"/1")
    gate.open(1)
    assert wire.take() == ok(b"/2")


def test_a_peer_that_pipelines_too_far_ahead_is_not_read() -> None:
    gate = Gate()
    listener = Listener(gate, ServerLimits(head=HeadLimits(header_bytes=1024)))
    wire = listener.connect()
    wire.receive(get(b"/1"), get(b"/x") * 50)
    assert not wire.reading
    gate.open(0)
    listener.turn()
    assert wire.reading


def test_one_empty_line_before_a_request_is_passed_over_and_no_more() -> None:
    for pieces in ([b"\r\n" + get()], in_bytes(b"\r\n" + get())):
        wire = Listener().connect()
        wire.receive(*pieces)
        assert wire.take() == ok(b"/ ")
    for pieces in ([b"\r\n\r\n" + get()], in_bytes(b"\r\n\r\n" + get())):
        wire = Listener().connect()
        wire.receive(*pieces)
        assert wire.take() == refusal(400, b"malformed_request")


@pytest.mark.parametrize(
    ("request_head", "answer", "closes"),
    [
        (get(b"/", b"Connection: close"), ok(b"/ ", b"connection: close\r\n"), True),
        (b"GET / HTTP/1.0\r\n\r\n", ok(b"/ ", b"connection: close\r\n"), True),
        (
            b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            ok(b"/ ", b"connection: keep-alive\r\n"),
            False,
        ),
    ],
)
def test_who_closes_when(request_head: bytes, answer: bytes, closes: bool) -> None:
    wire = Listener().connect()
    wire.receive(request_head)
    assert (wire.take(), wire.closing) == (answer, closes)


def test_a_connection_serves_no_more_than_its_share() -> None:
    wire = Listener(limits=ServerLimits(requests_per_connection=2)).connect()
    wire.receive(get(), get(), get())
    assert wire.take() == ok(b"/ ") + ok(b"/ ", b"connection: close\r\n")
    assert wire.closing


@pytest.mark.parametrize(
    ("method", "status", "content", "declared", "expected"),
    [
        (b"HEAD", 200, b"", 7, b"content-length: 7\r\n"),
        (b"HEAD", 200, b"content", None, b""),
        (b"GET", 204, b"", 0, b""),
        (b"GET", 304, b"", 7, b"content-length: 7\r\n"),
    ],
)
def test_answers_without_a_body(
    method: bytes, status: int, content: bytes, declared: int | None, expected: bytes
) -> None:
    response = Response(ResponseHead(status, OK), content)
    response.head.length = declared

    async def answer(request: Request, connection: Connection) -> None:
        await respond(connection, response)

    wire = Listener(answer).connect()
    wire.receive(method + get()[3:])
    assert wire.take() == OK + expected + b"\r\n"
    assert not wire.closing


# --- bodies on their way ----------------------------------------------------------------------------------


class Streaming:
    """Answers with a body that the test pushes."""

    def __init__(self, length: int | None = None) -> None:
        self.asked: list[str] = []
        self.body = IncomingBody(
            length, None, lambda: self.asked.append("pause"), lambda: self.asked.append("resume"),
            lambda: self.asked.append("close"),
        )  # fmt: skip

    async def __call__(self, request: Request, connection: Connection) -> None:
        await respond(connection, answer_of(self.body))


def test_an_answer_goes_out_as_it_comes() -> None:
    streaming = Streaming()
    wire = Listener(streaming).connect()
    wire.receive(get())
    assert wire.take() == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    streaming.body.push(b"hello")
    assert wire.take() == b"5\r\nhello\r\n"
    streaming.body.finish(b"", [(b"X", b"1")])
    assert wire.take() == b"0\r\nX: 1\r\n\r\n"
    assert not wire.closing


def test_http_1_0_gets_no_chunks() -> None:
    streaming = Streaming()
    wire = Listener(streaming).connect()
    wire.receive(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    streaming.body.finish(b"hello", [])
    assert wire.take() == b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello"
    assert wire.closing


def test_an_answer_that_breaks_off_never_looks_complete() -> None:
    streaming = Streaming()
    wire = Listener(streaming).connect()
    wire.receive(get())
    streaming.body.push(b"half")
    streaming.body.fail(ProxyError(BODY_TOO_LARGE))
    assert wire.aborted
    assert not wire.take().endswith(b"0\r\n\r\n")


def test_a_slow_reader_holds_the_answer_back() -> None:
    streaming = Streaming(length=6)
    listener = Listener(streaming)
    wire = listener.connect()
    wire.receive(get())
    wire.protocol.pause_writing()
    streaming.body.push(b"one")
    streaming.body.push(b"two")
    assert wire.take().endswith(b"\r\n\r\none")
    wire.protocol.resume_writing()
    assert wire.take() == b"two"


def test_a_reader_that_reads_nothing_is_cut_off_and_its_answer_let_go() -> None:
    streaming = Streaming()
    listener = Listener(streaming, ServerLimits(write_timeout_s=5))
    wire = listener.connect()
    wire.receive(get())
    wire.protocol.pause_writing()
    streaming.body.push(b"one")
    listener.clock.advance(5 + LATE_S)
    assert wire.aborted
    wire.lose()
    assert isinstance(listener.ends[0], asyncio.CancelledError)
    assert streaming.asked == ["close"]


def test_answers_do_not_pile_up_for_a_peer_that_never_reads() -> None:
    listener = Listener(limits=ServerLimits(write_timeout_s=5))
    wire = listener.connect()
    wire.protocol.pause_writing()
    for _ in range(5):
        wire.receive(get())
        listener.turn()
    assert wire.take() == ok(b"/ ")
    wire.protocol.resume_writing()
    listener.turn()
    assert wire.take() == ok(b"/ ") * 4


def test_a_peer_that_read_late_is_still_timed_out_when_it_goes_idle() -> None:
    listener = Listener(limits=ServerLimits(idle_timeout_s=5))
    wire = listener.connect()
    wire.protocol.pause_writing()
    wire.receive(get())
    wire.protocol.resume_writing()
    listener.clock.advance(5 + LATE_S)
    assert wire.closing


def test_a_fast_sender_is_held_back_by_a_slow_handler() -> None:
    gate = Gate()
    listener = Listener(gate)
    wire = listener.connect()
    wire.receive(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n", b"a" * (BUFFER_BYTES + 1))
    assert not wire.reading


def test_an_answer_before_the_body_has_come_ends_the_connection() -> None:
    gate = Gate()
    listener = Listener(gate)
    wire = listener.connect()
    wire.receive(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
    listener.clock.advance(PROMPT_S + LATE_S)
    gate.open(0)
    assert wire.take() == ok(b"/1", b"connection: close\r\n")
    assert wire.half_closed  # what the peer still sends is discarded for a moment, never taken for a request
    wire.receive(get(b"/smuggled"))
    assert wire.take() == b""
    assert gate.requests == [b"/1"]
    listener.clock.advance(LINGER_S + LATE_S)
    assert wire.aborted


def test_whoever_waits_for_a_100_gets_it_when_somebody_reads() -> None:
    head = b"POST /a HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    wire = Listener().connect()
    wire.receive(head)
    assert wire.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.receive(b"hello")
    assert wire.take() == ok(b"/a hello")

    wire = Listener().connect()
    wire.receive(head + b"hello")
    assert wire.take() == ok(b"/a hello")

    async def refuse_unread(request: Request, connection: Connection) -> None:
        await respond(connection, answer_of(b"", 403, b"No"))

    wire = Listener(refuse_unread).connect()
    wire.receive(head)
    assert wire.take().startswith(b"HTTP/1.1 403 No\r\n")


# --- refusals and limits ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "status", "label"),
    [
        (get(b"/", b"A : 1"), 400, b"malformed_request"),
        (b"GET / HTTP/2.0\r\n\r\n", 505, b"version_unsupported"),
        (b"\x16\x03\x01\x02\x00\x01", 400, b"malformed_request"),
        (b"GET /\r\n", 400, b"malformed_request"),
        (get(b"/", b"A: " + b"a" * 2000), 431, b"headers_too_large"),
        (get(b"/", *[b"A: 1"] * 101), 431, b"too_many_headers"),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", 413, b"body_too_large"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ended(
    sent: bytes, status: int, label: bytes
) -> None:
    listener = Listener(limits=ServerLimits(head=HeadLimits(header_bytes=1024, body_bytes=10)))
    wire = listener.connect()
    wire.receive(sent + get(b"/behind"))
    assert wire.take() == refusal(status, label)
    assert wire.half_closed
    assert listener.ends == []
    wire.receive(get(b"/later"))
    listener.clock.advance(LINGER_S + LATE_S)
    assert (wire.take(), wire.aborted) == (b"", True)


@pytest.mark.parametrize("beginning", [b"\x16\x03\x01", b"GET /\r\n", b"\n"])
def test_nobody_waits_for_the_rest_of_what_can_not_become_a_request(beginning: bytes) -> None:
    wire = Listener().connect()
    wire.receive(beginning)
    assert wire.take() == refusal(400, b"malformed_request")


@pytest.mark.parametrize(
    "body", [b"5\r\nhello\r\nzz\r\n", b"5\nhello", b"b\r\nhello world\r\n0\r\n\r\n"], ids=repr
)
def test_a_broken_body_reaches_the_handler_as_an_error(body: bytes) -> None:
    listener = Listener(limits=ServerLimits(head=HeadLimits(body_bytes=10)))
    wire = listener.connect()
    wire.receive(
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", *in_bytes(body + get())
    )
    assert len(listener.ends) == 1
    assert isinstance(listener.ends[0], ProxyError)
    assert listener.ends[0].cause.label in ("malformed_request", "body_too_large")
    assert wire.aborted


def test_where_newcomers_come_first_whoever_owes_most_urgently_makes_room() -> None:
    listener = Listener(
        limits=ServerLimits(connections=3, header_timeout_s=5, idle_timeout_s=5, newcomers_first=True)
    )
    first, second = listener.connect(), listener.connect()
    listener.clock.advance(1)
    first.receive(b"GET /again HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"/again" in first.take()
    third = listener.connect()
    fourth = listener.connect()
    assert (first.aborted, second.aborted, third.aborted) == (False, True, False)
    fourth.receive(b"GET /late HTTP/1.1\r\nHost: a\r\n\r\n")
    assert b"/late" in fourth.take()


def test_newcomers_do_not_come_before_those_who_are_being_answered() -> None:
    async def never(request: Request, connection: Connection) -> None:
        await Waiter[None]()

    listener = Listener(never, ServerLimits(connections=2, newcomers_first=True))
    wires = [listener.connect(), listener.connect()]
    for wire in wires:
        wire.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert listener.connect().take() == refusal(503, b"too_many_connections")
    assert not any(wire.aborted for wire in wires)


def test_connections_in_total_and_per_peer() -> None:
    listener = Listener(limits=ServerLimits(connections=3, connections_per_peer=2))
    wires = [listener.connect("a"), listener.connect("a"), listener.connect("a")]
    assert [wire.take() for wire in wires] == [b"", b"", refusal(503, b"too_many_connections")]
    wires[2].lose()
    wires += [listener.connect("b"), listener.connect("c")]
    assert [wire.take() for wire in wires[3:]] == [b"", refusal(503, b"too_many_connections")]
    for wire in wires:
        wire.lose()
    assert not listener.server.connections
    assert not listener.server.by_peer
    assert listener.connect("a").take() == b""


# --- timeouts ---------------------------------------------------------------------------------------------

TIMEOUTS = ServerLimits(header_timeout_s=2, body_timeout_s=3, idle_timeout_s=7)


def test_a_head_has_its_time_however_it_drips() -> None:
    listener = Listener(limits=TIMEOUTS)
    wire = listener.connect()
    for byte in in_bytes(get())[:15]:
        wire.receive(byte)
        listener.clock.advance(2 / 16)
    assert wire.take() == b""
    listener.clock.advance(2 / 16 + LATE_S)
    assert wire.take() == refusal(408, b"header_timeout")


def test_a_second_head_has_its_own_time() -> None:
    listener = Listener(limits=TIMEOUTS)
    wire = listener.connect()
    wire.receive(get())
    listener.clock.advance(6)
    wire.take()
    wire.receive(get()[:5])
    listener.clock.advance(1.9)
    assert wire.take() == b""
    listener.clock.advance(0.1 + LATE_S)
    assert wire.take() == refusal(408, b"header_timeout")


def test_whoever_says_nothing_is_told_nothing() -> None:
    for said, time_s in ((b"", 2), (get(), 7), (get() + b"\r\n", 7)):
        listener = Listener(limits=TIMEOUTS)
        wire = listener.connect()
        wire.receive(said)
        wire.take()
        listener.clock.advance(time_s - 0.01)
        assert not wire.closing
        listener.clock.advance(0.01 + LATE_S)
        assert (wire.take(), wire.closing) == (b"", True)


def test_a_body_may_take_long_but_not_stop() -> None:
    listener = Listener(limits=TIMEOUTS)
    wire = listener.connect()
    wire.receive(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
    for _ in range(5):
        listener.clock.advance(2.9)
        wire.receive(b"a")
    assert listener.ends == []
    listener.clock.advance(3 + LATE_S)
    assert isinstance(listener.ends[0], ProxyError)
    assert listener.ends[0].cause.label == "body_timeout"


def test_an_exchange_under_way_is_not_timed_out_by_the_connection() -> None:
    gate = Gate()
    listener = Listener(gate, TIMEOUTS)
    wire = listener.connect()
    wire.receive(get(b"/1"))
    listener.clock.advance(100)
    gate.open(0)
    assert wire.take() == ok(b"/1")


def test_the_deadline_reaches_an_exchange_wherever_it_waits() -> None:
    waiter: Waiter[None] = Waiter()

    async def answer(request: Request, connection: Connection) -> None:
        exchange = Exchange("id", 0.0, "peer")
        exchange.deadline = listener.clock.now + 1
        exchange.phase = "wait"
        connection.set_deadline(exchange)
        try:
            await waiter
        except ProxyError as error:
            await respond(connection, answer_of(error.phase.encode(), error.cause.status, b"Late"))

    listener = Listener(answer)
    wire = listener.connect()
    wire.receive(get())
    listener.clock.advance(0.99)
    assert wire.take() == b""
    listener.clock.advance(0.01 + LATE_S)
    assert wire.take() == b"HTTP/1.1 504 Late\r\ncontent-length: 4\r\n\r\nwait"
    assert not wire.closing


def test_a_deadline_ends_with_its_exchange() -> None:
    async def answer(request: Request, connection: Connection) -> None:
        if request.head.target == b"/1":
            exchange = Exchange("id", 0.0, "peer")
            exchange.deadline = listener.clock.now + 1
            connection.set_deadline(exchange)
        else:
            await waiter
        await respond(connection, answer_of(b""))

    waiter: Waiter[None] = Waiter()
    listener = Listener(answer)
    wire = listener.connect()
    wire.receive(get(b"/1"), get(b"/2"))
    wire.take()
    listener.clock.advance(10)
    waiter.set(None)
    assert wire.take() == ok(b"")


# --- endings ----------------------------------------------------------------------------------------------


def test_a_peer_that_is_gone_cancels_what_was_done_for_it() -> None:
    for end in ("lose", "end"):
        listener = Listener(Gate())
        wire = listener.connect()
        wire.receive(get())
        getattr(wire, end)()
        assert [type(error) for error in listener.ends] == [asyncio.CancelledError]
        assert not listener.server.connections
        assert listener.clock.failures == []
        listener.clock.advance(1000)
        assert listener.clock.idle


def test_a_peer_that_ends_inside_its_body_sent_a_broken_message() -> None:
    listener = Listener()
    wire = listener.connect()
    wire.receive(b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhell")
    wire.end()
    assert isinstance(listener.ends[0], ProxyError)
    assert listener.ends[0].cause.label == "malformed_request"


def test_a_mistake_of_the_handler_is_reported_and_ends_the_connection() -> None:
    async def answer(request: Request, connection: Connection) -> None:
        raise ZeroDivisionError

    listener = Listener(answer)
    wire = listener.connect()
    wire.receive(get())
    assert wire.aborted
    assert [type(failure["exception"]) for failure in listener.clock.failures] == [ZeroDivisionError]


def test_draining_closes_the_idle_and_lets_the_others_end() -> None:
    gate = Gate()
    listener = Listener(gate)
    idle, busy = listener.connect(), listener.connect()
    busy.receive(get(b"/1"))
    listener.server.drain()
    assert (idle.closing, busy.closing) == (True, False)
    late = listener.connect()
    assert late.take() == refusal(503, b"draining")
    gate.open(0)
    assert busy.take() == ok(b"/1", b"connection: close\r\n")
    assert busy.closing


def test_draining_is_over_when_the_last_connection_is_gone() -> None:
    async def main() -> tuple[bool, bool]:
        listener = Listener()
        wire = listener.connect()
        listener.server.drain()
        early = await listener.server.emptied(0.001)
        wire.lose()
        return early, await listener.server.emptied(0.001)

    assert asyncio.run(main()) == (False, True)


def test_thousands_of_exchanges_leave_nothing_on_the_wheel() -> None:
    listener = Listener()
    wire = listener.connect()
    for _ in range(3000):
        wire.receive(get())
    wire.lose()
    assert not listener.server.wheel._buckets
