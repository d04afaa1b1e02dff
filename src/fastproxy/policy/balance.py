"""Where to? The endpoint for the next attempt: round robin, with those that failed moved to the back.

An endpoint that refused a connection is avoided for a while, then tried like any other; when all of them
are failing they are used all the same, since refusing outright could only be worse. One that is about to
leave is avoided as well, though it still answers.
Knows nothing of connections, names or how endpoints become known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from itertools import chain, cycle, islice

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

    __slots__ = (
        "_all_well_s",
        "_avoid_s",
        "_failing_limit",
        "_given_back",
        "_leaving",
        "_turns",
        "_turns_of",
        "failing",
    )

    def __init__(self, avoid_s: float = 5.0, failing_limit: int = 1024) -> None:
        self._avoid_s = avoid_s
        self._failing_limit = failing_limit
        self.failing: dict[Endpoint, float] = {}
        self._leaving: set[Endpoint] = set()
        self._all_well_s = 0.0
        self._turns_of: tuple[Endpoint, ...] = ()
        self._turns: Iterator[Endpoint] = iter(())
        self._given_back: Endpoint | None = None

    def turns(self, endpoints: tuple[Endpoint, ...]) -> Iterator[Endpoint]:
        """Return the endpoints in the order of their turns, without end; `pick` goes on in the same order.

        For calls that take an endpoint only if they can go there at once. When one can't, its turn is to be
        given back: else an endpoint that nothing leads to yet might never be picked.

        Args:
            endpoints: all that are known now; with others a new order begins.
        """
        if endpoints is not self._turns_of:
            self._turns_of = endpoints
            self._turns = cycle(endpoints)
            self._given_back = None
        return self._turns

    def give_back(self, endpoint: Endpoint) -> None:
        """Leave a turn that was taken from `turns` to whoever picks next."""
        self._given_back = endpoint

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
        failing = self.failing
        if failing and now_s >= self._all_well_s:
            failing.clear()
            self._leaving.clear()
        if len(endpoints) == 1 and not tried:
            return endpoints[0]
        turns = self.turns(endpoints)
        given_back, self._given_back = self._given_back, None
        if not failing and not tried:
            return given_back or next(turns)
        second_choice = None
        for endpoint in chain(filter(None, (given_back,)), islice(turns, len(endpoints))):
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
            oldest = next(iter(self.failing))
            del self.failing[oldest]
            self._leaving.discard(oldest)
        self.failing[endpoint] = self._all_well_s = now_s + self._avoid_s

    def mark_leaving(self, endpoint: Endpoint, now_s: float) -> None:
        """Move an endpoint to the back, though it answers: it is about to take no more connections."""
        self.mark_failing(endpoint, now_s)
        self._leaving.add(endpoint)

    def mark_working(self, endpoint: Endpoint) -> None:
        """Take an endpoint back at once: it took a connection."""
        if self.failing and endpoint not in self._leaving:
            self.failing.pop(endpoint, None)
