"""Where to? The endpoint for the next attempt: round robin, with those that failed moved to the back.

An endpoint that refused a connection is avoided for a while, then tried like any other; when all of them
are failing they are used all the same, since refusing outright could only be worse.
Knows nothing of connections, names or how endpoints become known.
"""

from __future__ import annotations

from collections.abc import Collection

from fastproxy.errors import NO_ENDPOINT, ProxyError
from fastproxy.model import Endpoint


class Balancer:
    """Spreads the attempts for one service or receiver over its endpoints.

    failing: endpoints that are avoided, each with the time until which it is.

    Args:
        avoid_s: for how long an endpoint is avoided after a failure, in seconds.
        failing_limit: failing endpoints remembered at most; protects memory where names resolve to ever
            new addresses.
    """

    __slots__ = ("_all_well_s", "_avoid_s", "_failing_limit", "_turn", "failing")

    def __init__(self, avoid_s: float = 5.0, failing_limit: int = 1024) -> None:
        self._avoid_s = avoid_s
        self._failing_limit = failing_limit
        self.failing: dict[Endpoint, float] = {}
        self._all_well_s = 0.0
        self._turn = 0

    def pick(
        self, endpoints: tuple[Endpoint, ...], tried: Collection[Endpoint], now_s: float
    ) -> Endpoint | None:
        """Pick the endpoint for an attempt.

        Args:
            endpoints: all that are known now.
            tried: those that this exchange could not connect to; never picked again.
            now_s: monotonic time in seconds.

        Returns:
            None when all have been tried.

        Raises:
            ProxyError: NO_ENDPOINT when none is known.
        """
        if not endpoints:
            raise ProxyError(NO_ENDPOINT)
        count = len(endpoints)
        failing = self.failing
        if failing and now_s >= self._all_well_s:
            failing.clear()
        if count == 1 and not tried:
            return endpoints[0]
        turn = self._turn = (self._turn + 1) % count
        if not failing and not tried:
            return endpoints[turn]
        second_choice = None
        for step in range(turn, turn + count):
            endpoint = endpoints[step % count]
            if endpoint in tried:
                continue
            if failing.get(endpoint, now_s) <= now_s:
                return endpoint
            second_choice = second_choice or endpoint
        return second_choice

    def mark_failing(self, endpoint: Endpoint, now_s: float) -> None:
        """Move an endpoint to the back: it did not take a connection."""
        self.failing.pop(endpoint, None)
        if len(self.failing) >= self._failing_limit:
            del self.failing[next(iter(self.failing))]
        self.failing[endpoint] = self._all_well_s = now_s + self._avoid_s

    def mark_working(self, endpoint: Endpoint) -> None:
        """Take an endpoint back at once: it took a connection."""
        if self.failing:
            self.failing.pop(endpoint, None)
