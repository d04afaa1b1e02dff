"""Rates hold exactly, memory is bounded, and what is idle is forgotten: in one process, and in memory that
several share (`tests.control.test_ledger` has what several do at a time)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.bounds import Part
from fastproxy.errors import PEER_RATE_LIMITED, RATE_LIMITED, Cause, ProxyError
from fastproxy.policy.ratelimit import Key, Limiter, Rate, RateLimiter, peer_key
from fastproxy.policy.shared_rates import SharedRateLimiter
from tests.locks import HeldLocks

Make = Callable[..., Limiter]


def shared(capacity: int, cause: Cause = RATE_LIMITED) -> SharedRateLimiter:
    """Make a limiter in shared memory, with nobody to share it."""
    memory = memoryview(bytearray(SharedRateLimiter.size_bytes(capacity)))
    return SharedRateLimiter(Part(memory, b"s" * 32, HeldLocks(), 100), capacity, cause)


@pytest.fixture(params=[RateLimiter, shared], ids=["one process", "several"])
def make(request: pytest.FixtureRequest) -> Make:
    """What makes limiters."""
    chosen: Make = request.param
    return chosen


def passes(limiter: Limiter, key: Key, rate: Rate, now_s: float) -> bool:
    try:
        limiter.check(key, rate, now_s)
    except ProxyError:
        return False
    return True


@pytest.mark.parametrize(("per_s", "burst"), [(1, 1), (100, 20), (3, 7), (0.1, 3), (1e5, 1000)])
@pytest.mark.parametrize("start_s", [0.0, 5_000_000.7])
def test_a_burst_then_one_per_interval(make: Make, per_s: float, burst: int, start_s: float) -> None:
    limiter, rate = make(10), Rate(per_s, burst)
    assert sum(passes(limiter, "a", rate, start_s) for _ in range(burst + 5)) == burst
    assert not passes(limiter, "a", rate, start_s + 0.8 / per_s)
    assert passes(limiter, "a", rate, start_s + 1.0 / per_s)
    assert not passes(limiter, "a", rate, start_s + 1.5 / per_s)
    later_s = start_s + (burst + 2) / per_s
    assert sum(passes(limiter, "a", rate, later_s) for _ in range(burst + 5)) == burst


def test_retry_after_is_when_the_next_one_passes(make: Make) -> None:
    limiter, rate = make(10), Rate(4, 2)
    limiter.check("a", rate, 10.0)
    limiter.check("a", rate, 10.0)
    with pytest.raises(ProxyError) as refusal:
        limiter.check("a", rate, 10.1)
    assert refusal.value.cause is RATE_LIMITED
    assert refusal.value.retry_after_s == pytest.approx(0.15, abs=1e-5)
    assert passes(limiter, "a", rate, 10.1 + (refusal.value.retry_after_s or 0.0))


def test_keys_do_not_share_a_rate(make: Make) -> None:
    limiter, rate = make(10), Rate(1, 1)
    assert [passes(limiter, key, rate, 1.0) for key in "aabb"] == [True, False, True, False]


@settings(max_examples=100)
@given(
    st.sampled_from([RateLimiter, shared]),
    st.sampled_from([Rate(10, 1), Rate(10, 5), Rate(0.5, 2)]),
    st.lists(st.floats(0, 0.5), min_size=1, max_size=60),
)
def test_no_window_holds_more_than_burst_and_rate_allow(make: Make, rate: Rate, gaps_s: list[float]) -> None:
    limiter = make(10)
    now_s, passed_s = 100.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        if passes(limiter, "a", rate, now_s):
            passed_s.append(now_s)
    for first, begin_s in enumerate(passed_s):
        for last, end_s in enumerate(passed_s[first:], first):
            assert last - first + 1 <= rate.burst + (end_s - begin_s) * rate.per_s + 1e-3


@settings(max_examples=100)
@given(
    st.sampled_from([RateLimiter, shared]),
    st.lists(st.tuples(st.sampled_from("abc"), st.floats(0, 3)), min_size=1, max_size=60),
)
def test_forgetting_changes_no_answer(make: Make, requests: list[tuple[str, float]]) -> None:
    """One limiter whose generations turn all the time against one per key that a huge rate keeps from it."""
    rates = {"a": Rate(1, 2), "b": Rate(5, 5), "c": Rate(0.25, 1)}
    turning = make(10)
    lasting = {key: RateLimiter(10) for key in rates}
    for limiter in lasting.values():
        limiter.check("slow", Rate(1e-6, 1), 0.0)
    now_s = 1.0
    for key, gap_s in requests:
        now_s += gap_s
        assert passes(turning, key, rates[key], now_s) == passes(lasting[key], key, rates[key], now_s)


def test_idle_keys_are_forgotten(make: Make) -> None:
    limiter, rate = make(2000), Rate(10, 10)
    for n in range(1000):
        limiter.check(f"key{n}", rate, 0.0)
    assert len(limiter) == 1000
    limiter.check("a", rate, 1.1)
    limiter.check("a", rate, 2.2)
    assert len(limiter) == 1


def test_a_hundred_thousand_keys_stay_within_the_capacity() -> None:
    limiter, rate = RateLimiter(100), Rate(10, 2)
    passed = sum(passes(limiter, f"key{n}", rate, 0.0) for n in range(100_000))
    assert len(limiter) <= 101  # and the place that the crowd shares
    assert passed == 100 + rate.burst
    assert passes(limiter, "key0", rate, 0.0)  # who was there before isn't pushed out


def test_a_hundred_thousand_keys_stay_within_shared_memory() -> None:
    limiter, rate = shared(100), Rate(10, 2)
    passed = sum(passes(limiter, f"key{n}", rate, 0.0) for n in range(100_000))
    assert 100 <= len(limiter) <= 256
    assert passed == len(limiter) + rate.burst
    assert passes(limiter, "key0", rate, 0.0)
    limiter.check("late", Rate(10, 3), 0.0)  # in the crowd, which this rate allows one more


@pytest.mark.parametrize("now_s", [0.0, 1_700_000.3])
def test_as_many_keys_as_there_should_be_room_for_have_room(make: Make, now_s: float) -> None:
    limiter, rate = make(5000), Rate(1, 1)
    assert all(passes(limiter, f"key{n}", rate, now_s) for n in range(5000))
    assert not any(passes(limiter, f"key{n}", rate, now_s + 0.5) for n in range(5000))
    assert len(limiter) == 5000


def test_places_of_idle_keys_go_to_others() -> None:
    limiter, rate = shared(1), Rate(1, 1)
    for round_s in range(0, 40, 2):
        assert all(passes(limiter, f"{round_s} {n}", rate, round_s) for n in range(64))
        assert not passes(limiter, f"{round_s} 63", rate, round_s)


def test_limiters_over_the_same_memory_are_one() -> None:
    memory = memoryview(bytearray(SharedRateLimiter.size_bytes(100)))
    part = Part(memory, b"s" * 32, HeldLocks(), 0)
    limiters = [SharedRateLimiter(part, 100) for _ in range(4)]
    rate = Rate(1, 10)
    assert sum(passes(limiters[n % 4], "a", rate, 5.0) for n in range(30)) == 10
    assert sum(passes(limiters[n % 4], "a", rate, 8.0) for n in range(30)) == 3
    assert [len(limiter) for limiter in limiters] == [1] * 4


def test_the_crowd_is_held_to_its_rate_over_a_turn_of_generations() -> None:
    limiter, rate = RateLimiter(1), Rate(1, 1)
    limiter.check("first", rate, 0.0)
    limiter.check("x", rate, 0.9)
    limiter.check("first", rate, 1.1)
    assert not passes(limiter, "y", rate, 1.2)


def test_the_cause_can_be_another_row(make: Make) -> None:
    limiter = make(10, PEER_RATE_LIMITED)
    limiter.check("a", Rate(1, 1), 0.0)
    with pytest.raises(ProxyError) as refusal:
        limiter.check("a", Rate(1, 1), 0.0)
    assert refusal.value.cause is PEER_RATE_LIMITED


@pytest.mark.parametrize(("per_s", "burst"), [(0, 1), (-1, 1), (1, 0), (float("nan"), 1)])
def test_a_rate_must_make_sense(per_s: float, burst: int) -> None:
    with pytest.raises(ValueError, match="a rate needs"):
        Rate(per_s, burst)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("", "", True),
        ("not:an:address", "not:another", False),
    ],
)
def test_peers(one: str, other: str, same: bool) -> None:
    assert (peer_key(one) == peer_key(other)) == same
