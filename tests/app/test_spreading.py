"""Workers that hand connections on: several in one process, each with a listener and an inbox."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import uvloop

from fastproxy.app.spreading import Spreading
from fastproxy.control.board import Board, make
from fastproxy.errors import ProxyError
from fastproxy.model import Request, Response, ResponseHead
from fastproxy.net.connection import Connection, complete
from fastproxy.net.http1 import HeadParser
from fastproxy.net.server import Server, ServerLimits
from fastproxy.net.timers import Wheel
from fastproxy.supervisor.inboxes import Inboxes

WAIT_S = 20.0
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Worker:
    """One of several: it says in its answers which one it is, and whom it talks to."""

    def __init__(self, board: Board, place: int, inboxes: Inboxes, count: int, number: int) -> None:
        loop = asyncio.get_running_loop()
        self.name = b"worker %d" % number
        limits = ServerLimits()
        self.wheel = Wheel(loop)
        self.server = Server(self, HeadParser(limits.head), limits, self.wheel, loop)
        self.spreading = Spreading(
            board, place, number, inboxes.giving, inboxes.share(place, count), loop, lambda: 0.0
        )
        self._slot = board.slot(number)
        self.beat()

    def beat(self) -> None:
        """Show that it lives, for long."""
        self._slot.beat_s = asyncio.get_running_loop().time() + 3600

    async def begin(self) -> tuple[str, int]:
        """Take connections; return where."""
        listener = socket.create_server(("127.0.0.1", 0))
        address: tuple[str, int] = listener.getsockname()
        await self.server.listen(listener)
        self.spreading.begin(self.server, None, is_inside_tls=False)
        return address

    async def handle(self, request: Request, connection: Connection) -> None:
        content = self.name + b" " + connection.peer.encode()
        await complete(connection.respond(Response(ResponseHead(200, b"HTTP/1.1 200 OK\r\n"), content)))

    def refuse(self, error: ProxyError, peer: str) -> Response:
        raise error


class Crew:
    """Workers, and the connections that a test opens to them."""

    def __init__(self, stack: AsyncExitStack, board: Board, inboxes: Inboxes, count: int) -> None:
        self._stack = stack
        self._board = board
        self._inboxes = inboxes
        self._count = count
        self.workers: list[Worker] = []
        self.addresses: list[tuple[str, int]] = []
        for place in range(count):
            self.join(place)

    def join(self, place: int) -> Worker:
        """Have one more worker, at a place that may be somebody else's."""
        worker = Worker(self._board, place, self._inboxes, self._count, len(self.workers))
        self.workers.append(worker)
        return worker

    @property
    def numbers(self) -> list[int]:
        """Connections that each worker has."""
        return [worker.server.size for worker in self.workers]

    async def ask(self, at: int, source: str = "127.0.0.1") -> bytes:
        """Open a connection to a worker, which stays; return what is answered on it."""
        reader, writer = await asyncio.open_connection(*self.addresses[at], local_addr=(source, 0))
        self._stack.callback(writer.close)
        writer.write(GET)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])
        return await reader.readexactly(length)


@asynccontextmanager
async def crew_of(count: int) -> AsyncIterator[Crew]:
    fd = make()
    board, inboxes = Board(fd), Inboxes()
    inboxes.open(count)
    async with AsyncExitStack() as stack:
        crew = Crew(stack, board, inboxes, count)
        crew.addresses = [await worker.begin() for worker in crew.workers]
        yield crew
        for worker in crew.workers:
            worker.spreading.rest()
            await worker.spreading.end(is_last=True)
            worker.server.shut()
            worker.server.drain()
            await worker.server.emptied(WAIT_S)
            worker.wheel.close()
    for sock in (*inboxes.giving, *inboxes.share(0, 1)):
        sock.close()
    os.close(fd)


def play(scene: Callable[[Crew], Coroutine[Any, Any, None]], count: int = 3) -> None:
    async def main() -> None:
        async with crew_of(count) as crew, asyncio.timeout(WAIT_S):
            await scene(crew)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def test_all_that_comes_to_one_is_spread_and_its_address_stays() -> None:
    async def scene(crew: Crew) -> None:
        for worker in crew.workers:
            worker.spreading.look()
        answers = [await crew.ask(0, f"127.0.0.{2 + number}") for number in range(9)]
        assert crew.numbers == [3, 3, 3]
        assert {answer.split()[2] for answer in answers} == {b"127.0.0.%d" % (2 + at) for at in range(9)}
        assert crew.workers[0].spreading.handed_on == 6
        assert [worker.server.accepted for worker in crew.workers] == [9, 0, 0]

    play(scene)


def test_a_worker_alone_hands_nothing_on() -> None:
    async def scene(crew: Crew) -> None:
        for _ in range(5):
            await crew.ask(0)
        assert crew.numbers == [5]

    play(scene, count=1)


def test_one_that_rests_neither_gives_nor_gets() -> None:
    async def scene(crew: Crew) -> None:
        crew.workers[2].spreading.rest()
        for worker in crew.workers:
            worker.spreading.look()
        for _ in range(4):
            await crew.ask(0)
        assert crew.numbers == [2, 2, 0]
        for _ in range(4):
            await crew.ask(2)
        assert crew.numbers == [2, 2, 4]

    play(scene)


def test_one_that_beats_no_more_gets_nothing() -> None:
    async def scene(crew: Crew) -> None:
        crew.workers[1]._slot.beat_s = 1.0
        for worker in crew.workers:
            worker.spreading.look()
        for _ in range(4):
            await crew.ask(0)
        assert crew.numbers == [2, 0, 2]

    play(scene)


def test_what_waits_in_an_inbox_is_taken_at_the_end() -> None:
    async def scene(crew: Crew) -> None:
        first, second = crew.workers
        for worker in crew.workers:
            worker.spreading.look()
        loop = asyncio.get_running_loop()
        for inbox in second.spreading._own:
            loop.remove_reader(inbox)  # as of a worker that has too much to do
        await crew.ask(0)
        handed_on = loop.create_task(crew.ask(0))
        while not first.spreading.handed_on:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        second.spreading.rest()
        await second.spreading.end(is_last=True)
        assert (await handed_on).startswith(second.name)

    play(scene, count=2)


def test_what_waits_in_the_inbox_of_a_worker_that_died_is_its_successors() -> None:
    async def scene(crew: Crew) -> None:
        first, second = crew.workers
        for worker in crew.workers:
            worker.spreading.look()
        loop = asyncio.get_running_loop()
        for inbox in second.spreading._own:
            loop.remove_reader(inbox)
        await crew.ask(0)
        handed_on = loop.create_task(crew.ask(0))
        while not first.spreading.handed_on:  # noqa: ASYNC110 - nothing tells
            await asyncio.sleep(0)
        successor = crew.join(1)
        await successor.begin()
        assert (await handed_on).startswith(successor.name)
        assert crew.numbers == [1, 0, 1]

    play(scene, count=2)


def test_who_finds_an_inbox_full_keeps_the_connection() -> None:
    async def scene(crew: Crew) -> None:
        first, second = crew.workers
        for worker in crew.workers:
            worker.spreading.look()
        for inbox in second.spreading._own:
            asyncio.get_running_loop().remove_reader(inbox)
        with contextlib.suppress(BlockingIOError):
            while True:
                first.spreading._inboxes[1].send(b"\x09")  # with no descriptor: it is taken and forgotten
        for _ in range(3):
            assert (await crew.ask(0)).startswith(first.name)
        assert (crew.numbers, first.spreading.handed_on) == ([3, 0], 0)

    play(scene, count=2)
