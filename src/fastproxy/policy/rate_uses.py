"""How close callers are to their rates: for people who look, not for the path of a request.

What is decided on a new head, or refused, is noted; how much of its burst it has in use is asked of the
limiter when somebody wants to know. Bounded: of too many the one that was noted first goes.
"""

from __future__ import annotations

from heapq import nlargest
from typing import NamedTuple

from fastproxy.policy.privilege import Route
from fastproxy.policy.ratelimit import Limiter, Rate

NOTED = 1024
"""Callers on routes that are known here; bounds memory, and the time that a look takes."""


class RateUse(NamedTuple):
    """How much of its rate a caller uses on a route. used: fraction of the burst, 0 to 1."""

    caller: str
    service: str
    route: str
    rate: Rate
    used: float


class RateUses:
    """Callers on routes that have a rate.

    Args:
        limiter: holds them to it. limit: how many are known at most.
    """

    __slots__ = ("_limit", "_limiter", "_routes")

    def __init__(self, limiter: Limiter, limit: int = NOTED) -> None:
        self._limiter = limiter
        self._limit = limit
        self._routes: dict[tuple[str, str, str], Route] = {}

    def note(self, caller: str, service: str, route: Route) -> None:
        """Somebody uses a route that has a rate, or is refused there."""
        key = caller, service, route.rate_key
        self._routes.pop(key, None)
        if len(self._routes) >= self._limit:
            del self._routes[next(iter(self._routes))]
        self._routes[key] = route

    def fullest(self, count: int, now_s: float) -> list[RateUse]:
        """Return so many of those that have most of their burst in use, the fullest first.

        Args:
            now_s: monotonic time in seconds.
        """
        uses = (
            RateUse(caller, service, route.name, route.rate, self._used(caller, route, route.rate, now_s))
            for (caller, service, _), route in self._routes.items()
            if route.rate is not None
        )
        return nlargest(count, uses, key=lambda use: use.used)

    def _used(self, caller: str, route: Route, rate: Rate, now_s: float) -> float:
        ahead_s = self._limiter.ahead_s((caller, route.rate_key), now_s)
        return min(1.0, max(0.0, ahead_s / (rate.burst * rate.interval_s)))
