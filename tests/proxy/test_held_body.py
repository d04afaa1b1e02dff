"""Bodies are held whole within two bounds, and given up when anything goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from fastproxy.errors import BODY_TOO_LARGE, CONNECTION_LOST, OVERLOADED, RESPONSE_BODY_TOO_LARGE, ProxyError
from fastproxy.model import Headers
from fastproxy.proxy.held_body import HELD_BODIES, HeldBodies

LIMIT_BYTES = 100


class Coming:
    """A body that comes when the test says so.

    awaited: set while the reader has all of it that has come. closed: whether the reader has given it up.
    """

    def __init__(self, length: int | None = None) -> None:
        self.length = length
        self.started = False
        self.trailers: Headers = []
        self.closed = False
        self.awaited = asyncio.Event()
        self._pieces: asyncio.Queue[bytes | ProxyError] = asyncio.Queue()

    def send(self, *pieces: bytes | ProxyError) -> Coming:
        for piece in pieces:
            self._pieces.put_nowait(piece)
        return self

    async def read(self) -> bytes:
        self.started = True
        if self._pieces.empty():
            self.awaited.set()
        piece = await self._pieces.get()
        if isinstance(piece, ProxyError):
            raise piece
        return piece

    def close(self) -> None:
        self.closed = True


def bodies() -> HeldBodies:
    return HeldBodies(LIMIT_BYTES, LIMIT_BYTES)


async def refusal(reading: Coroutine[Any, Any, bytes]) -> ProxyError:
    with pytest.raises(ProxyError) as refused:
        await reading
    return refused.value


def test_pieces_come_together_up_to_the_limit() -> None:
    async def play() -> None:
        held = bodies()
        assert await held.hold_request(b"x" * LIMIT_BYTES) == b"x" * LIMIT_BYTES
        assert await held.hold_request(Coming().send(b"x" * 60, b"y" * 40, b"")) == b"x" * 60 + b"y" * 40
        assert held.held_bytes == 0

    asyncio.run(play())


@pytest.mark.parametrize("content", [b"x" * 101, Coming(101), Coming(100).send(b"x" * 60, b"y" * 41)])
def test_what_is_larger_is_refused_as_soon_as_that_is_known(content: bytes | Coming) -> None:
    async def play() -> None:
        held = bodies()
        error = await refusal(held.hold_request(content))
        assert (error.cause, error.detail) == (BODY_TOO_LARGE, "more than 100 bytes")
        assert held.held_bytes == 0

    asyncio.run(play())
    assert isinstance(content, bytes) or content.closed


def test_answers_and_messages_have_their_own_bounds() -> None:
    async def play() -> None:
        held = HeldBodies(10, LIMIT_BYTES)
        assert (await refusal(held.hold_request(b"x" * 11))).cause is BODY_TOO_LARGE
        assert await held.hold_response(b"x" * LIMIT_BYTES)
        assert (await refusal(held.hold_response(b"x" * 101))).cause is RESPONSE_BODY_TOO_LARGE
        assert await held.hold_sealed_request(b"x" * 900)  # a message is larger than the body in it
        assert (await refusal(held.hold_sealed_request(b"x" * 1100))).cause is BODY_TOO_LARGE
        assert (await refusal(held.hold_sealed_response(b"x" * 1200))).cause is RESPONSE_BODY_TOO_LARGE

    asyncio.run(play())


@pytest.mark.parametrize("at_a_time", [1, HELD_BODIES])
def test_all_together_are_bounded_and_one_that_ends_makes_room(at_a_time: int) -> None:
    async def play() -> None:
        held = HeldBodies(LIMIT_BYTES, LIMIT_BYTES, at_a_time)
        coming = [Coming().send(b"x" * LIMIT_BYTES) for _ in range(at_a_time)]
        reading = [asyncio.ensure_future(held.hold_request(body)) for body in coming]
        await asyncio.gather(*(body.awaited.wait() for body in coming))
        one_more = Coming().send(b"x", b"")
        assert (await refusal(held.hold_request(one_more))).cause is OVERLOADED
        assert one_more.closed
        coming[0].send(b"")
        await reading[0]
        assert await held.hold_request(Coming().send(b"x", b"")) == b"x"
        for body in coming[1:]:
            body.send(b"")
        await asyncio.gather(*reading)
        assert held.held_bytes == 0

    asyncio.run(play())


def test_a_body_that_breaks_off_or_is_no_longer_wanted_is_given_up() -> None:
    async def play() -> None:
        held = bodies()
        broken = Coming().send(b"x" * 50, ProxyError(CONNECTION_LOST))
        assert (await refusal(held.hold_response(broken))).cause is CONNECTION_LOST
        waiting = Coming().send(b"x" * 50)
        reading = asyncio.ensure_future(held.hold_response(waiting))
        await waiting.awaited.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert broken.closed
        assert waiting.closed
        assert held.held_bytes == 0

    asyncio.run(play())
