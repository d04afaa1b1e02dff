"""Connections that leave HTTP, over played ones: a caller's edge and a service's, with nothing between."""

from __future__ import annotations

import asyncio

import pytest

from fastproxy.errors import ProxyError
from fastproxy.model import Body, Endpoint, Exchange, Request, Response, ResponseHead
from fastproxy.net.client import ClientConnection
from fastproxy.net.connection import Connection
from fastproxy.net.framing import BUFFER_BYTES
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.server import Server, ServerLimits
from fastproxy.net.timers import TICK_S, Wheel
from fastproxy.net.upgrade import upgrade_lines
from tests.net.kit import Clock, Run, Wire, in_bytes, respond
from tests.net.test_client import Caller, cause, upload

LATE_S = 3 * TICK_S
ASK = b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
PLAIN = b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n"
REFUSED = b"HTTP/1.1 426 No\r\nContent-Length: 2\r\n\r\nno"
PASSED_ON = b"HTTP/1.1 426 No\r\ncontent-length: 2\r\n\r\nno"


class Hop:
    """A caller and a service with one hop between them, whose every request goes to the same connection.

    causes: how the exchanges ended, "" for well.
    """

    def __init__(self, idle_timeout_s: float = 60, deadline_s: float = 10, **limits: float) -> None:
        self.clock = Clock()
        self.causes: list[str] = []
        self.contents: list[Body] = []
        self._deadline_s = deadline_s
        parser = HeadParser(HeadLimits(header_bytes=1024))
        self.server = Server(
            self,
            parser,
            ServerLimits(parser.limits, tunnel_idle_timeout_s=idle_timeout_s, **limits),  # type: ignore[arg-type]
            Wheel(self.clock.loop),
            self.clock.loop,
        )
        self.freed: list[ClientConnection] = []
        self.client = ClientConnection(parser, Endpoint("192.0.2.9", 80), self.freed.append, lambda _: None)
        self.service = Wire(self.client)
        self.caller = Wire(Connection(self.server))

    async def handle(self, request: Request, connection: Connection) -> None:
        exchange = Exchange("id", 0.0, "", deadline=self.clock.now + self._deadline_s)
        connection.set_deadline(exchange)
        head = b"%b %b\r\n%b\r\n" % (request.head.method, request.head.target, upgrade_lines(request.head))
        try:
            if isinstance(request.content, bytes):
                answer = self.client.send(request.head.method, head)
            else:
                self.contents.append(request.content)
                answer = self.client.send_stream(
                    request.head.method, head, request.content, chunked=False, upgrade=request.head.upgrade
                )
            try:
                response = await answer
            except BaseException:
                self.client.abandon(answer)
                raise
            await respond(connection, response)
        except BaseException as error:
            self.causes.append(error.cause.label if isinstance(error, ProxyError) else type(error).__name__)
            raise
        self.causes.append("")

    def refuse(self, error: ProxyError, peer: str) -> Response:
        label = error.cause.label.encode()
        return Response(ResponseHead(error.cause.status, b"HTTP/1.1 %d No\r\n" % error.cause.status), label)

    def switch(self) -> Hop:
        """Ask, and go over."""
        self.caller.receive(ASK)
        self.service.receive(SWITCH)
        assert self.caller.take() == SWITCHED
        assert self.service.take() == b"GET /1\r\nconnection: upgrade\r\nupgrade: chat\r\n\r\n"
        return self

    def follow(self) -> None:
        """Let connections that were closed be gone."""
        for _ in range(2):
            for wire in (self.caller, self.service):
                if wire.closing:
                    wire.lose()


# --- going over -------------------------------------------------------------------------------------------


def test_bytes_pass_both_ways_as_they_come() -> None:
    hop = Hop().switch()
    for said in (b"\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n"):
        hop.caller.receive(said)
        assert hop.service.take() == said
        hop.service.receive(said)
        assert hop.caller.take() == said
    assert hop.causes == []


def test_what_comes_along_with_the_101_is_said_in_the_other_protocol() -> None:
    for pieces in ([SWITCH + b"hello"], in_bytes(SWITCH + b"hello")):
        hop = Hop()
        hop.caller.receive(ASK)
        hop.service.receive(*pieces)
        assert hop.caller.take() == SWITCHED + b"hello"


