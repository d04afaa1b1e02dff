"""Heads that leave HTTP: what is asked for, what is ignored, what must not be, and how it is written anew."""

from __future__ import annotations

import pytest

from fastproxy.errors import ProxyError
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.upgrade import check_switch, upgrade_lines
from tests.net.test_http1 import answer, fields_of, get, request_cause, response_cause, taken

PARSER = HeadParser(HeadLimits())
SEALED = HeadParser(HeadLimits(), sealed=True)
BOTH = pytest.mark.parametrize("parser", [PARSER, SEALED], ids=["plain", "sealed"])
ASKS = b"Connection: Upgrade"
SWITCHES = b"HTTP/1.1 101 Switching Protocols"


# --- requests ---------------------------------------------------------------------------------------------


@BOTH
def test_what_a_request_asks_for(parser: HeadParser) -> None:
    whole = get(b"A: 1", b"Connection: keep-alive, Upgrade", b"Upgrade: WebSocket, Chat/2")
    head = taken(whole, parser)
    assert head.upgrade == b"websocket, chat/2"
    assert fields_of(whole, parser) == b"A: 1\r\n"
    assert (head.content_bytes, head.has_body, head.is_plain) == (-1, False, False)


@BOTH
@pytest.mark.parametrize(
    "lines",
    [
        (b"Upgrade: h2c", b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAMAAABk"),
        (ASKS, b"Upgrade: HTTP/2.0, TLS/1.0, h2"),
        (ASKS, b"Upgrade: web socket, /1, chat/1/2,"),
        (ASKS,),
        (b"Upgrade: websocket",),  # Connection doesn't name it: nobody asked for it
        (b"Upgrade: websocket", b"Connection: keep-alive"),
    ],
    ids=repr,
)
def test_what_is_ignored(parser: HeadParser, lines: tuple[bytes, ...]) -> None:
    head = taken(get(*lines, b"A: 1"), parser)
    assert (head.upgrade, fields_of(get(*lines, b"A: 1"), parser)) == (b"", b"A: 1\r\n")
    assert (head.content_bytes, head.is_plain) == (0, True)


def test_of_several_protocols_only_those_that_are_not_http_count() -> None:
    assert taken(get(ASKS, b"Upgrade: h2c", b"Upgrade: chat")).upgrade == b"chat"


def test_http_1_0_has_no_upgrade() -> None:
    assert taken(get(ASKS, b"Upgrade: chat", start=b"GET / HTTP/1.0")).upgrade == b""


@pytest.mark.parametrize("framing", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_a_request_that_asks_has_no_body_of_its_own(framing: bytes) -> None:
    assert request_cause(get(ASKS, b"Upgrade: chat", framing)) == "malformed_request"
    assert taken(get(ASKS, b"Upgrade: h2c", framing)).has_body


def test_without_a_body_there_is_no_length_and_no_100_to_wait_for() -> None:
    head = taken(get(ASKS, b"Upgrade: chat", b"Content-Length: 0", b"Expect: 100-continue"))
    assert (head.length, head.content_bytes, head.expects_continue) == (None, -1, False)


# --- answers ----------------------------------------------------------------------------------------------


@BOTH
def test_an_answer_that_switches(parser: HeadParser) -> None:
    head = parser.response(answer(b"Upgrade: WebSocket", ASKS, b"A: 1", start=SWITCHES))
    assert (head.switches, head.upgrade, head.content_bytes) == (True, b"websocket", -1)
    assert head.start == SWITCHES + b"\r\nA: 1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"


def test_no_other_answer_switches() -> None:
    head = PARSER.response(answer(b"Upgrade: chat", ASKS, b"Content-Length: 0"))
    assert (head.switches, head.start) == (False, b"HTTP/1.1 200 OK\r\n")


@BOTH
@pytest.mark.parametrize(
    "head",
    [
        answer(start=SWITCHES),
        answer(ASKS, start=SWITCHES),
        answer(b"Upgrade: chat", start=SWITCHES),
        answer(b"Upgrade: h2c", ASKS, start=SWITCHES),
        answer(b"Upgrade: chat", ASKS, b"Content-Length: 0", start=SWITCHES),
        answer(b"Upgrade: chat", ASKS, b"Transfer-Encoding: chunked", start=SWITCHES),
        answer(b"Upgrade: chat", ASKS, start=b"HTTP/1.0 101 Switching Protocols"),
    ],
    ids=repr,
)
def test_a_101_that_says_too_little_or_too_much(parser: HeadParser, head: bytes) -> None:
    assert response_cause(head, parser) == "response_malformed"


@pytest.mark.parametrize(
    ("asked", "chosen", "passes"),
    [
        (b"chat, websocket", b"websocket", True),
        (b"chat, websocket", b"Chat, WebSocket", True),
        (b"chat/1", b"chat/2", False),
        (b"chat", b"chatter", False),
        (b"chat", b"chat, more", False),
        (b"", b"chat", False),
    ],
)
def test_only_what_was_asked_for_is_gone_over_to(asked: bytes, chosen: bytes, passes: bool) -> None:
    head = PARSER.response(answer(b"Upgrade: " + chosen, ASKS, start=SWITCHES))
    if passes:
        check_switch(asked, head)
        return
    with pytest.raises(ProxyError) as caught:
        check_switch(asked, head)
    assert caught.value.cause.label == "response_malformed"


# --- written anew -----------------------------------------------------------------------------------------


@BOTH
def test_what_is_written_reads_the_same(parser: HeadParser) -> None:
    head = taken(get(ASKS, b"Upgrade: WebSocket, chat/2"), parser)
    lines = upgrade_lines(head)
    again = taken(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n", parser)
    assert (again.upgrade, upgrade_lines(again)) == (head.upgrade, lines)
    switch = parser.response(answer(b"Upgrade: chat/2", ASKS, start=SWITCHES))
    assert parser.response(switch.start + b"\r\n").start == switch.start


def test_nothing_is_written_where_nobody_asks() -> None:
    assert upgrade_lines(taken(get())) == b""
    assert upgrade_lines(PARSER.response(answer())) == b""
