"""A center that is watched, plays false or dies, and what its watcher makes of it. Time jumps."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from fastproxy.admin.center.access import Access
from fastproxy.admin.center.api import CenterApi, Reply
from fastproxy.admin.center.registry import Bounds, Registry
from fastproxy.admin.center.store import Store
from fastproxy.admin.center.waiters import Wait, Waiters
from fastproxy.discovery.center import CenterSource
from fastproxy.discovery.center_registration import Registration
from fastproxy.errors import CONNECT_REFUSED, ProxyError
from tests.discovery.jumping_loop import play

Answer = Callable[[str], Awaitable[tuple[int, bytes]]]


def now_s() -> float:
    return asyncio.get_running_loop().time()


def content(version: int, *numbers: int) -> bytes:
    endpoints = [{"address": f"192.0.2.{number}:80"} for number in numbers]
    return msgspec.json.encode({"name": "song", "version": version, "endpoints": endpoints})


def says(version: int, *numbers: int) -> Answer:
    """An honest answer: at once, or, when the asker knows the version, after the time that it would wait."""

    async def answer(path: str) -> tuple[int, bytes]:
        watch = re.search(r"after=(-?\d+)&wait_s=(\d+)", path)
        if watch and int(watch[1]) == version:
            await asyncio.sleep(int(watch[2]))
        return 200, content(version, *numbers)

    return answer


def gives(status: int, body: bytes) -> Answer:
    async def answer(path: str) -> tuple[int, bytes]:
        return status, body

    return answer


def fails(error: Exception) -> Answer:
    async def answer(path: str) -> tuple[int, bytes]:
        raise error

    return answer


async def hangs(path: str) -> tuple[int, bytes]:
    await asyncio.get_running_loop().create_future()
    raise AssertionError


class Played:
    """A center that answers what the play says now."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[float, str]] = []

    async def fetch(self, path: str) -> tuple[int, bytes]:
        self.asked.append((now_s(), path))
        return await self.answer(path)


def source_of(center: Played, confirm_s: float = 60.0) -> CenterSource:
    return CenterSource(center.fetch, "services", "song", random=lambda: 1.0, confirm_s=confirm_s)


def numbers(source: CenterSource) -> list[int]:
    return [int(endpoint.host.rpartition(".")[2]) for endpoint in source.endpoints]


FAILURES = {
    "refuses connections": fails(ConnectionRefusedError("refused")),
    "is out of reach": fails(ProxyError(CONNECT_REFUSED)),
    "hangs": hangs,
    "fails": gives(500, content(99, 9)),
    "knows nothing of it": gives(404, content(99)),
    "sends elsewhere": gives(302, b""),
    "answers garbage": gives(200, b"<html>"),
    "answers with too much": gives(200, b" " * 10**6 + content(99, 9)),
    "answers of another name": gives(200, content(99, 9).replace(b"song", b"chat")),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_center_that_gives_no_answer_changes_nothing(failure: Answer) -> None:
    async def steps() -> None:
        center = Played(says(7, 1, 2))
        source = source_of(center)
        await source.start()
        confirmed_s = now_s()
        center.answer = failure
        await asyncio.sleep(3600.0)
        assert numbers(source) == [1, 2]
        age_s = source.age_s(now_s())
        assert age_s is not None
        assert age_s >= 3600.0 - 31.0, "the age tells it"
        assert now_s() - confirmed_s == 3600.0
        center.answer = says(8, 3)
        await asyncio.sleep(36.0)
        assert numbers(source) == [3]
        await source.close()

    play(steps())


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES.keys())
def test_a_center_that_is_not_there_yet_does_not_hold_up_the_start(failure: Answer) -> None:
    async def steps() -> None:
        center = Played(failure)
        source = source_of(center)
        began_s = now_s()
        await source.start()
        assert now_s() - began_s <= 1.0
        assert source.endpoints == ()
        assert source.age_s(now_s()) is None
        center.answer = says(1, 4)
        await asyncio.sleep(6.0)  # one that hangs was given 5 s for its answer
        assert numbers(source) == [4]
        await source.close()

    play(steps())


def test_watching_asks_for_what_comes_after_and_rarely() -> None:
    async def steps() -> None:
        center = Played(says(7, 1))
        source = source_of(center)
        await source.start()
        await asyncio.sleep(305.0)
        assert [path for _, path in center.asked[:2]] == [
            "/v1/services/song",
            "/v1/services/song?after=7&wait_s=30",
        ]
        assert len(center.asked) == 11
        assert (source.age_s(now_s()) or 0.0) <= 30.5
        await source.close()

    play(steps())


def test_a_center_that_always_answers_at_once_costs_little() -> None:
    async def steps() -> None:
        center = Played(gives(200, content(7, 1)))
        source = source_of(center)
        await source.start()
        await asyncio.sleep(60.0)
        assert len(center.asked) <= 121
        await source.close()

    play(steps())


def test_pauses_grow_while_the_center_is_down_and_are_spread() -> None:
    async def steps(random: float) -> list[float]:
        center = Played(fails(OSError("down")))
        source = CenterSource(center.fetch, "services", "song", random=lambda: random)
        await source.start()
        await asyncio.sleep(200.0)
        await source.close()
        times_s = [time_s for time_s, _ in center.asked]
        return [later - earlier for earlier, later in pairwise(times_s)]

    longest, shortest = play(steps(1.0)), play(steps(0.0))
    assert longest[:7] == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert shortest[:7] == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0]


