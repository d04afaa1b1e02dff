"""A channel's questions that nobody waits for any more, and those that can't be answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

from fastproxy.control.channel import Channel, ChannelError, GoneError

TIMEOUT_S = 30.0


class Worker:
    """Answers "wait" never, "fail" with a mistake, else with what it got; says what it began and stopped."""

    def __init__(self) -> None:
        self.began: asyncio.Queue[bytes] = asyncio.Queue()
        self.stopped: asyncio.Queue[bytes] = asyncio.Queue()

    async def answer(self, topic: str, content: bytes) -> bytes:
        self.began.put_nowait(content)
        if topic == "fail":
            raise LookupError("a mistake")
        if topic == "wait":
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self.stopped.put_nowait(content)
        return content


async def _nothing(topic: str, content: bytes) -> bytes:
    raise AssertionError(topic)


def run(main: Callable[[Channel, Worker, Channel], Coroutine[Any, Any, None]]) -> None:
    """Run with the two sides of a channel, one of which has a worker that answers."""

    async def with_both() -> None:
        loop, worker = asyncio.get_running_loop(), Worker()
        sides = (
            Channel(lambda topic, content: None, answer, lambda: None, loop)
            for answer in (_nothing, worker.answer)
        )
        channels = []
        for channel, end in zip(sides, socket.socketpair(), strict=True):
            end.setblocking(False)
            await loop.create_unix_connection(lambda channel=channel: channel, sock=end)  # type: ignore[misc]
            channels.append(channel)
        async with asyncio.timeout(TIMEOUT_S):
            await main(channels[0], worker, channels[1])
        for channel in channels:
            channel.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(with_both())


async def given_up(waiting: Awaitable[bytes]) -> None:
    task = asyncio.ensure_future(waiting)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_question_that_is_dropped_is_worked_on_no_more_and_others_are() -> None:
    async def main(asking: Channel, worker: Worker, answering: Channel) -> None:
        waiting = [asyncio.create_task(asking.ask("wait", name)) for name in (b"one", b"two")]
        assert [await worker.began.get() for _ in waiting] == [b"one", b"two"]
        await given_up(waiting[0])
        assert await worker.stopped.get() == b"one"
        assert await asking.ask("say", b"three") == b"three"  # after the drop, on the same channel
        assert worker.stopped.empty()
        assert not waiting[1].done()
        await given_up(waiting[1])
        assert await worker.stopped.get() == b"two"

    run(main)


def test_a_question_whose_wait_runs_out_is_dropped() -> None:
    async def main(asking: Channel, worker: Worker, answering: Channel) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asking.ask("wait", b"one"), 0.01)
        assert await worker.stopped.get() == b"one"

    run(main)


def test_an_answer_that_crosses_a_drop_is_let_go() -> None:
    async def main(asking: Channel, worker: Worker, answering: Channel) -> None:
        waiting = asyncio.create_task(asking.ask("say", b"one"))
        await worker.began.get()  # the answer leaves in this very turn
        await given_up(waiting)
        assert await asking.ask("say", b"two") == b"two"

    run(main)


def test_a_mistake_in_an_answer_leaves_nobody_waiting(caplog: pytest.LogCaptureFixture) -> None:
    async def main(asking: Channel, worker: Worker, answering: Channel) -> None:
        with pytest.raises(ChannelError, match="its log says how") as caught:
            await asking.ask("fail")
        assert not isinstance(caught.value, GoneError)
        assert await asking.ask("say", b"one") == b"one"

    run(main)
    assert "a mistake" in caplog.text


def test_one_that_is_gone_is_told_apart_and_what_it_asked_for_is_stopped() -> None:
    async def main(asking: Channel, worker: Worker, answering: Channel) -> None:
        waiting = asyncio.create_task(asking.ask("wait", b"one"))
        await worker.began.get()
        answering.close()
        with pytest.raises(GoneError):
            await waiting
        assert await worker.stopped.get() == b"one"
        with pytest.raises(GoneError):
            await asking.ask("say")

    run(main)
