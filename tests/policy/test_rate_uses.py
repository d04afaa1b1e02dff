"""How close callers are to their rates, as people see it: of either limiter, bounded, the fullest first."""

from __future__ import annotations

import pytest

from fastproxy.bounds import Part
from fastproxy.errors import ProxyError
from fastproxy.policy.privilege import Route
from fastproxy.policy.rate_uses import RateUses
from fastproxy.policy.ratelimit import Limiter, Rate, RateLimiter
from fastproxy.policy.shared_rates import SharedRateLimiter

RATE = Rate(per_s=10, burst=5)


class NoLocks:
    """Nobody else is there."""

    def acquire(self, number: int) -> None:
        """Have it."""

    def release(self, number: int) -> None:
        """Have it no more."""


def shared() -> SharedRateLimiter:
    memory = memoryview(bytearray(SharedRateLimiter.size_bytes(100)))
    return SharedRateLimiter(Part(memory, b"s" * 32, NoLocks(), 0), 100)


@pytest.fixture(params=[lambda: RateLimiter(100), shared], ids=["own", "shared"])
def limiter(request: pytest.FixtureRequest) -> Limiter:
    made: Limiter = request.param()
    return made


def route(name: str, rate: Rate | None = RATE) -> Route:
    return Route(name, rate, f"svc * {name}", name=name)


def test_use_is_the_part_of_the_burst_that_is_spent_and_comes_back_with_time(limiter: Limiter) -> None:
    uses = RateUses(limiter)
    way = route("/a")
    uses.note("web", "svc", way)

    def used(now_s: float) -> float:
        (use,) = uses.fullest(10, now_s)
        assert use[:4] == ("web", "svc", "/a", RATE)
        return use.used

    assert used(0.0) == 0
    for spent in range(1, 6):
        limiter.check(("web", way.rate_key), RATE, 1000.0)
        assert used(1000.0) == pytest.approx(spent / 5)
    with pytest.raises(ProxyError):
        limiter.check(("web", way.rate_key), RATE, 1000.0)
    assert used(1000.0) == pytest.approx(1)
    assert used(1000.2) == pytest.approx(0.6)
    assert used(2000.0) == 0


def test_who_never_came_uses_nothing(limiter: Limiter) -> None:
    assert limiter.ahead_s(("nobody", "svc * /a"), 5.0) == 0


def test_the_fullest_are_shown_first_and_no_more_than_asked_for(limiter: Limiter) -> None:
    uses = RateUses(limiter)
    ways = {name: route(name) for name in ("/a", "/b", "/c")}
    for name, count in (("/a", 1), ("/b", 3), ("/c", 2)):
        uses.note("web", "svc", ways[name])
        for _ in range(count):
            limiter.check(("web", ways[name].rate_key), RATE, 50.0)
    assert [use.route for use in uses.fullest(2, 50.0)] == ["/b", "/c"]


def test_of_too_many_the_one_that_was_noted_first_goes(limiter: Limiter) -> None:
    uses = RateUses(limiter, limit=2)
    for name in ("/a", "/b", "/a", "/c"):
        uses.note("web", "svc", route(name))
    assert {use.route for use in uses.fullest(10, 0.0)} == {"/a", "/c"}
    for number in range(1000):
        uses.note(f"caller {number}", "svc", route("/a"))
    assert len(uses.fullest(10_000, 0.0)) == 2
