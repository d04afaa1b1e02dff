"""A sealed message that is complete ends the message, and frees what carried it."""

from __future__ import annotations

import asyncio

import pytest

from fastproxy.errors import (
    BODY_TOO_LARGE,
    CONNECTION_LOST,
    HEADERS_TOO_LARGE,
    MESSAGE_BROKEN,
    Cause,
    ProxyError,
)
from fastproxy.model import Headers
from fastproxy.net.framing import trailer_parser
from fastproxy.net.http1 import HeadLimits
from fastproxy.proxy.sealed_body import OpenedBody
from fastproxy.wire.ciphers import AES_256_GCM
from fastproxy.wire.records import PLAIN, REQUEST_FAULTS, MessageOpener, MessageSealer

AEAD = AES_256_GCM.keyed(bytes(32))
SEALER = MessageSealer(AEAD, 7, b"header", PLAIN)
FIRST = SEALER.record(b"head", b"one ", last=False)[len(b"header") :]
LAST = SEALER.record(b"", b"two", last=True)
TRAILERS = trailer_parser(HeadLimits(header_bytes=64, header_count=4), MESSAGE_BROKEN, HEADERS_TOO_LARGE)


class Outer:
    """A sealed body that comes in given pieces, or breaks where a piece is an error."""

    def __init__(self, *pieces: bytes | ProxyError) -> None:
        self.length: int | None = None
        self.started = False
        self.trailers: Headers = []
        self.pieces = [*pieces]
        self.closed = False

    async def read(self) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, ProxyError):
            raise piece
        return piece

    def close(self) -> None:
        self.closed = True


def read_all(outer: Outer) -> bytes:
    async def play() -> bytes:
        opener = MessageOpener(AEAD, 7, b"header", REQUEST_FAULTS)
        body = OpenedBody([], opener, outer, None, None, MESSAGE_BROKEN, BODY_TOO_LARGE, TRAILERS)
        content = b""
        while piece := await body.read():
            content += piece
        assert await body.read() == b""
        return content

    return asyncio.run(play())


def test_the_end_of_what_carried_it_is_waited_for() -> None:
    outer = Outer(FIRST, LAST, b"")
    assert read_all(outer) == b"one two"
    assert outer.pieces == []
    assert not outer.closed


@pytest.mark.parametrize("rest", [b"junk", ProxyError(CONNECTION_LOST)])
def test_what_comes_instead_of_that_end_ends_the_connection_only(rest: bytes | ProxyError) -> None:
    outer = Outer(FIRST, LAST, rest, b"never read")
    assert read_all(outer) == b"one two"
    assert outer.pieces == [b"never read"]
    assert outer.closed == isinstance(rest, bytes)


def test_a_message_without_its_last_record_is_broken() -> None:
    with pytest.raises(ProxyError) as broken:
        read_all(Outer(FIRST))
    assert broken.value.cause is MESSAGE_BROKEN


@pytest.mark.parametrize(
    ("trailers", "cause"),
    [
        (b"a: b\r\n" * 4, None),
        (b"a: b\r\n" * 5, HEADERS_TOO_LARGE),
        (b"a: %b\r\n" % (b"b" * 59), None),
        (b"a: %b\r\n" % (b"b" * 60), HEADERS_TOO_LARGE),
        (b"a: b", MESSAGE_BROKEN),
        (b"host: b\r\n", MESSAGE_BROKEN),
    ],
)
def test_trailers_are_bounded_and_judged_as_a_head_is(trailers: bytes, cause: Cause | None) -> None:
    sealer = MessageSealer(AEAD, 7, b"header", PLAIN)
    first = sealer.record(b"head", b"one ", last=False)[len(b"header") :]
    last = sealer.record(trailers, b"two", last=True)
    if cause is None:
        assert read_all(Outer(first, last, b"")) == b"one two"
        return
    with pytest.raises(ProxyError) as refused:
        read_all(Outer(first, last, b""))
    assert refused.value.cause is cause
