"""How fast may it go? One limiter for callers on their routes and for peers that open sessions.

The generic cell rate algorithm (ITU-T I.371, annex A): each key needs one number, the time at which it
would have sent its last request had it kept to its rate exactly. Exact bursts, no timer, no refill.
Memory is bounded, and what is idle is forgotten without a scan: two generations of keys, of which the older
is dropped once all in it must have recovered their whole burst, and so mean nothing any more.
Knows nothing of routes or addresses: a key is a key.
`shared_rates` has the same for processes that count together.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from typing import Protocol

from fastproxy.errors import RATE_LIMITED, Cause, ProxyError

# Sums of floats may miss the last request of a burst by a hair; the slack is a tenth of a
# request at 100,000 per second, and less below.
_SLACK_S = 1e-6

_CROWD = "keys that came when the table was full"

Key = str | tuple[str, str]
"""Whose rate it is."""


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests per second in the long run, so many at once.

    per_s: requests per second, above 0.
    burst: requests that may come at once, at least 1.
    """

    per_s: float
    burst: int
    interval_s: float = field(init=False, repr=False)
    tolerance_s: float = field(init=False, repr=False)
    recovery_s: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.per_s > 0 or self.burst < 1:
            raise ValueError("a rate needs per_s above 0 and a burst of at least 1")
        # Computed here once, so that a check is two additions and two comparisons.
        object.__setattr__(self, "interval_s", 1 / self.per_s)
        object.__setattr__(self, "tolerance_s", (self.burst - 1) / self.per_s + _SLACK_S)
        object.__setattr__(self, "recovery_s", self.burst / self.per_s + _SLACK_S)


class Limiter(Protocol):
    """Holds every key to its rate."""

    def __len__(self) -> int: ...

    def check(self, key: Key, rate: Rate, now_s: float) -> None:
        """Count one request; see `RateLimiter.check`."""
        ...

    def ahead_s(self, key: Key, now_s: float) -> float:
        """Return how far a key is ahead of its rate, in seconds; see `RateLimiter.ahead_s`."""
        ...


class RateLimiter:
    """Holds every key to its rate, in one process.

    When the table is full, further keys share one place in it and so one rate: what can't be told apart is
    limited together, never let through unseen.

    Args:
        capacity: keys remembered at most; protects memory.
        cause: the row of the error table for what is over its rate.
    """

    __slots__ = ("_capacity", "_cause", "_new", "_old", "_recovery_s", "_turn_s")

    def __init__(self, capacity: int, cause: Cause = RATE_LIMITED) -> None:
        self._capacity = capacity
        self._cause = cause
        self._new: dict[Key, float] = {}
        self._old: dict[Key, float] = {}
        self._recovery_s = 1.0
        self._turn_s = float("-inf")

    def __len__(self) -> int:
        """Number of keys remembered."""
        return len(self._new) + len(self._old)

    def check(self, key: Key, rate: Rate, now_s: float) -> None:
        """Count one request.

        A request over the rate isn't counted: who keeps trying isn't locked out for longer.

        Args:
            key: whose rate it is, e.g. (caller, route.rate_key).
            rate: the same at every check of this key.
            now_s: monotonic time in seconds.

        Raises:
            ProxyError: the limiter's cause, with `retry_after_s`.
        """
        if now_s >= self._turn_s:
            self._turn_generations(now_s)
        if rate.recovery_s > self._recovery_s:
            self._recovery_s = rate.recovery_s
            self._turn_s = max(self._turn_s, now_s + rate.recovery_s)
        due_s = self._new.get(key)
        if due_s is None:
            if key not in self._old and len(self._new) + len(self._old) >= self._capacity:
                key = _CROWD
                due_s = self._new.get(key)
            if due_s is None:
                due_s = self._old.pop(key, now_s)
        if due_s < now_s:  # noqa: PLR1730 - a call of max() costs as much as the rest of the check
            due_s = now_s
        ahead_s = due_s - now_s - rate.tolerance_s
        if ahead_s > 0:
            self._new[key] = due_s
            raise over_rate(self._cause, rate, ahead_s)
        self._new[key] = due_s + rate.interval_s

    def ahead_s(self, key: Key, now_s: float) -> float:
        """Return how far a key is ahead of its rate: the time until its whole burst is free again.

        Args:
            key, now_s: as for `check`; nothing is counted.
        """
        due_s = self._new.get(key) or self._old.get(key, now_s)
        return max(0.0, due_s - now_s)

    def _turn_generations(self, now_s: float) -> None:
        """Forget what was idle for a whole recovery time: it stands where a newcomer would."""
        self._old = self._new
        self._new = {}
        self._turn_s = now_s + self._recovery_s


def over_rate(cause: Cause, rate: Rate, ahead_s: float) -> ProxyError:
    """The error of a request that came so many seconds before its time.

    Args:
        cause: the limiter's.
    """
    return ProxyError(
        cause,
        f"the rate is {rate.per_s:g} per second",
        retry_after_s=ahead_s,
        numbers={"per_s": rate.per_s, "burst": rate.burst, "retry_after_s": ahead_s},
    )


def peer_key(address: str) -> str:
    """Name the party behind a source address: an IPv4 address, or an IPv6 network of 64 bits.

    Whoever has one IPv6 address has 2**64 of them, so only the network counts (RFC 6177).

    Args:
        address: an IP address as text; anything else, such as a Unix socket's path, is its own key.
    """
    if ":" not in address:
        return address
    try:
        parsed = IPv6Address(address)
    except AddressValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return f"{IPv6Address(int(parsed) >> 64 << 64)}/64"
