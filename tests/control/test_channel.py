"""Both sides of a channel: over a pair of sockets, and fed by hand where it matters how messages come in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.control.channel import Channel, ChannelError

Told = tuple[str, bytes]


class Side:
    """One side, and what it has heard. answers: what it says to questions, by topic; ChannelError without."""

    def __init__(self) -> None:
        self.heard: list[Told] = []
        self.answers: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}
        self.lost = asyncio.Event()
        loop = asyncio.get_running_loop()
        self.channel = Channel(lambda *told: self.heard.append(told), self._answer, self.lost.set, loop)

    async def _answer(self, topic: str, content: bytes) -> bytes:
        if topic not in self.answers:
            raise ChannelError(f"nobody knows {topic}")
        return await self.answers[topic](content)


class Written(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.data = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.data += data


async def connected() -> tuple[Side, Side]:
    """Two sides of one channel."""
    sides = Side(), Side()
    loop = asyncio.get_running_loop()
    for side, sock in zip(sides, socket.socketpair(), strict=True):
        sock.setblocking(False)
        await loop.create_unix_connection(lambda side=side: side.channel, sock=sock)  # type: ignore[misc]
    return sides


def play(scene: Callable[[Side, Side], Awaitable[None]]) -> None:
    """Play a scene with both sides, and close them."""

    async def run() -> None:
        one, other = await connected()
        try:
            async with asyncio.timeout(30):
                await scene(one, other)
        finally:
            for side in (one, other):
                side.channel.close()
            await one.lost.wait()
            await other.lost.wait()

    asyncio.run(run())


async def echo(content: bytes) -> bytes:
    return content


def test_what_is_told_is_heard_in_order_and_before_what_is_asked_later() -> None:
    async def scene(one: Side, other: Side) -> None:
        other.answers["echo"] = echo
        told = [("a", b"1"), ("b", bytes(300_000)), ("a", b""), ("c", b"\xff")]
        for topic, content in told:
            one.channel.tell(topic, content)
        assert await one.channel.ask("echo", b"now") == b"now"
        assert other.heard == told
        assert one.heard == []

    play(scene)


def test_both_sides_ask_and_answers_find_their_questions_whatever_their_order() -> None:
    async def scene(one: Side, other: Side) -> None:
        may_end = {number: asyncio.Event() for number in range(5)}

        async def answer_in_time(content: bytes) -> bytes:
            await may_end[int(content)].wait()
            return b"%b!" % content

        for side in (one, other):
            side.answers["slow"] = answer_in_time
        asked = [
            asyncio.create_task(side.channel.ask("slow", b"%d" % number))
            for number in may_end
            for side in (one, other)
        ]
        for number in reversed(may_end):
            may_end[number].set()
            await asyncio.wait(asked[2 * number : 2 * number + 2])
        assert [await task for task in asked] == [b"%d!" % (index // 2) for index in range(10)]

    play(scene)


def test_who_can_not_answer_says_why() -> None:
    async def scene(one: Side, other: Side) -> None:
        with pytest.raises(ChannelError, match="nobody knows that"):
            await one.channel.ask("that")
        other.answers["that"] = echo
        assert await one.channel.ask("that", b"again") == b"again"

    play(scene)


def test_an_answer_that_nobody_waits_for_any_more_is_dropped() -> None:
    async def scene(one: Side, other: Side) -> None:
        begun, may_end = asyncio.Event(), asyncio.Event()

        async def slow(content: bytes) -> bytes:
            begun.set()
            await may_end.wait()
            return content

        other.answers |= {"slow": slow, "echo": echo}
        asked = asyncio.create_task(one.channel.ask("slow"))
        await begun.wait()
        asked.cancel()
        await asyncio.wait([asked])
        may_end.set()
        assert await one.channel.ask("echo", b"on") == b"on"

    play(scene)


def test_questions_fail_when_the_other_side_is_gone() -> None:
    async def scene(one: Side, other: Side) -> None:
        begun, was_cancelled = asyncio.Event(), asyncio.Event()

        async def never(content: bytes) -> bytes:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                was_cancelled.set()
            return content

        other.answers["never"] = never
        asked = asyncio.create_task(one.channel.ask("never"))
        await begun.wait()
        other.channel.close()
        with pytest.raises(ChannelError, match="gone"):
            await asked
        await one.lost.wait()
        assert not one.channel.is_open
        await was_cancelled.wait()
        with pytest.raises(ChannelError, match="gone"):
            await one.channel.ask("never")
        one.channel.tell("nobody hears this")

    play(scene)


def test_what_was_told_before_the_end_is_heard() -> None:
    async def scene(one: Side, other: Side) -> None:
        last = ("last", bytes(1_000_000))
        one.channel.tell(*last)
        one.channel.close()
        await other.lost.wait()
        assert other.heard == [last]

    play(scene)


@given(
    told=st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=70)), max_size=6),
    cuts=st.lists(st.integers(0, 600), max_size=12),
)
def test_messages_may_come_in_any_pieces(told: list[Told], cuts: list[int]) -> None:
    async def feed() -> list[Told]:
        sender, receiver = Side(), Side()
        written = Written()
        sender.channel.connection_made(written)
        for topic, content in told:
            sender.channel.tell(topic, content)
        data = bytes(written.data)
        places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
        for start, end in pairwise(places):
            receiver.channel.data_received(data[start:end])
        return receiver.heard

    assert asyncio.run(feed()) == told
