"""What a hostile peer or service tries on one connection: to cost much, to hold much, never to leave."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from fastproxy.errors import ProxyError
from fastproxy.model import Request
from fastproxy.net.client import INTERIM_LIMIT
from fastproxy.net.connection import LINGER_S, Connection
from fastproxy.net.drive import Waiter
from fastproxy.net.framing import Chunked
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.server import ServerLimits
from tests.net.kit import respond
from tests.net.test_client import SIZED, Caller, cause
from tests.net.test_server import LATE_S, Listener, answer_of

EARLY = b"HTTP/1.1 103 Early Hints\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
MIB = 1 << 20


def cpu_s_of_chunks(count: int) -> float:
    """CPU time for one read that holds so many chunks of one byte, in seconds; the best of three."""
    data = b"1\r\na\r\n" * count
    times = []
    for _ in range(3):
        began = time.process_time()
        content, _ = Chunked().feed(data)
        times.append(time.process_time() - began)
        assert len(content) == count
    return min(times)


def test_tiny_chunks_cost_in_proportion_to_their_number() -> None:
    """With their square, it would be 1,600 times as much."""
    assert cpu_s_of_chunks(160_000) < 200 * cpu_s_of_chunks(4_000)


def test_what_follows_a_broken_chunk_is_not_read_while_the_handler_is_busy() -> None:
    busy: Waiter[None] = Waiter()

    async def handle(request: Request, connection: Connection) -> None:
        await busy
        assert not isinstance(request.content, bytes)
        await request.content.read()

    listener = Listener(handle)
    wire = listener.connect()
    wire.receive(CHUNKED + b"2\r\nab\r\n", b"no size\r\n")
    assert not wire.reading
    busy.set(None)
    error = listener.ends[0]
    assert isinstance(error, ProxyError)
    assert error.cause.label == "malformed_request"


def test_interim_answers_are_bounded_in_number() -> None:
    caller = Caller()
    run = caller.call()
    caller.wire.receive(EARLY * INTERIM_LIMIT, SIZED)
    assert run.value()[1] == b"hello"
    run = caller.call()  # a request of its own has a count of its own
    caller.wire.receive(EARLY * INTERIM_LIMIT)
    assert not run.done
    caller.wire.receive(EARLY)
    assert cause(run) == "response_malformed"
    assert caller.wire.aborted


def test_interim_answers_may_be_cut_anywhere() -> None:
    stream = EARLY * 3 + SIZED
    for at in range(1, len(stream)):
        caller = Caller()
        run = caller.call()
        caller.wire.receive(stream[:at], stream[at:])
        assert run.value()[1] == b"hello"


def test_each_interim_answer_is_held_to_the_limit_of_a_head() -> None:
    caller = Caller(HeadLimits(header_bytes=64))
    run = caller.call()
    caller.wire.receive(EARLY * 8)
    assert not run.done
    caller.wire.receive(b"HTTP/1.1 103 " + b"x" * 64)
    assert cause(run) == "response_too_large"


# --- peers that don't leave ------------------------------------------------------------------------------


def test_a_peer_that_never_reads_its_last_answer_is_cut_off() -> None:
    limits = ServerLimits(write_timeout_s=5)
    listener = Listener(limits=limits)
    wire = listener.connect()
    wire.receive(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert wire.closing
    assert not wire.aborted
    listener.clock.advance(limits.write_timeout_s + LATE_S)
    assert wire.aborted


def test_reading_the_answer_late_does_not_end_the_time_to_linger() -> None:
    async def refuse(request: Request, connection: Connection) -> None:
        await respond(connection, answer_of(b"no", 403))

    listener = Listener(refuse)
    wire = listener.connect()
    wire.receive(CHUNKED)
    assert wire.half_closed
    wire.protocol.pause_writing()
    wire.protocol.resume_writing()
    listener.clock.advance(max(LINGER_S, ServerLimits().write_timeout_s) + LATE_S)
    assert wire.aborted


def test_a_peer_that_has_read_its_answer_may_be_idle_no_longer_than_others() -> None:
    limits = ServerLimits(idle_timeout_s=7)
    listener = Listener(limits=limits)
    wire = listener.connect()
    wire.receive(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    wire.protocol.pause_writing()
    wire.protocol.resume_writing()
    listener.clock.advance(limits.idle_timeout_s + LATE_S)
    assert wire.closing


def test_a_peer_that_has_read_on_still_owes_its_body() -> None:
    async def wait_for_body(request: Request, connection: Connection) -> None:
        assert not isinstance(request.content, bytes)
        await request.content.read()

    limits = ServerLimits(body_timeout_s=4)
    listener = Listener(wait_for_body, limits)
    wire = listener.connect()
    wire.receive(CHUNKED)
    wire.protocol.pause_writing()
    wire.protocol.resume_writing()
    listener.clock.advance(limits.body_timeout_s + LATE_S)
    error = listener.ends[0]
    assert isinstance(error, ProxyError)
    assert error.cause.label == "body_timeout"


# --- what a parser remembers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        b"Authorization: Basic eDp5",
        b"cookie: id=1",
        b"Proxy-Authorization: x",
        b"X-API-Key: 1",
        b"x-auth-token:2",
    ],
)
def test_heads_with_credentials_are_not_remembered(field: bytes) -> None:
    parser = HeadParser(HeadLimits())
    plain = b"GET /auth?token=1 HTTP/1.1\r\nHost: a\r\nX: cookie\r\n\r\n"
    assert parser.request(plain)[0] is parser.request(plain)[0]
    parser.request(b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % field)
    assert not [known for known in parser.requests if field in known]


def test_answers_that_set_cookies_are_not_remembered() -> None:
    parser = HeadParser(HeadLimits())
    plain = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert parser.responses[plain] is parser.responses[plain]
    secret = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nSet-Cookie: id=1\r\n\r\n"
    assert parser.responses[secret] is not parser.responses[secret]


def test_large_heads_are_not_remembered() -> None:
    parser = HeadParser(HeadLimits())
    large = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Type: %b\r\n\r\n" % (b"x" * 1000)
    assert len(large) > 1024
    assert parser.request(large)[0] is not parser.request(large)[0]


def test_a_parser_keeps_less_than_it_says() -> None:
    """Without plans, 4 KiB per head: 0.4 MiB; what plans add is measured where they are made."""
    parser = HeadParser(HeadLimits(), frozenset((b"x-forwarded-for",)))
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(1000):
            parser.request(
                b"GET /%0400d HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: %0200d\r\nContent-Type: %b\r\n\r\n"
                % (number, number, b"y" * 300)
            )
        assert tracemalloc.get_traced_memory()[0] - before < 0.4 * MIB
    finally:
        tracemalloc.stop()


def test_fields_that_look_like_reserved_ones_to_programs_like_cgis_do_not_go_on() -> None:
    parser = HeadParser(HeadLimits(), frozenset((b"fastproxy-caller", b"request_dead_time")))
    head, rest = parser.request(
        b"GET / HTTP/1.1\r\nHost: a\r\nFastproxy_Caller: admin\r\nTransfer_Encoding: chunked\r\n"
        b"Request-Dead_Time: 1\r\nrequest_dead_time: 2\r\nX_Own: 1\r\n\r\n"
    )
    assert (head.fields, rest) == (b"", b"X_Own: 1\r\n\r\n")
    assert head.control == {b"request_dead_time": b"2"}
