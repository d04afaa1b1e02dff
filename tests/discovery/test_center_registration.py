"""A lease that is kept alive, whatever the center does, and given back at the end. Time jumps."""

from __future__ import annotations

import asyncio
import logging
from itertools import pairwise

import pytest

from fastproxy.discovery.center_registration import Registration
from tests.discovery.jumping_loop import play

PATH = "/v1/receivers/room-in/endpoints/%5B2001%3Adb8%3A%3A1%5D%3A8033"


class Played:
    """A center that gives one status, hangs (0) or is down (-1)."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.sent: list[tuple[float, str, str, bytes]] = []

    async def send(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        self.sent.append((asyncio.get_running_loop().time(), method, path, body))
        if self.status == 0:
            await asyncio.get_running_loop().create_future()
        if self.status < 0:
            raise ConnectionRefusedError("down")
        return self.status, b""

    def methods(self) -> list[str]:
        return [method for _, method, _, _ in self.sent]

    def gaps_s(self) -> list[float]:
        times_s = [time_s for time_s, *_ in self.sent]
        return [round(later - earlier, 6) for earlier, later in pairwise(times_s)]


def registration(center: Played, random: float = 1.0) -> Registration:
    return Registration(
        center.send, "receivers", "room-in", "[2001:db8::1]:8033", random=lambda: random, ttl_s=15.0
    )


def test_registered_renewed_and_given_back() -> None:
    async def steps() -> None:
        center = Played()
        kept = registration(center)
        await kept.start()
        assert center.sent[0][1:] == ("PUT", PATH, b'{"ttl_s":15.0}')
        await asyncio.sleep(12.0)
        assert center.methods() == ["PUT", "PUT", "PUT"]
        assert kept.registered_s == asyncio.get_running_loop().time() - 2.0
        center.status = 204
        await kept.close()
        assert center.methods()[-1] == "DELETE"
        assert center.sent[-1][2] == PATH

    play(steps())


@pytest.mark.parametrize(("random", "gap_s"), [(0.0, 4.0), (0.5, 4.5), (1.0, 5.0)])
def test_heartbeats_are_spread_and_always_in_time(random: float, gap_s: float) -> None:
    async def steps() -> None:
        center = Played()
        kept = registration(center, random)
        await kept.start()
        await asyncio.sleep(100.0)
        assert set(center.gaps_s()) == {gap_s}
        await kept.close()

    play(steps())


@pytest.mark.parametrize("status", [-1, 401, 403, 507, 500, 302])
def test_a_center_that_refuses_is_asked_again_and_again(status: int) -> None:
    async def steps() -> None:
        center = Played(status)
        kept = registration(center)
        await kept.start()
        await asyncio.sleep(60.0)
        assert kept.registered_s is None
        assert center.gaps_s()[:5] == [0.5, 1.0, 2.0, 4.0, 5.0]
        center.status = 200
        await asyncio.sleep(5.0)
        assert kept.registered_s is not None
        await kept.close()

    play(steps())


def test_a_center_that_hangs_holds_up_neither_start_nor_end() -> None:
    async def steps() -> None:
        center = Played(0)
        kept = registration(center)
        began_s = asyncio.get_running_loop().time()
        await kept.start()
        assert asyncio.get_running_loop().time() - began_s == 1.0
        await kept.close()
        assert asyncio.get_running_loop().time() - began_s <= 10.0

    play(steps())


def test_the_goodbye_comes_after_a_heartbeat_that_is_under_way() -> None:
    async def steps() -> None:
        center = Played()
        kept = registration(center)
        await kept.start()
        center.status = 0
        await asyncio.sleep(6.0)
        closing = asyncio.ensure_future(kept.close())
        await asyncio.sleep(1.0)
        assert center.methods() == ["PUT", "PUT"]
        center.status = 204
        await closing
        assert center.methods() == ["PUT", "PUT", "DELETE"]

    play(steps())


def test_states_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def steps() -> None:
        center = Played()
        kept = registration(center)
        await kept.start()
        center.status = 403
        await asyncio.sleep(100.0)
        center.status = 200
        await asyncio.sleep(100.0)
        center.status = -1
        await kept.close()

    with caplog.at_level(logging.INFO, "fastproxy.discovery"):
        play(steps())
    assert [record.message for record in caplog.records] == [
        "registered with the center",
        "registering with the center fails; it is tried again and again",
        "registered with the center",
        "the center can't be told that this endpoint goes; its lease will end",
    ]
