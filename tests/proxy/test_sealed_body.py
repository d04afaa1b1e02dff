"""A sealed message that is complete ends the message, and frees what carried it."""

from __future__ import annotations

import asyncio

import pytest

from fastproxy.errors import BODY_TOO_LARGE, CONNECTION_LOST, MESSAGE_BROKEN, ProxyError
from fastproxy.model import Headers
from fastproxy.proxy.sealed_body import OpenedBody
from fastproxy.wire.ciphers import AES_256_GCM
from fastproxy.wire.records import PLAIN, REQUEST_FAULTS, MessageOpener, MessageSealer

AEAD = AES_256_GCM.keyed(bytes(32))
SEALER = MessageSealer(AEAD, 7, b"header", PLAIN)
FIRST = SEALER.record(b"head", b"one ", last=False)[len(b"header") :]
LAST = SEALER.record(b"", b"two", last=True)


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
        body = OpenedBody([], opener, outer, None, None, MESSAGE_BROKEN, BODY_TOO_LARGE)
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
