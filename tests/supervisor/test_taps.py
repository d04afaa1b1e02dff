"""Taps: what workers see reaches the client, in bounds, however slowly it reads and whoever ends."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import msgspec
import pytest

from fastproxy.admin.access import Asker
from fastproxy.admin.answers import AdminError
from fastproxy.control.channel import ChannelError
from fastproxy.control.messages import TAP, TAP_END, TapAsk, TapShare, decode, encode
from fastproxy.supervisor.process import WorkerProcess
from fastproxy.supervisor.tally import Tally
from fastproxy.supervisor.taps import WAITING_BYTES, Tap, Taps
from fastproxy.telemetry.tapped import TapTerms, TapWanted
from tests.net.kit import driven

ASKER = Asker("127.0.0.1", "reading")
TIMEOUT_S = 30.0


class WorkerDouble:
    """What a tap knows of a worker: it says what it is told to say, when it is told to.

    asked: for how many bytes, each time after the first. ended: numbers of taps that it was told are over.
    """

    is_ready = True

    def __init__(self) -> None:
        self.asked: asyncio.Queue[int] = asyncio.Queue()
        self._has_begun = False
        self.ended: list[int] = []
        self._shares: asyncio.Queue[TapShare | None] = asyncio.Queue()

    def say(self, *lines: bytes, dropped: int = 0) -> None:
        """Answer the next question."""
        self._shares.put_nowait(TapShare(list(lines), dropped))

    def end(self) -> None:
        """Be gone at the next question."""
        self._shares.put_nowait(None)

    async def ask(self, kind: str, body: bytes) -> bytes:
        """As `WorkerProcess.ask`."""
        assert kind == TAP
        if not self._has_begun:
            self._has_begun = True
            return encode(TapShare([], 0))
        self.asked.put_nowait(decode(body, TapAsk).most_bytes)
        share = await self._shares.get()
        if share is None:
            raise ChannelError
        return encode(share)

    def tell(self, kind: str, body: bytes) -> None:
        """As `WorkerProcess.tell`."""
        assert kind == TAP_END
        self.ended.append(decode(body, int))


class Taped:
    """Taps of workers, and what counts them."""

    def __init__(self, *workers: WorkerDouble, most: int = 2) -> None:
        self.workers = list(workers)
        self.tally = Tally("in", list)
        self.taps = Taps(
            lambda: cast("list[WorkerProcess]", self.workers),
            lambda: most,
            self.tally,
            asyncio.get_running_loop(),
        )

    async def begin(self) -> Tap:
        return await self.taps.begin(TapTerms(TapWanted()), ASKER)


async def read(tap: Tap) -> bytes:
    """What a client gets next."""
    return cast("bytes", await driven(tap.read()))


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(main, TIMEOUT_S))


def test_lines_of_all_workers_reach_the_client_and_end_with_it() -> None:
    async def main() -> None:
        one, two = WorkerDouble(), WorkerDouble()
        taped = Taped(one, two)
        tap = await taped.begin()
        assert taped.tally.taps == 1
        one.say(b"a\n", b"b\n")
        assert await read(tap) == b"a\nb\n"
        two.say(b"c\n")
        assert await read(tap) == b"c\n"
        tap.close()
        tap.close()
        assert await read(tap) == b""
        assert len(one.ended) == len(two.ended) == 1
        assert (taped.tally.taps, taped.tally.tap_lines) == (0, {"shown": 3, "dropped": 0})

    run(main())


def test_a_client_that_does_not_read_has_workers_asked_for_nothing_until_it_does() -> None:
    async def main() -> None:
        worker = WorkerDouble()
        tap = await Taped(worker).begin()
        worker.say(b"x" * WAITING_BYTES)
        assert await worker.asked.get()
        assert not await worker.asked.get()
        worker.say(dropped=7)
        assert not await worker.asked.get()
        lines, _, told = (await read(tap)).rpartition(b"x")
        assert len(lines) == WAITING_BYTES - 1
        assert msgspec.json.decode(told) == {"dropped": 7}
        worker.say()
        assert await worker.asked.get()
        tap.close()

    run(main())


def test_workers_that_come_later_are_followed_and_those_that_end_are_not_missed() -> None:
    async def main() -> None:
        first, later = WorkerDouble(), WorkerDouble()
        taped = Taped(first)
        tap = await taped.begin()
        first.end()
        taped.workers[:] = [later]
        later.say(b"later\n")
        assert await read(tap) == b"later\n"
        tap.close()
        assert not first.ended

    run(main())


def test_there_are_no_more_than_may_be(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        taped = Taped(WorkerDouble())
        first, _ = await taped.begin(), await taped.begin()
        with pytest.raises(AdminError, match=r"2 taps already.*`admin\.taps`") as refused:
            await taped.begin()
        assert refused.value.status == 503
        first.close()
        (await taped.begin()).close()

    run(main())
    begun, ended = (
        [one for one in caplog.records if one.message == f"tap {how}"] for how in ("begins", "ends")
    )
    assert (len(begun), len(ended)) == (3, 2)
