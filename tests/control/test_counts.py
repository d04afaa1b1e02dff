"""Shared counts against a plain counter, with workers that come and go (several at once: `test_ledger`)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from functools import partial

from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.bounds import Part
from fastproxy.control.counts import SharedCounts
from tests.locks import HeldLocks


def made(capacity: int) -> Callable[[int], SharedCounts]:
    """What makes workers' sides of the same counts."""
    memory = memoryview(bytearray(SharedCounts.size_bytes(capacity)))
    return partial(SharedCounts, Part(memory, b"s" * 32, HeldLocks(), 9), capacity)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from(["add", "remove", "end"]), st.sampled_from("abc"), st.integers(0, 2)))
)
def test_it_counts_as_one_counter_would(steps: list[tuple[str, str, int]]) -> None:
    make = made(10)
    several = [make(worker) for worker in range(3)]
    plain: Counter[tuple[str, int]] = Counter()
    for step, key, worker in steps:
        if step == "add":
            plain[key, worker] += 1
            assert several[worker].add(key) == sum(plain[key, each] for each in range(3))
        elif step == "remove" and plain[key, worker]:
            several[worker].remove(key)
            plain[key, worker] -= 1
        elif step == "end":
            several[worker - 1].forget(worker)
            several[worker] = make(worker)
            for each in "abc":
                plain[each, worker] = 0


def test_places_of_who_has_none_any_more_go_to_others() -> None:
    one = made(10)(0)
    for number in range(1000):
        assert one.add(f"key{number}") == 1
        one.remove(f"key{number}")


def test_who_finds_no_place_is_over_any_limit_and_leaves_nothing() -> None:
    one = made(10)(0)
    totals = [one.add(f"key{number}") for number in range(100)]
    assert totals == [1] * 64 + [sys.maxsize] * 36
    for number in range(100):
        one.remove(f"key{number}")
    assert [one.add(f"other{number}") for number in range(64)] == [1] * 64
