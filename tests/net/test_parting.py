"""Heads in two parts: none is taken that would not be taken whole, whatever was judged before."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastproxy.errors import ProxyError
from fastproxy.model import RequestHead
from fastproxy.net.http1 import HeadLimits, HeadParser, Repeats
from fastproxy.net.parting import ORDINARY, Parting, rewritten

CONTROL = frozenset((b"fastproxy-caller", b"request_dead_time", b"via"))
LINE = b"POST /a HTTP/1.1\r\n"
DECIDING = LINE + b"Host: a\r\nContent-Length: 4\r\n\r\n"
TRACED = LINE + b"Host: a\r\nTraceparent: 00-%d\r\nContent-Length: 4\r\nAuthorization: Bearer %d\r\n\r\n"
PARTING = Parting(frozenset((b"host", b"content-length", b"request_dead_time", b"te", b"trailer")))


def new_parser() -> HeadParser:
    return HeadParser(HeadLimits(header_bytes=2048, header_count=8), CONTROL)


def warm_parser() -> HeadParser:
    """A parser that knows the deciding part of the heads here."""
    parser = new_parser()
    parser.request(TRACED % (0, 0))
    assert list(parser.requests) == [DECIDING]
    return parser


def outcome(parser: HeadParser, head: bytes) -> object:
    """What becomes of a head: what goes on, or why it is refused."""
    try:
        known, rest = parser.request(head)
    except ProxyError as error:
        return error.cause.label, error.detail
    return known.kind, known.fields, known.control, known.framing, known.length, known.host, rest


def test_the_parts_are_whole_lines_in_their_order() -> None:
    assert PARTING.part(TRACED % (1, 2)) == (
        DECIDING,
        b"Traceparent: 00-1\r\nAuthorization: Bearer 2\r\n\r\n",
    )
    assert PARTING.part(DECIDING) == (DECIDING, b"\r\n")
    assert PARTING.part(LINE + b"A: 1\r\n\r\n") == (LINE + b"\r\n", b"A: 1\r\n\r\n")


@pytest.mark.parametrize(
    "name", [b"host", b"HOST", b"Te", b"tRAILER", b"Content_Length", b"request-dead_TIME"]
)
def test_a_deciding_name_counts_however_it_is_spelled(name: bytes) -> None:
    line = b"%b: x\r\n" % name
    head = LINE + b"A: 1\r\n" + line + b"B: 2\r\n\r\n"
    assert PARTING.part(head) == (LINE + line + b"\r\n", b"A: 1\r\nB: 2\r\n\r\n")
    assert PARTING.has_deciding(head, len(LINE), len(head))


@pytest.mark.parametrize("name", [b"hosts", b"x-host", b"hos", b"tes", b"content-lengt", b"contentlength"])
def test_a_name_that_is_only_like_one_does_not(name: bytes) -> None:
    head = LINE + b"%b: x\r\n\r\n" % name
    assert PARTING.part(head) == (LINE + b"\r\n", b"%b: x\r\n\r\n" % name)
    assert not PARTING.has_deciding(head, len(LINE), len(head))


def test_a_rest_is_written_anew_without_what_ends_here() -> None:
    odd = b"A:1\r\nb: \t 2\t \r\nC:\r\nB: x:y\r\n\r\n"
    assert ORDINARY.fullmatch(odd) is None
    assert rewritten(odd) == b"A: 1\r\nb: 2\r\nC: \r\nB: x:y\r\n\r\n"
    assert rewritten(odd, {b"b"}) == b"A: 1\r\nC: \r\n\r\n"
    for line in (b"A:1", b"A:  1", b"A: 1 ", b"A: 1\t", b"A:\t1", b"A: "):
        assert ORDINARY.fullmatch(line + b"\r\n\r\n") is None


# --- what was judged before changes no verdict ------------------------------------------------------------

HIDDEN = [
    b"X: a\rb",
    b"X: a\nb",
    b"X: a\nHost: evil",
    b"X: a\rHost: evil",
    b"X: a\0b",
    b"X: a\x7fb",
    b" folded",
    b"\tfolded",
    b"X : a",
    b"X\t: a",
    b"X",
    b": a",
    b"",
    b"\rX: a",
    b"X: a\r",
    b"Content-Length: 4",
    b"content-length: 5",
    b"Content_Length: 5",
    b"CONTENT-LENGTH : 5",
    b"Host: evil",
    b"hOST: a",
    b"Transfer-Encoding: chunked",
    b"transfer-encoding:\tchunked",
    b"Transfer_Encoding: chunked",
    b"Connection: authorization, close",
    b"Connection: X-Own",
    b"Fastproxy-Caller: admin",
    b"FASTPROXY_CALLER: admin",
    b"request-dead-time: 9",
    b"Via: 1.1 x",
    b"Expect: 100-continue",
    b"Expect: 200-ok",
    b"Content-Type: a",
    b"Upgrade: websocket",
    b"X-Own:odd  ",
    b"X-Own: " + b"x" * 2048,
    b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4",
    b"A: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\nE: 5",
]


@pytest.mark.parametrize("hidden", HIDDEN, ids=repr)
def test_nothing_hides_between_fields_that_change(hidden: bytes) -> None:
    lines = (TRACED % (1, 2))[:-4].split(b"\r\n")
    for at in range(1, len(lines) + 1):
        head = b"\r\n".join([*lines[:at], hidden, *lines[at:]]) + b"\r\n\r\n"
        assert outcome(warm_parser(), head) == outcome(new_parser(), head), at


@pytest.mark.parametrize(
    "head",
    [
        LINE + b"Host: a\r\n\r\nContent-Length: 4\r\n",
        LINE + b"\r\nHost: a\r\nContent-Length: 4\r\n",
        LINE + b"Host: a\r\nContent-Length: 4\r\n",
        LINE + b"Host: a\r\nContent-Length: 4\r\n\r\n\r\n",
        DECIDING + DECIDING,
        b"\r\n" + DECIDING,
        DECIDING.replace(b"\r\nHost: a", b"", 1) + b"Host: a\r\n\r\n",
        LINE[:-2] + b"\rX: a\r\nHost: a\r\nContent-Length: 4\r\n\r\n",
        LINE + b"Host: a\rX: a\r\nContent-Length: 4\r\n\r\n",
        b"",
        b"\r\n\r\n",
    ],
    ids=repr,
)
def test_what_comes_sealed_has_one_empty_line_and_that_at_its_end(head: bytes) -> None:
    for parser in (new_parser(), warm_parser()):
        assert outcome(parser, head)[0] == "malformed_request"  # type: ignore[index]


PIECES = st.sampled_from(
    [
        b"\r\n",
        b"\r",
        b"\n",
        b":",
        b" ",
        b"\t",
        b"\0",
        b"Host: a",
        b"Content-Length: 4",
        b"X-Id: 1",
        b"x",
        b"te: x",
    ]
)
INSERTED = st.lists(PIECES, max_size=4).map(b"".join)


@given(st.lists(st.tuples(st.integers(0, 90), INSERTED), max_size=3), st.integers(0, 12))
@example([(24, b"\r\n")], 0)
@settings(max_examples=300, deadline=None)
def test_a_verdict_does_not_depend_on_what_was_judged_before(
    changes: list[tuple[int, bytes]], cut_bytes: int
) -> None:
    head = TRACED % (1, 2)
    for at, inserted in changes:
        head = head[:at] + inserted + head[at + cut_bytes :]
    assert outcome(warm_parser(), head) == outcome(new_parser(), head)


# --- lengths ----------------------------------------------------------------------------------------------


def of_length(line: bytes) -> bytes:
    return LINE + b"Host: a\r\n" + line + b"\r\nX: 1\r\n\r\n"


@pytest.mark.parametrize("line", [b"Content-Length: 7", b"CONTENT-LENGTH:7", b"content-length: 7"])
def test_what_is_decided_does_not_depend_on_the_length(line: bytes) -> None:
    parser = warm_parser()
    (known,) = parser.requests.values()
    head, rest = parser.request(of_length(line))
    assert (head.length, head.content_bytes, head.framing) == (7, 7, b"content-length: 7\r\n")
    assert (head.kind, rest) == (known.kind, b"X: 1\r\n\r\n")
    assert head.plans is known.plans
    assert head.flows is known.flows
    assert known.length == 4
    assert list(parser.requests) == [DECIDING]


@pytest.mark.parametrize(
    "length", [b"", b"+4", b"04", b"4,4", b"4 4", b"0x4", b"-1", b"4\t", b"9" * 19, b"1" * 18]
)
def test_a_length_is_judged_each_time(length: bytes) -> None:
    head = of_length(b"Content-Length: " + length)
    limited = [HeadParser(HeadLimits(body_bytes=50), CONTROL) for _ in range(2)]
    limited[1].request(DECIDING)
    assert outcome(limited[0], head) == outcome(limited[1], head)
    assert len(outcome(limited[1], head)) == 2, "it is refused"  # type: ignore[arg-type]


def test_all_that_a_head_says_but_its_length_holds_for_another() -> None:
    def said(head: RequestHead) -> dict[str, object]:
        lengths = {"length", "content_bytes", "framing", "spelled"}
        return {name: getattr(head, name) for name in RequestHead.__slots__ if name not in lengths}

    head = (
        b"PUT http://b:8/x HTTP/1.1\r\nHost: b:8\r\nContent-Length: %d\r\nExpect: 100-continue\r\n"
        b"Via: 1.1 x\r\nConnection: X-Own, close\r\nContent-Type: a/b\r\nX-Own: 1\r\n\r\n"
    )
    parser = new_parser()
    first, second = parser.request(head % 1)[0], parser.request(head % 2)[0]
    assert (first.length, second.length) == (1, 2)
    assert said(first) == said(second)


# --- what is remembered -----------------------------------------------------------------------------------


def test_heads_that_differ_in_what_decides_nothing_are_judged_once() -> None:
    parser = warm_parser()
    (known,) = parser.requests.values()
    for number in range(200):
        head, rest = parser.request(TRACED % (number, number + 1))
        assert head is known
        assert rest == b"Traceparent: 00-%d\r\nAuthorization: Bearer %d\r\n\r\n" % (number, number + 1)
    assert len(parser.requests) == 1


def test_no_field_that_decides_nothing_is_remembered() -> None:
    parser = new_parser()
    for number in range(3):
        parser.request(TRACED % (number, 4711))
    kept = repr([(key, head.fields, head.kind, head.spelled) for key, head in parser.requests.items()])
    assert not re.search("4711|Bearer|Traceparent", kept)


def test_what_comes_again_is_noticed_unless_it_is_a_secret() -> None:
    repeats = Repeats()
    said = [repeats.again(head) for head in (b"A: 1", b"A: 1", b"A: 2", b"A: 1", b"A: 1")]
    assert said == [False, True, False, False, True]
    secret = TRACED % (1, 2)
    assert not any(repeats.again(secret) for _ in range(4))
