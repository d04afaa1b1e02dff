"""What config workers have after a change that one of them can't follow; by workers that are played."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fastproxy.control import handover
from fastproxy.control.channel import Channel, ChannelError, Rest
from fastproxy.control.messages import CHANGE
from fastproxy.supervisor.crew import Crew, Shared, Terms
from fastproxy.supervisor.process import Inherited, WorkerError, adopted

Take = Callable[[bytes], Awaitable[None]]


class Player:
    """A worker that takes configs as `take` does. configs: what it was asked to go on with, once it does."""

    def __init__(self, take: Take) -> None:
        self.configs: list[bytes] = []
        self._take = take
        loop = asyncio.get_running_loop()
        self.lost = asyncio.Event()
        self.channel = Channel(lambda topic, content: None, self._answer, self.lost.set, loop)

    async def _answer(self, topic: str, content: bytes) -> bytes:
        assert topic == CHANGE
        await self._take(content)
        self.configs.append(content)
        return b""


def play(scene: Callable[[Crew, list[Player], Terms], Coroutine[Any, Any, None]], *takes: Take) -> None:
    """Run a scene with a crew of workers that take configs as these do, and the terms that they have."""

    async def run() -> None:
        loop = asyncio.get_running_loop()
        terms = Terms(handover.keep(b"first"), len(takes), 1.0, 1.0, cast(Any, None), cast(Any, None))
        nobody = SimpleNamespace(began=lambda worker: None)
        crew, players, workers = Crew(terms, cast(Shared, nobody), loop), [], []
        for number, take in enumerate(takes):
            end, other = socket.socketpair()
            player = Player(take)
            players.append(player)
            other.setblocking(False)
            await loop.create_unix_connection(lambda made=player.channel: made, sock=other)  # type: ignore[misc]
            told = Inherited(-1, number, False, Rest(end.detach(), 1, b""), None, None)
            workers.append(adopted(told, cast(Any, None), loop))
        crew.adopt(workers)
        await crew.connect()
        try:
            async with asyncio.timeout(30):
                await crew.change(terms_with(terms, b"first"))
                await scene(crew, players, terms)
        finally:
            for player in players:
                player.channel.close()
                await player.lost.wait()

    asyncio.run(run())


def terms_with(terms: Terms, content: bytes) -> Terms:
    """Return the same terms with another config."""
    return Terms(handover.keep(content), terms.size, 1.0, 1.0, terms.listeners, terms.ledger)


async def at_once(content: bytes) -> None:
    pass


def test_a_config_that_one_worker_refuses_is_kept_by_none_however_slow_they_are() -> None:
    goes_on = asyncio.Event()

    async def slowly(content: bytes) -> None:
        if content == b"refused":
            await goes_on.wait()

    async def refusing(content: bytes) -> None:
        if content == b"refused":
            raise ChannelError("no")

    async def scene(crew: Crew, players: list[Player], terms: Terms) -> None:
        wanted = terms_with(terms, b"refused")
        with pytest.raises(WorkerError, match="no"):
            await crew.change(wanted)
        os.close(wanted.snapshot_fd)
        goes_on.set()
        # What a worker hears is done in order, so that after the next change nothing is on its way.
        await crew.change(terms_with(terms, b"last"))
        for player in players:
            assert player.configs[-2:] == [b"first", b"last"]
            assert b"refused" not in player.configs[player.configs.index(b"first", 1) :]

    play(scene, slowly, refusing, at_once)


def test_a_change_that_is_given_up_leaves_the_crew_with_the_terms_that_it_had() -> None:
    asked = asyncio.Event()

    async def never(content: bytes) -> None:
        if content == b"slow":
            asked.set()
            await asyncio.get_running_loop().create_future()

    async def scene(crew: Crew, players: list[Player], terms: Terms) -> None:
        before = crew.terms
        changing = asyncio.create_task(crew.change(terms_with(terms, b"slow")))
        await asked.wait()
        changing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await changing
        assert crew.terms is before

    play(scene, never)


def test_another_config_is_taken_even_where_its_memory_has_the_number_of_an_earlier_one() -> None:
    async def scene(crew: Crew, players: list[Player], terms: Terms) -> None:
        number = crew.terms.snapshot_fd
        os.close(number)
        again = terms_with(terms, b"other")
        assert again.snapshot_fd == number, "the lowest free number is taken"
        await crew.change(again)
        assert players[0].configs == [b"first", b"other"]

    play(scene, at_once)


class Beginner:
    """A worker process that is played. begins: how its start goes."""

    number, pid, left, is_ready, started_s = 0, -1, 0, True, 0.0
    slot = SimpleNamespace(clear=lambda: None)

    def __init__(self, begins: Callable[[], None]) -> None:
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.has_begun = asyncio.Event()
        self._begins = begins

    async def begin(self) -> None:
        self._begins()
        self.has_begun.set()

    async def change(self, snapshot_fd: int) -> None:
        pass

    def kill(self, *, is_expected: bool = True) -> None:
        if not self.ended.done():
            self.ended.set_result(-9)


def no_descriptor() -> None:
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_worker_whose_successor_finds_no_descriptor_gets_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fastproxy.supervisor.crew._FIRST_PAUSE_S", 0.001)

    async def run() -> None:
        first, second, third = others = [
            Beginner(begins) for begins in (lambda: None, no_descriptor, lambda: None)
        ]
        coming = iter(others)
        monkeypatch.setattr("fastproxy.supervisor.crew.started", lambda *_: next(coming))
        shared = SimpleNamespace(
            began=lambda worker: None,
            ended=lambda worker, status: None,
            slots=SimpleNamespace(take=lambda: 0, give_back=lambda number: None),
            board_fd=-1,
            board=SimpleNamespace(slot=lambda number: Beginner.slot),
            inboxes=SimpleNamespace(share=lambda place, size: (), giving=()),
        )
        ledger = SimpleNamespace(fd=-1, forget=lambda number: None)
        listeners = SimpleNamespace(share=lambda place, size: ())
        terms = Terms(-1, 1, 1.0, 1.0, cast(Any, listeners), cast(Any, ledger))
        crew = Crew(terms, cast(Shared, shared), asyncio.get_running_loop())
        async with asyncio.timeout(30):
            await crew.start()
            first.kill()
            await third.has_begun.wait()
        assert second.ended.result() == -9, "it can't be talked with"
        crew.leave()

    asyncio.run(run())
