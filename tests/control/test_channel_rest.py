"""A channel whose one side is handed from one program to another, in the middle of whatever is being said."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from fastproxy.control.channel import Channel, ChannelError, Message, Rest


class Side:
    """A side of a channel, and what it has heard."""

    def __init__(self, rest: Rest | None = None) -> None:
        loop = asyncio.get_running_loop()
        self.heard: list[tuple[str, bytes]] = []
        self.changed = asyncio.Event()
        self.lost = asyncio.Event()
        self.asked: asyncio.Future[str] = loop.create_future()
        self.may_answer: asyncio.Future[bytes] = loop.create_future()
        self.channel = Channel(self._hear, self._answer, self.lost.set, loop, rest)

    async def connect(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self.channel, sock=sock)

    async def until_heard(self, count: int) -> None:
        while len(self.heard) < count:
            self.changed.clear()
            await self.changed.wait()

    def _hear(self, topic: str, content: bytes) -> None:
        self.heard.append((topic, content))
        self.changed.set()

    async def _answer(self, topic: str, content: bytes) -> bytes:
        if not self.asked.done():
            self.asked.set_result(topic)
        return await self.may_answer + content


@asynccontextmanager
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    """A supervisor's side and a worker's."""
    ends = socket.socketpair()
    supervisor, worker = Side(), Side()
    await supervisor.connect(ends[0])
    await worker.connect(ends[1])
    yield supervisor, worker
    supervisor.channel.close()
    worker.channel.close()
    await asyncio.sleep(0)


async def handed_on(side: Side) -> Side:
    """The side of the program that goes on where another rests."""
    rest = await side.channel.rest()
    sock = socket.socket(fileno=socket.dup(rest.fd))
    heir = Side(msgspec.msgpack.decode(msgspec.msgpack.encode(rest), type=Rest))
    await heir.connect(sock)
    return heir


def run(play: Callable[[], object]) -> None:
    """Run a play, for no longer than a machine may need that does much else."""

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await play()  # type: ignore[misc]

    asyncio.run(bounded())


def framed(message: Message) -> bytes:
    encoded = msgspec.msgpack.encode(message)
    return len(encoded).to_bytes(4, "big") + encoded


def test_what_is_said_while_a_side_rests_is_heard_by_the_next_program() -> None:
    async def play() -> None:
        async with sides() as (supervisor, worker):
            await supervisor.channel.rest()
            worker.channel.tell("news", b"1")
            heir = await handed_on(supervisor)
            await heir.until_heard(1)
            assert heir.heard == [("news", b"1")]
            assert supervisor.heard == []
            heir.channel.tell("drain")
            await worker.until_heard(1)
            assert worker.heard == [("drain", b"")]
            heir.channel.close()

    run(play)


@pytest.mark.parametrize("cut", [1, 4, 5, 12])
def test_a_message_of_which_only_a_part_has_come_is_whole_in_the_end(cut: int) -> None:
    whole = framed(Message("tell", 0, "news", b"content"))

    async def play() -> None:
        ends = socket.socketpair()
        with ends[1] as worker:
            supervisor = Side()
            await supervisor.connect(ends[0])
            worker.sendall(framed(Message("tell", 0, "first", b"")) + whole[:cut])
            await supervisor.until_heard(1)
            heir = await handed_on(supervisor)
            worker.sendall(whole[cut:])
            await heir.until_heard(1)
            assert heir.heard == [("news", b"content")]
            heir.channel.close()
            supervisor.channel.close()
            await asyncio.sleep(0)

    run(play)


def test_an_answer_to_a_question_of_the_former_program_is_no_answer_to_one_of_the_next() -> None:
    async def play() -> None:
        async with sides() as (supervisor, worker):
            asking = asyncio.create_task(supervisor.channel.ask("old", b" of old"))
            assert await worker.asked == "old"
            heir = await handed_on(supervisor)
            asking_anew = asyncio.create_task(heir.channel.ask("new", b" of new"))
            worker.may_answer.set_result(b"answer")
            assert await asking_anew == b"answer of new"
            asking.cancel()
            heir.channel.close()

    run(play)


def test_a_side_rests_only_when_it_has_answered_what_it_was_asked() -> None:
    async def play() -> None:
        async with sides() as (supervisor, worker):
            asking = asyncio.create_task(worker.channel.ask("topic", b"!"))
            await supervisor.asked
            resting = asyncio.create_task(supervisor.channel.rest())
            done, _ = await asyncio.wait((resting,), timeout=0.01)
            assert not done
            supervisor.may_answer.set_result(b"yes")
            await resting
            assert await asking == b"yes!"

    run(play)


def test_a_side_rests_only_when_all_that_it_has_said_has_left() -> None:
    big = b"x" * 4_000_000  # more than a socket holds

    async def play() -> None:
        ends = socket.socketpair()
        with ends[1] as worker:
            supervisor = Side()
            await supervisor.connect(ends[0])
            supervisor.channel.tell("big", big)
            resting = asyncio.create_task(supervisor.channel.rest())
            done, _ = await asyncio.wait((resting,), timeout=0.01)
            assert not done
            left, wanted = asyncio.to_thread(_read, worker, len(framed(Message("tell", 0, "big", big)))), big
            assert (await left).endswith(wanted)
            await resting
            supervisor.channel.close()
            await asyncio.sleep(0)

    run(play)


def _read(sock: socket.socket, size: int) -> bytes:
    sock.setblocking(True)
    read = bytearray()
    while len(read) < size:
        read += sock.recv(size - len(read))
    return bytes(read)


def test_what_is_said_by_a_side_that_rests_leaves_when_it_goes_on_and_not_before() -> None:
    async def play() -> None:
        async with sides() as (supervisor, worker):
            await supervisor.channel.rest()
            supervisor.channel.tell("drain")
            asking = asyncio.create_task(supervisor.channel.ask("status"))
            worker.channel.tell("news")
            done, _ = await asyncio.wait((worker.asked, asking), timeout=0.01)
            assert (done, worker.heard, supervisor.heard) == (set(), [], [])
            supervisor.channel.go_on()
            worker.may_answer.set_result(b"fine")
            assert await asking == b"fine"
            await supervisor.until_heard(1)
            assert worker.heard == [("drain", b"")]

    run(play)


def test_a_side_whose_other_is_gone_does_not_rest() -> None:
    async def play() -> None:
        async with sides() as (supervisor, worker):
            worker.channel.close()
            await supervisor.lost.wait()
            with pytest.raises(ChannelError, match="gone"):
                await supervisor.channel.rest()

    run(play)
