"""What workers count together, with several processes at it at a time, and with some that are killed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastproxy.control.ledger import Ledger, Sizes, make
from fastproxy.errors import RATE_LIMITED
from fastproxy.policy.ratelimit import Rate
from fastproxy.wire.envelope import EPOCH_BYTES
from tests.control.counting import Party, answer, tell

SIZES = Sizes(rates=1000, sessions=10)
PROCESSES = 4
NUMBERS = count(1)


@pytest.fixture(scope="module")
def party() -> Iterator[Party]:
    """Processes for tests that leave nothing to be minded by the next."""
    with Party(SIZES, PROCESSES) as party:
        yield party


@pytest.fixture
def mortals() -> Iterator[Party]:
    """Processes that a test may kill."""
    with Party(SIZES, PROCESSES) as party:
        yield party


@given(st.integers(1, 6000), st.integers(1, 2000))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_burst_is_exact_however_many_go_for_it(party: Party, burst: int, tries: int) -> None:
    key, rate = f"key {next(NUMBERS)}", (10.0, burst)
    passed = sum(party.all("rate", key, *rate, 50.0, tries))
    assert passed == min(burst, tries * PROCESSES)
    if passed == burst:  # half a second later there are as many as the rate allows
        assert sum(party.all("rate", key, *rate, 50.5, burst)) == min(burst, 5)


@given(st.integers(1, 400), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_counter_is_taken_once_however_many_have_it(
    party: Party, length: int, chance: random.Random
) -> None:
    first = next(NUMBERS) * 1000
    counters = list(range(first, first + length))
    chance.shuffle(counters)
    taken = [counter for each in party.all("mark", counters) for counter in each]
    assert sorted(taken) == sorted(counters)
    assert not any(party.all("mark", counters))


def test_counts_are_of_all(party: Party) -> None:
    answers = party.all("add", "somebody", 1000)
    assert sorted(number for each in answers for number in each) == list(range(1, 4001))
    party.all("remove", "somebody", 1000)
    assert sorted(party.all("add", "somebody", 1)) == [[1], [2], [3], [4]]
    party.all("remove", "somebody", 1)


def test_a_limit_is_used_up_and_never_exceeded(mortals: Party) -> None:
    assert sum(mortals.all("have", 60)) == 100


def test_one_process_can_have_all_of_a_limit(mortals: Party) -> None:
    tell(mortals.processes[0], "have", 200)
    assert answer(mortals.processes[0]) == 100


def test_what_a_killed_process_had_is_given_back(mortals: Party) -> None:
    assert sum(mortals.all("have", 30)) == 100
    mortals.all("add", "somebody", 5)
    gone, other = mortals.processes[:2]
    tell(other, "have", 100)
    before = answer(other)
    gone.kill()
    gone.wait()
    mortals.ledger.forget(0)
    tell(other, "have", 100)
    assert answer(other) > before
    tell(other, "add", "somebody", 1)
    assert answer(other) == [16]


def test_a_killed_process_holds_nobody_up(mortals: Party) -> None:
    holder, *others = mortals.processes
    tell(holder, "have_all")
    answer(holder)
    for other in others:
        tell(other, "rate", "anybody", 1.0, 3, 10.0, 3)
    holder.kill()
    assert sum(answer(other) for other in others) == 3


def test_who_is_alone_has_all_locks_until_there_are_others(mortals: Party) -> None:
    alone, other, *_ = mortals.processes
    tell(alone, "have_all")
    answer(alone)
    tell(alone, "rate", "anybody", 1.0, 5, 10.0, 2)
    assert answer(alone) == 2
    tell(other, "rate", "anybody", 1.0, 5, 10.0, 9)
    tell(alone, "rate", "anybody", 1.0, 5, 10.0, 1)
    assert answer(alone) == 1  # while the other one waits
    tell(alone, "share")
    answer(alone)
    assert answer(other) == 2


def test_whatever_a_killed_process_has_told_of_is_a_replay(mortals: Party) -> None:
    """Three processes mark counters all the time and are killed in the middle of it."""
    *markers, judge = mortals.processes
    told: list[int] = []
    for first, process in enumerate(markers):
        tell(process, "mark_for_good", first)
    for process in markers:
        told += [answer(process) for _ in range(200)]
    for process in markers:
        process.kill()
        assert process.stdout is not None
        told += [int(line) for line in process.stdout if line.endswith("\n")]
    assert len(told) == len(set(told))
    tell(judge, "mark", told)
    assert answer(judge) == []
    tell(judge, "mark", [max(told) + 10_000])
    assert answer(judge) == [max(told) + 10_000]


def test_a_ledger_is_empty_at_first_and_unlike_any_other() -> None:
    ledgers = [Ledger(make(SIZES)) for _ in range(2)]
    assert len({ledger.epoch for ledger in ledgers}) == 2
    for ledger in ledgers:
        assert ledger.sizes == SIZES
        assert len(ledger.epoch) == EPOCH_BYTES
        assert any(ledger.epoch)
        assert len(ledger.windows()) == len(ledger.rates("new_links", RATE_LIMITED)) == 0
        ledger.close()


def test_a_large_ledger_takes_no_memory_until_it_is_used() -> None:
    ledger = Ledger(make(Sizes(rates=1_000_000, sessions=1_000_000)))
    worker = ledger.rates("rates", RATE_LIMITED), ledger.counts("peers", 3), ledger.windows()
    worker[0].check("somebody", Rate(1, 1), 1.0)
    worker[1].add("somebody")
    worker[2].enter(b"session", b"o" * 8, 10, 2, (1, 0))
    ledger.forget(3)
    assert os.fstat(ledger.fd).st_blocks * 512 < 1 << 20
    ledger.close()