LIES = {"an empty list": says(8), "an older version": says(3, 9), "two truths": gives(200, content(7, 9))}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_what_is_doubtful_holds_only_when_it_is_insisted_on(lie: Answer) -> None:
    async def steps() -> None:
        center = Played(says(7, 1, 2))
        source = source_of(center)
        await source.start()
        center.answer = lie
        await asyncio.sleep(59.0)
        assert numbers(source) == [1, 2]
        assert (source.age_s(now_s()) or 0.0) >= 29.0
        await asyncio.sleep(35.0)
        assert numbers(source) != [1, 2]
        await source.close()

    play(steps())


def test_a_watch_in_doubt_waits_no_longer_than_the_doubt() -> None:
    async def steps() -> None:
        center = Played(gives(200, content(7, 1)))
        source = source_of(center, confirm_s=5.0)
        await source.start()
        center.answer = says(8)
        await asyncio.sleep(5.0)
        assert numbers(source) == [1]
        await asyncio.sleep(3.0)
        assert numbers(source) == []
        await source.close()

    play(steps())


def test_a_lie_that_is_taken_back_is_forgotten() -> None:
    async def steps() -> None:
        center = Played(says(7, 1))
        source = source_of(center)
        await source.start()
        for version in range(8, 40, 2):
            center.answer = says(version)
            await asyncio.sleep(50.0)
            center.answer = says(version + 1, 1)
            await asyncio.sleep(31.0)
            assert numbers(source) == [1]
        await source.close()

    play(steps())


def test_an_outage_in_between_begins_the_doubt_anew() -> None:
    async def steps() -> None:
        center = Played(says(7, 1))
        source = source_of(center)
        await source.start()
        for version in range(8, 20):
            center.answer = gives(200, content(version))
            await asyncio.sleep(50.0)
            center.answer = hangs
            await asyncio.sleep(60.0)
        assert numbers(source) == [1]
        await source.close()

    play(steps())


def test_states_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def steps() -> None:
        center = Played(says(7, 1))
        source = source_of(center)
        await source.start()
        center.answer = fails(OSError("down"))
        await asyncio.sleep(500.0)
        center.answer = says(8)
        await asyncio.sleep(200.0)
        await source.close()

    with caplog.at_level(logging.INFO, "fastproxy.discovery"):
        play(steps())
    assert [record.message for record in caplog.records] == [
        "the center has new endpoints",
        "the center can't be asked; the last known endpoints are kept",
        "the center answers again",
        "the center says something doubtful; the last known endpoints are kept for now",
        "the center has new endpoints",
    ]


# --- with a center's own code behind it ---------------------------------------------------------------------


class Center:
    """A center's life on a real file, served without sockets."""

    def __init__(self, path: Path) -> None:
        self.store = Store(str(path))
        self.registry = Registry(
            Bounds(), first_version=self.store.first_version, restored=self.store.restored, now_s=now_s()
        )
        waiters = Waiters()
        self.registry.subscribe(waiters.on_change)
        self.registry.subscribe(self._write)
        self._waiters = waiters
        self._api = CenterApi(self.registry, Access({}, is_open=True), waiters)
        self._ticking = asyncio.create_task(self._tick())

    async def fetch(self, path: str) -> tuple[int, bytes]:
        return await self.send("GET", path, b"")

    async def send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        answer = self._api.answer(method.encode(), path.encode(), b"", body, "127.0.0.1", now_s(), origin=b"")
        if isinstance(answer, Wait):
            answer = await self._wait(answer)
        return answer.status, answer.content

    async def die(self) -> None:
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        self.store.close()

    async def _wait(self, wait: Wait) -> Reply:
        changed = asyncio.Event()
        leave = self._waiters.add(wait, "127.0.0.1", changed.set)
        try:
            await asyncio.wait_for(changed.wait(), wait.wait_s)
        except TimeoutError:
            pass
        finally:
            leave()
        return self._api.answer_now(wait, now_s())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.registry.expire(now_s())

    def _write(self, key: object, version: int) -> None:
        self.store.write(
            {one: self.registry.registrations(one) for one in self.registry.registered_keys()},
            replaces_all=True,
        )


class Network:
    """Leads to the center that runs now, or nowhere."""

    center: Center | None = None

    async def fetch(self, path: str) -> tuple[int, bytes]:
        return await self.send("GET", path, b"")

    async def send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        if self.center is None:
            raise ConnectionRefusedError("no center")
        return await self.center.send(method, path, body)


def test_service_and_watcher_live_through_restart_loss_of_memory_and_outage(tmp_path: Path) -> None:
    async def steps() -> None:
        network = Network()
        network.center = Center(tmp_path / "one.db")
        source = CenterSource(network.fetch, "services", "song", random=lambda: 1.0)
        await source.start()
        first, second = (
            Registration(network.send, "services", "song", f"192.0.2.{number}:80", random=lambda: 0.5)
            for number in (1, 2)
        )
        await first.start()
        await second.start()
        await asyncio.sleep(1.0)
        assert numbers(source) == [1, 2], "a watcher learns of a service within a moment"

        async def restart(path: Path, down_s: float) -> None:
            assert network.center is not None
            await network.center.die()
            network.center = None
            await asyncio.sleep(down_s)
            network.center = Center(path)

        for path, down_s in (
            (tmp_path / "one.db", 120.0),
            (tmp_path / "empty.db", 1.0),
            (tmp_path / "one.db", 600.0),
        ):
            await restart(path, down_s)
            for _ in range(100):
                await asyncio.sleep(1.0)
                assert numbers(source) == [1, 2], "nobody is cut off"
            assert (source.age_s(now_s()) or 0.0) <= 31.0
        await first.close()
        await asyncio.sleep(1.0)
        assert numbers(source) == [2], "who says goodbye is gone at once"
        await second.close()
        await asyncio.sleep(70.0)
        assert numbers(source) == []
        await source.close()
        await network.center.die()

    play(steps())
