"""Heads: what is taken, what is refused and for which cause, and that nothing else can happen."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastproxy.errors import ProxyError
from fastproxy.model import RequestHead, ResponseHead
from fastproxy.net.http1 import (
    HOP_BY_HOP,
    HeadLimits,
    HeadParser,
    hopeless_head,
    oversized_head,
    write_fields,
)

JUDGED = {b"content-length", b"transfer-encoding", b"expect", b"host"}
PARSER = HeadParser(HeadLimits(), frozenset((b"x-control",)))
SEALED = HeadParser(HeadLimits(), sealed=True)


def get(*lines: bytes, start: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: a\r\n") -> bytes:
    return start + b"\r\n" + host + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def answer(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return get(*lines, start=start, host=b"")


def taken(head: bytes, parser: HeadParser = PARSER) -> RequestHead:
    """What the deciding part of a head says."""
    return parser.request(head)[0]


def fields_of(head: bytes, parser: HeadParser = PARSER) -> bytes:
    """The fields of a request that go on."""
    judged, rest = parser.request(head)
    assert rest.endswith(b"\r\n")
    return judged.fields + rest[:-2]


def request_cause(head: bytes, parser: HeadParser = PARSER) -> str:
    with pytest.raises(ProxyError) as caught:
        parser.request(head)
    return caught.value.cause.label


def response_cause(head: bytes, parser: HeadParser = PARSER) -> str:
    with pytest.raises(ProxyError) as caught:
        parser.response(head)
    return caught.value.cause.label


# --- requests that are taken ------------------------------------------------------------------------------


def test_a_request_is_taken_apart() -> None:
    head, rest = PARSER.request(
        b"POST /a/b?c=%20d HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 11\r\nX-One:  1 \r\nx-control: yes\r\n"
        b"X-one: 2\r\nExpect: 100-Continue\r\nContent-Type: a/b\r\nX-Control: no\r\n\r\n"
    )
    assert (head.method, head.target, head.host, head.minor) == (b"POST", b"/a/b?c=%20d", b"a.b:80", 1)
    assert (head.length, head.chunked, head.keep_alive, head.absolute) == (11, False, True, False)
    assert head.fields == b"Content-Type: a/b\r\n"
    assert rest == b"X-One: 1\r\nX-one: 2\r\n\r\n"
    assert head.control == {b"x-control": b"yes, no"}
    assert head.expects_continue


@pytest.mark.parametrize(
    "name", sorted(HOP_BY_HOP - {b"content-length", b"transfer-encoding", b"expect", b"host"})
)
def test_hop_by_hop_fields_end_here(name: bytes) -> None:
    assert fields_of(get(b"A: 1", b"%b: c" % name, b"B: 2")) == b"A: 1\r\nB: 2\r\n"


def test_fields_that_connection_names_end_here() -> None:
    fields = (b"X-A: 1", b"Connection: x-a, keep-alive", b"X-B: 2", b"connection: X-C", b"X-c: 3")
    for _ in range(2):
        assert fields_of(get(*fields)) == b"X-B: 2\r\n"


@pytest.mark.parametrize(
    ("start", "line", "kept"),
    [
        (b"GET / HTTP/1.1", b"A: 1", True),
        (b"GET / HTTP/1.1", b"Connection: close", False),
        (b"GET / HTTP/1.1", b"Connection: X, CLOSE", False),
        (b"GET / HTTP/1.0", b"A: 1", False),
        (b"GET / HTTP/1.0", b"Connection: Keep-Alive", True),
    ],
)
def test_how_long_a_connection_lasts(start: bytes, line: bytes, kept: bool) -> None:
    assert taken(get(line, start=start)).keep_alive is kept


def test_http_1_0_needs_no_host() -> None:
    assert taken(b"GET / HTTP/1.0\r\n\r\n").host == b""


@pytest.mark.parametrize(
    ("target", "host", "path"),
    [
        (b"http://a", b"a", b"/"),
        (b"HTTP://a:80/x?y", b"a:80", b"/x?y"),
        (b"http://a?q", b"a", b"/?q"),
        (b"http://[::1]:8/x", b"[::1]:8", b"/x"),
    ],
)
def test_absolute_targets(target: bytes, host: bytes, path: bytes) -> None:
    head = taken(get(start=b"GET %b HTTP/1.1" % target, host=b"Host: %b\r\n" % host))
    assert (head.target, head.host, head.absolute) == (path, host, True)


def test_options_may_ask_about_the_server() -> None:
    assert taken(get(start=b"OPTIONS * HTTP/1.1")).target == b"*"


# --- requests that are refused ----------------------------------------------------------------------------

LENGTH = b"Content-Length: 5"
CHUNKED = b"Transfer-Encoding: chunked"


@pytest.mark.parametrize(
    "head",
    [
        # the request line
        get(start=b"GET  / HTTP/1.1"),
        get(start=b"GET / HTTP/1.1 "),
        get(start=b" GET / HTTP/1.1"),
        get(start=b"GET\t/ HTTP/1.1"),
        get(start=b"G(T / HTTP/1.1"),
        get(start=b"GET / http/1.1"),
        get(start=b"GET / HTTP/1.10"),
        get(start=b"GET /"),
        get(start=b""),
        get(start=b"GET /\xc3\xa9 HTTP/1.1"),
        get(start=b"GET /a\x00b HTTP/1.1"),
        get(start=b"GET /#part HTTP/1.1"),
        get(start=b"GET * HTTP/1.1"),
        get(start=b"GET a HTTP/1.1"),
        get(start=b"GET https://a/ HTTP/1.1"),
        get(start=b"GET http://user@a/ HTTP/1.1"),
        get(start=b"GET http://b/ HTTP/1.1"),
        b"GET / HTTP/1.1\nHost: a\n\r\n\r\n",
        # fields
        get(b"A : 1"),
        get(b" A: 1"),
        get(b"A: 1", b" folded"),
        get(b"A: 1", b"\tfolded"),
        get(b"A 1"),
        get(b": 1"),
        get(b"A\x00: 1"),
        get(b"A: 1\x00"),
        get(b"A: \x7f"),
        get(b"A: 1\rB: 2"),
        get(b"A: 1\nB: 2"),
        get(b"\xc3\xa9: 1"),
        get(b"Content-Type: a", b"Content-Type: b"),
        # Host
        get(host=b""),
        get(host=b"Host: a\r\nHost: a\r\n"),
        get(host=b"Host: a b\r\n"),
        get(host=b"Host: a/b\r\n"),
        get(host=b"Host: a:b\r\n"),
        get(host=b"Host: user@a\r\n"),
        get(host=b"Host:\r\n"),
        # framing
        get(LENGTH, LENGTH),
        get(LENGTH, b"content-length: 6"),
        get(LENGTH, CHUNKED),
        get(CHUNKED, LENGTH),
        get(CHUNKED, CHUNKED),
        get(b"Content-Length: +5"),
        get(b"Content-Length: -5"),
        get(b"Content-Length: 05"),
        get(b"Content-Length: 5, 5"),
        get(b"Content-Length: 0x5"),
        get(b"Content-Length: 5 5"),
        get(b"Content-Length:"),
        get(b"Content-Length: 99999999999999999999"),
        get(b"Content-Length:  5"),
        get(b"Content-Length: 5 "),
        get(b"Transfer-Encoding: chunked "),
        get(b"Transfer-Encoding:\tchunked"),
        get(b"Transfer-Encoding: chunked, chunked"),
        get(b"Transfer-Encoding: chunked, identity"),
        get(b"Transfer-Encoding: ,chunked"),
        get(b"Transfer-Encoding:"),
        get(b"Transfer-Encoding: gzip"),
        get(b"Transfer-Encoding: gzip, chunked"),
        get(CHUNKED, start=b"GET / HTTP/1.0"),
    ],
    ids=repr,
)
def test_a_malformed_request(head: bytes) -> None:
    assert request_cause(head) == "malformed_request"


@pytest.mark.parametrize(
    ("head", "cause"),
    [
        (get(start=b"GET / HTTP/2.0"), "version_unsupported"),
        (get(start=b"GET / HTTP/1.2"), "version_unsupported"),
        (get(start=b"GET / HTTP/0.9"), "version_unsupported"),
        (get(start=b"CONNECT a:443 HTTP/1.1", host=b"Host: a:443\r\n"), "method_unsupported"),
        (get(start=b"TRACE / HTTP/1.1"), "method_unsupported"),
        (get(b"Expect: a-miracle"), "expectation_unknown"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_request_that_is_not_served(head: bytes, cause: str) -> None:
    assert request_cause(head) == cause


def test_limits_on_heads() -> None:
    parser = HeadParser(HeadLimits(header_bytes=1024, header_count=4, target_bytes=64))
    assert request_cause(get(*[b"A: 1"] * 4), parser) == "too_many_headers"
    assert fields_of(get(*[b"A: 1"] * 3), parser) == b"A: 1\r\n" * 3
    assert request_cause(get(start=b"GET /%b HTTP/1.1" % (b"a" * 64)), parser) == "target_too_long"
    assert taken(get(start=b"GET /%b HTTP/1.1" % (b"a" * 63)), parser).target == b"/" + b"a" * 63
    assert response_cause(answer(*[b"A: 1"] * 5), parser) == "response_too_large"


def test_which_limit_an_oversized_head_broke() -> None:
    limits = HeadLimits(header_bytes=1024, header_count=4, target_bytes=64)

    def cause(buffered: bytes) -> str:
        return oversized_head(buffered, limits).cause.label

    assert cause(b"GET /" + b"a" * 1020) == "target_too_long"
    assert cause(b"G" * 1024) == "malformed_request"
    assert cause(get(b"A: " + b"a" * 1024)) == "headers_too_large"
    assert cause(get(*[b"A: 1"] * 9)) == "too_many_headers"


WHOLE = get(start=b"POST /a HTTP/1.1")


@pytest.mark.parametrize("at", range(len(WHOLE) - 4))
def test_no_beginning_of_a_good_head_is_hopeless(at: int) -> None:
    assert hopeless_head(WHOLE[:at], HeadLimits()) is None


@pytest.mark.parametrize(
    "beginning",
    [
        b"\x16\x03\x01\x02",
        b"GET\x00",
        b"GET /\r\n",
        b"GET / HTTQ",
        b"\n",
        b"GET / HTTP/1.1\n",
        b" GET",
        b"a b c d",
    ],
)
def test_a_hopeless_beginning_is_known_at_once(beginning: bytes) -> None:
    error = hopeless_head(beginning, HeadLimits())
    assert error is not None
    assert error.cause.label == "malformed_request"


def test_another_version_is_known_by_its_first_line() -> None:
    error = hopeless_head(b"PRI * HTTP/2.0\r\n", HeadLimits())
    assert error is not None
    assert error.cause.label == "version_unsupported"


# --- responses --------------------------------------------------------------------------------------------


def test_a_response_is_taken_apart() -> None:
    own = (b"Content-Length: 3", b"Connection: x-b", b"X-B: 2", b"Keep-Alive: 5")
    others = (b"X-A:  1 ", b"Date: today", b"Set-Cookie: a", b"Set-Cookie: b")
    head = PARSER.response(answer(*own, *others, start=b"HTTP/1.1 404 Not Found"))
    assert (head.status, head.length, head.chunked) == (404, 3, False)
    assert (
        head.start == b"HTTP/1.1 404 Not Found\r\nX-A: 1\r\nDate: today\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n"
    )
    assert head.keep_alive
    assert head.has_date


@pytest.mark.parametrize("parser", [PARSER, SEALED])
def test_trailers_are_announced_where_some_can_follow(parser: HeadParser) -> None:
    trailer = b"Trailer: X-Sum"
    framing = [] if parser is SEALED else [CHUNKED]
    assert fields_of(get(trailer, *framing), parser) == b"trailer: X-Sum\r\n"
    assert parser.response(answer(trailer, *framing)).start.endswith(b"trailer: X-Sum\r\n")
    assert fields_of(get(trailer, LENGTH), parser) == b""
    assert b"trailer" not in parser.response(answer(trailer, LENGTH)).start


def test_no_field_of_an_interim_answer_frames_anything() -> None:
    head = PARSER.response(answer(b"Content-Length: 0", b"Link: a", start=b"HTTP/1.1 103 Early Hints"))
    assert (head.content_bytes, head.start) == (-1, b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n")


def test_a_response_without_a_reason() -> None:
    for start in (b"HTTP/1.1 200 ", b"HTTP/1.1 200"):
        assert PARSER.response(answer(start=start)).start == b"HTTP/1.1 200 \r\n"


@pytest.mark.parametrize(
    "head",
    [
        answer(start=b"HTTP/2 200 OK"),
        answer(start=b"HTTP/1.1 20 OK"),
        answer(start=b"HTTP/1.1 2000 OK"),
        answer(start=b"HTTP/1.1 000 OK"),
        answer(start=b"HTTP/1.1  200 OK"),
        answer(start=b"HTTP/1.1 200 O\x00K"),
        answer(start=b"HTTP/1.1 200 O\nK"),
        answer(start=b"http/1.1 200 OK"),
        answer(start=b"ICY 200 OK"),
        answer(start=b"SSH-2.0-OpenSSH"),
        answer(start=b""),
        b"HTTP/1.1 200 OK\nA: 1\r\n\r\n",
        answer(b"A: 1", b" folded"),
        answer(b"A : 1"),
        answer(b"A"),
        answer(b"A: \x00"),
        answer(b"A: 1\nB: 2"),
        answer(b"A: 1\rB: 2"),
        answer(LENGTH, LENGTH),
        answer(LENGTH, b"Content-Length: 6"),
        answer(LENGTH, CHUNKED),
        answer(b"Content-Length: -1"),
        answer(b"Content-Length: 5, 5"),
        answer(b"Content-Length: 5 "),
        answer(b"Transfer-Encoding: gzip, chunked"),
        answer(b"Transfer-Encoding: gzip"),
        answer(b"Transfer-Encoding: chunked, chunked"),
        answer(CHUNKED, CHUNKED),
        answer(CHUNKED, start=b"HTTP/1.0 200 OK"),
    ],
    ids=repr,
)
def test_a_malformed_response(head: bytes) -> None:
    assert response_cause(head) == "response_malformed"


# --- properties -------------------------------------------------------------------------------------------

TOKENS = st.text("abcXYZ0-_!~", min_size=1, max_size=12).map(str.encode)
VALUES = st.lists(st.integers(0x21, 0xFF).filter(lambda code: code != 0x7F), max_size=12).map(bytes)
NAMES = TOKENS.map(lambda name: b"x" + name)
TARGETS = st.text("abcz/?&=%2F.;@", max_size=20).map(lambda text: b"/" + text.encode())


@given(
    TOKENS.filter(lambda method: method[:1].isalpha()),
    TARGETS,
    st.lists(st.tuples(NAMES, VALUES), max_size=8),
    st.one_of(st.none(), st.integers(0, 10**17)),
)
@settings(max_examples=150, deadline=None)
def test_a_valid_request_survives_being_written_and_read(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]], length: int | None
) -> None:
    sized = b"" if length is None else b"content-length: %d\r\n" % length
    start = b"GET %b HTTP/1.1" % target
    whole = get(start=start, host=b"host: a\r\n" + sized + write_fields(fields))
    assert (taken(whole).target, taken(whole).length) == (target, length)
    assert fields_of(whole) == write_fields(fields)
    again = get(start=start, host=b"host: a\r\n" + sized + fields_of(whole))
    assert (fields_of(again), taken(again).length) == (fields_of(whole), length)


@given(st.integers(200, 999), VALUES, st.lists(st.tuples(NAMES, VALUES), max_size=8))
@settings(max_examples=100, deadline=None)
def test_a_valid_response_survives_being_written_and_read(
    status: int, reason: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    start = b"HTTP/1.1 %d %b\r\n%b" % (status, reason, write_fields(fields))
    head = PARSER.response(start + b"\r\n")
    assert (head.status, head.start) == (status, start)


SYNTAX = [b" ", b"\r\n", b"\n", b"\r", b"\x00", b":", b"\t", b"\xff", b"a"]
LINES = [b"GET", b"/", b"*", b"http://", b"HTTP/1.1", b"200", b"Host: a", b"Connection: close", b"Upgrade: x"]
PIECES = st.sampled_from([*SYNTAX, *LINES, b"Content-Length: 1", b"Transfer-Encoding: chunked"])
GARBAGE = st.one_of(st.binary(max_size=80), st.lists(PIECES, max_size=20).map(b"".join))


@given(GARBAGE)
@example(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n")
@settings(max_examples=400, deadline=None)
def test_any_bytes_are_a_head_or_a_proxy_error(garbage: bytes) -> None:
    for head in (garbage, garbage + b"\r\n\r\n", get(garbage), answer(garbage), get(start=garbage)):
        for parse in (taken, PARSER.response):
            with contextlib.suppress(ProxyError):
                assert isinstance(parse(head), RequestHead | ResponseHead)
        assert isinstance(hopeless_head(head, PARSER.limits), ProxyError | None)


# --- heads that come again --------------------------------------------------------------------------------


def test_a_head_is_judged_once_however_often_it_comes() -> None:
    parser = HeadParser(HeadLimits())
    assert taken(get(b"A: 1"), parser) is taken(get(b"B: 2"), parser)
    assert parser.responses[answer(b"A: 1")] is parser.responses[answer(b"A: 1")]


def test_what_is_remembered_is_bounded() -> None:
    parser = HeadParser(HeadLimits())
    for number in range(3000):
        parser.request(get(b"Content-Type: %d" % number))
        parser.responses[answer(b"A: %d" % number)]
    large = get(b"Content-Type: " + b"a" * 8000)
    assert taken(large, parser) is not taken(large, parser)
    assert len(parser.requests) + len(parser.responses) <= 1024


def test_a_refusal_is_never_remembered() -> None:
    parser = HeadParser(HeadLimits())
    for _ in range(2):
        assert request_cause(get(b"A : 1"), parser) == "malformed_request"
