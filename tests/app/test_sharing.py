"""What a worker has of its own, and what of all workers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from fastproxy.app.sharing import Alone, Together
from fastproxy.bounds import OwnCounts, OwnRoom
from fastproxy.control.ledger import Ledger, Sizes, make
from fastproxy.control.rooms import SharedRoom
from fastproxy.errors import RATE_LIMITED
from fastproxy.policy.ratelimit import RateLimiter
from fastproxy.policy.shared_rates import SharedRateLimiter
from fastproxy.wire.receiver import ReceiverLimits

LIMITS = ReceiverLimits()


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger(make(Sizes(rates=100, sessions=10)))


def none() -> int:
    return 0


def test_a_table_that_knows_nothing_of_the_one_before_has_another_epoch() -> None:
    alone = Alone()
    (first, table), (second, other) = alone.sessions(LIMITS), alone.sessions(LIMITS)
    assert first != second
    assert table is not other


@pytest.mark.parametrize("workers", [1, 4])
def test_tables_of_one_ledger_have_one_epoch_and_the_same_sessions(ledger: Ledger, workers: int) -> None:
    (first, table), (second, other) = (
        Together(ledger, number, workers).sessions(LIMITS) for number in range(2)
    )
    assert first == second == ledger.epoch
    before = len(table)
    ledger.windows().enter(f"{workers}".encode(), b"o" * 8, 10, 2, (1, 0))
    assert len(table) == len(other) == before + 1


def test_a_worker_by_itself_counts_by_itself(ledger: Ledger) -> None:
    for one in (Alone(), Together(ledger, 0, 1)):
        assert type(one.rates("rates", 5, RATE_LIMITED)) is RateLimiter
        assert type(one.room("in_flight", 5, none)) is OwnRoom
        assert type(one.counts("peers")) is OwnCounts
        assert one.part(7) == 7
        asyncio.run(one.keep(lambda: pytest.fail("there is nothing to give back")))


def test_several_workers_count_together(ledger: Ledger) -> None:
    first, second = (Together(ledger, number, 2) for number in range(2))
    assert type(first.rates("rates", 5, RATE_LIMITED)) is SharedRateLimiter
    assert first.counts("peers").add("somebody") == 1
    assert second.counts("peers").add("somebody") == 2
    rooms = [each.room("in_flight", 5, none) for each in (first, second)]
    assert type(rooms[0]) is SharedRoom
    assert [rooms[0].raised(3), rooms[1].raised(3)] == [3, 2]


@pytest.mark.parametrize(("limit", "part"), [(0, 0), (1, 1), (3, 1), (4, 1), (9, 2), (512, 128)])
def test_a_part_is_equal_and_at_least_one_of_what_there_is(ledger: Ledger, limit: int, part: int) -> None:
    assert Together(ledger, 0, 4).part(limit) == part


def test_what_is_not_needed_is_given_back_soon(ledger: Ledger) -> None:
    worker = Together(ledger, 3, 2)
    room = worker.room("connections", 4, none)
    assert room.raised(4) == 4

    async def keep() -> None:
        trimmed = asyncio.Event()

        def trim() -> None:
            room.trimmed(1)
            trimmed.set()

        keeping = asyncio.create_task(worker.keep(trim))
        await trimmed.wait()
        keeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeping

    asyncio.run(keep())
    assert Together(ledger, 4, 2).room("connections", 4, none).raised(9) == 3