def test_nothing_that_the_caller_says_leaves_before_the_101() -> None:
    hop = Hop()
    hop.caller.receive(*in_bytes(ASK + b"early"), b", later")
    assert hop.service.take().endswith(b"\r\n\r\n")
    hop.service.receive(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert hop.service.take() == b""
    hop.service.receive(SWITCH)
    assert hop.service.take() == b"early, later"


def test_a_caller_that_says_too_much_too_early_is_not_read() -> None:
    hop = Hop()
    hop.caller.receive(ASK, b"a" * 2000)
    assert not hop.caller.reading
    hop.service.receive(SWITCH)
    assert hop.service.take().endswith(b"a" * 2000)
    assert hop.caller.reading


def test_with_another_answer_the_connection_goes_on_as_usual() -> None:
    for pieces in ([ASK + PLAIN], [ASK, PLAIN], in_bytes(ASK + PLAIN)):
        hop = Hop()
        hop.caller.receive(*pieces)
        assert b"GET /2" not in hop.service.take()
        hop.service.receive(REFUSED)
        hop.clock.advance(0)
        assert hop.caller.take() == PASSED_ON
        assert hop.service.take() == b"GET /2\r\n\r\n"
        hop.service.receive(REFUSED)
        assert hop.caller.take() == PASSED_ON
        assert hop.causes == ["", ""]
        assert hop.freed == [hop.client, hop.client]


def test_with_another_answer_the_content_ends_empty() -> None:
    hop = Hop()
    hop.caller.receive(ASK + PLAIN)
    read = Run(hop.contents[0].read())
    assert not read.done
    hop.service.receive(REFUSED)
    assert read.value() == b""


@pytest.mark.parametrize(
    "answer",
    [
        SWITCH.replace(b"chat", b"other"),
        SWITCH.replace(b"chat", b"chat, other"),
        SWITCH.replace(b"Connection: Upgrade\r\n", b""),
        SWITCH.replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"),
    ],
    ids=repr,
)
def test_going_over_to_anything_else_breaks_the_exchange(answer: bytes) -> None:
    hop = Hop()
    hop.caller.receive(ASK)
    hop.service.receive(answer)
    assert hop.causes == ["response_malformed"]
    assert hop.service.aborted


def test_a_101_that_nobody_asked_for_is_none() -> None:
    hop = Hop()
    hop.caller.receive(PLAIN)
    hop.service.receive(SWITCH)
    assert hop.causes == ["response_malformed"]


def test_an_exchange_after_one_that_asked_in_vain_has_not_asked() -> None:
    asking = Caller()
    asking.connection.send_stream(b"GET", b"", upload(), chunked=False, upgrade=b"chat")
    asking.wire.receive(REFUSED)
    run = asking.call(b"GET")
    asking.wire.receive(SWITCH)
    assert cause(run) == "response_malformed"


def test_a_peer_that_asked_for_nothing_gets_no_101() -> None:
    head = HeadParser(HeadLimits()).response(SWITCH)
    hop = Hop()

    async def answer(request: Request, connection: Connection) -> None:
        await respond(connection, Response(head, upload()))

    hop.handle = answer  # type: ignore[method-assign]
    caller = Wire(Connection(hop.server))
    caller.receive(PLAIN)
    assert (caller.take(), caller.aborted) == (b"", True)


def test_where_only_http_is_spoken_whoever_asks_for_more_is_refused() -> None:
    hop = Hop(idle_timeout_s=0)
    hop.caller.receive(ASK)
    assert hop.caller.take().startswith(b"HTTP/1.1 501 No\r\n")
    assert (hop.causes, hop.service.take()) == ([], b"")


def test_a_peer_that_is_gone_leaves_nobody_reading_what_it_says() -> None:
    """Whoever reads may do so apart from the answer, as a link does."""
    head = HeadParser(HeadLimits()).response(SWITCH)
    hop = Hop()
    reading: list[Run] = []

    async def answer(request: Request, connection: Connection) -> None:
        assert not isinstance(request.content, bytes)
        reading.append(Run(request.content.read()))
        await respond(connection, Response(head, upload()))

    hop.handle = answer  # type: ignore[method-assign]
    caller = Wire(Connection(hop.server))
    caller.receive(ASK)
    assert caller.take() == SWITCHED
    assert not reading[0].done
    caller.lose()
    assert cause(reading[0]) == "connection_lost"


def test_an_endpoint_that_is_gone_leaves_nothing_waiting_to_be_sent_to_it() -> None:
    asking = Caller()
    asking.connection.send_stream(b"GET", b"", upload(), chunked=False, upgrade=b"chat")
    asking.wire.receive(SWITCH)
    asking.wire.end()
    assert asking.connection.busy
    asking.wire.lose(ConnectionResetError())
    assert not asking.connection.busy


# --- ending -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", ["caller", "service"])
def test_each_side_ends_by_itself(first: str) -> None:
    hop = Hop().switch()
    one, other = (hop.caller, hop.service) if first == "caller" else (hop.service, hop.caller)
    one.receive(b"last words")
    one.end()
    assert (other.take(), other.half_closed) == (b"last words", True)
    assert (one.closing, other.closing) == (False, False)
    other.receive(b"an answer to them")
    assert one.take() == b"an answer to them"
    other.end()
    hop.follow()
    assert (one.lost, other.lost, one.aborted, other.aborted) == (True, True, False, False)
    assert hop.causes == [""]
    assert not hop.server.connections
    assert not hop.server.wheel._buckets


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("broken", ["caller", "service"])
def test_when_one_side_breaks_the_other_is_cut(broken: str, ended: bool) -> None:
    """Also when the one that breaks had ended what it says before."""
    hop = Hop().switch()
    one, other = (hop.caller, hop.service) if broken == "caller" else (hop.service, hop.caller)
    if ended:
        one.end()
    one.lose(ConnectionResetError())
    assert other.aborted
    hop.follow()
    assert hop.causes == ["CancelledError" if broken == "caller" else "connection_lost"]
    hop.clock.advance(1000)
    assert (hop.clock.idle, hop.clock.failures, hop.freed) == (True, [], [])


def test_a_service_that_breaks_with_the_callers_last_words_unread_ends_the_tunnel() -> None:
    hop = Hop().switch()
    hop.client.pause_writing()
    hop.caller.receive(b"one", b"two")
    hop.caller.end()
    hop.service.end()
    hop.service.lose(ConnectionResetError())
    assert hop.caller.aborted
    assert hop.causes == ["connection_lost"]


def test_a_caller_that_hangs_up_before_the_101_cancels_the_exchange() -> None:
    hop = Hop()
    hop.caller.receive(ASK)
    hop.caller.end()
    assert hop.causes == ["CancelledError"]
    assert hop.service.aborted


def test_a_service_that_ends_before_its_answer_is_lost() -> None:
    hop = Hop()
    hop.caller.receive(ASK)
    hop.service.end()
    assert hop.causes == ["connection_lost"]


# --- time and slow readers --------------------------------------------------------------------------------


def test_the_deadline_ends_with_the_101() -> None:
    hop = Hop(deadline_s=10)
    hop.caller.receive(ASK)
    hop.clock.advance(10 + LATE_S)
    assert hop.causes == ["deadline_exceeded"]

    hop = Hop(deadline_s=10).switch()
    hop.clock.advance(50)
    hop.caller.receive(b"still here")
    assert (hop.service.take(), hop.causes) == (b"still here", [])


@pytest.mark.parametrize("who", ["caller", "service"])
def test_a_tunnel_in_which_nobody_says_anything_is_cut(who: str) -> None:
    hop = Hop(idle_timeout_s=60, body_timeout_s=5).switch()
    for _ in range(5):
        hop.clock.advance(59)
        getattr(hop, who).receive(b"ping")
    assert hop.causes == []
    hop.clock.advance(60 + LATE_S)
    assert hop.causes == ["tunnel_idle"]
    assert hop.caller.aborted
    assert hop.service.aborted


def test_a_caller_that_never_reads_is_cut_off_however_much_it_says() -> None:
    hop = Hop(write_timeout_s=5).switch()
    hop.caller.protocol.pause_writing()
    for _ in range(4):
        hop.clock.advance(1)
        hop.caller.receive(b"more")
        hop.service.receive(b"more")
    assert hop.caller.take() == b"more"
    hop.clock.advance(1 + LATE_S)
    assert hop.caller.aborted
    hop.caller.lose()
    assert hop.service.aborted


def test_a_slow_reader_holds_the_other_side_up() -> None:
    hop = Hop().switch()
    hop.caller.protocol.pause_writing()
    hop.service.receive(b"a", b"b" * (BUFFER_BYTES + 1))
    assert not hop.service.reading
    hop.caller.protocol.resume_writing()
    assert (len(hop.caller.take()), hop.service.reading) == (BUFFER_BYTES + 2, True)

    hop.client.pause_writing()
    hop.caller.receive(b"a", b"b" * (BUFFER_BYTES + 1))
    assert not hop.caller.reading
    hop.client.resume_writing()
    assert (len(hop.service.take()), hop.caller.reading) == (BUFFER_BYTES + 2, True)


def test_draining_waits_for_a_tunnel_and_cuts_it_in_the_end() -> None:
    async def main() -> bool:
        hop = Hop().switch()
        hop.server.drain()
        in_time = await hop.server.emptied(0.001)
        hop.caller.receive(b"going on")
        assert hop.service.take() == b"going on"
        hop.server.abort()
        hop.caller.lose()
        assert hop.service.aborted
        return in_time

    assert asyncio.run(main()) is False
