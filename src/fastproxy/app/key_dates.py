"""The dates of public keys while a proxy runs: which keys still count, and who is told that one ends.

By the clock that tells people the time, read again at every look: whichever way it jumps, a key counts as the
time then says. A look costs next to nothing while no date comes up.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from heapq import nsmallest
from math import inf

from fastproxy.config.key_dates import ADVICE, DAY_S, WARNING_S, shown_date
from fastproxy.config.snapshot import Peer
from fastproxy.telemetry.metrics import Metrics
from fastproxy.wire.identity import key_id

SHOWN = 1000
"""Most names whose dates the metric shows, those that end first; a folder may hold 100,000 callers."""
LINES = 100
"""Most lines that the log gets of them in a day."""

_LOG = logging.getLogger("fastproxy.keys")


class KeyDates:
    """The dates of the keys by which a proxy's peers prove who they are.

    Args:
        kind: what the peers are: "caller" or "receiver".
        metrics: shows how long is left.
        clock: Unix time in seconds.
        own_not_after_unix_s: returns the date of this proxy's own certificate; infinity without one.
    """

    __slots__ = ("_clock", "_counting", "_kind", "_looked_unix_s", "_next_unix_s", "_own", "_peers", "_told")

    def __init__(
        self,
        kind: str,
        metrics: Metrics,
        clock: Callable[[], float],
        own_not_after_unix_s: Callable[[], float] = lambda: inf,
    ) -> None:
        self._kind = kind
        self._clock = clock
        self._own = own_not_after_unix_s
        self._peers: Sequence[Peer] = ()
        self._counting: Sequence[Peer] = ()
        self._looked_unix_s = inf
        self._next_unix_s = -inf
        self._told: dict[
            bytes, tuple[bool, float]
        ] = {}  # by key: whether it had ended, and when that was said
        metrics.show("fastproxy_key_not_after_seconds", self._left_s)

    def counting(self, peers: Sequence[Peer]) -> Sequence[Peer]:
        """Return these peers without the keys that have passed their date, and have the log tell of dates.

        Returns:
            The very object that it returned the last time, as long as that still holds for these peers.
        """
        now_unix_s = self._clock()
        if peers is not self._peers or not self._looked_unix_s <= now_unix_s < self._next_unix_s:
            found = [peer.at(now_unix_s) for peer in peers]
            if peers is not self._peers or found != self._counting:
                self._peers, self._counting = peers, found
            self._tell(now_unix_s)
        self._looked_unix_s = now_unix_s
        return self._counting

    def _tell(self, now_unix_s: float) -> None:
        """Say what has ended or will soon, once a day of each key; and note when there is more to say."""
        told, self._told = self._told, {}
        lines = 0
        next_unix_s = now_unix_s + DAY_S
        for peer in self._peers:
            for key, not_after_unix_s in peer.key_dates.items():
                has_ended = now_unix_s > not_after_unix_s
                if not has_ended:
                    soon_unix_s = not_after_unix_s - WARNING_S
                    next_unix_s = min(
                        next_unix_s, soon_unix_s if now_unix_s < soon_unix_s else not_after_unix_s
                    )
                    if now_unix_s < soon_unix_s:
                        continue
                before = told.get(key)
                if before is not None and before[0] == has_ended and 0 <= now_unix_s - before[1] < DAY_S:
                    self._told[key] = before
                    next_unix_s = min(next_unix_s, before[1] + DAY_S)
                    continue
                self._told[key] = has_ended, now_unix_s
                lines += 1
                if lines <= LINES:
                    self._write(peer.name, key, not_after_unix_s, now_unix_s)
        if lines > LINES:
            _LOG.warning("more public keys end, or have ended", extra={"left_out": lines - LINES})
        # A key counts through its last second; nothing is seen between two looks anyway.
        self._next_unix_s = next_unix_s

    def _write(self, name: str, key: bytes, not_after_unix_s: float, now_unix_s: float) -> None:
        left_s = not_after_unix_s - now_unix_s
        _LOG.warning(
            "a public key ends soon" if left_s >= 0 else "a public key has passed its date",
            extra={
                self._kind: name,
                "key_id": key_id(key).hex(),
                "not_after": shown_date(not_after_unix_s),
                "days_left": max(0, int(left_s / DAY_S)),
                "advice": ADVICE,
            },
        )

    def _left_s(self) -> dict[tuple[str, ...], float]:
        """Seconds until the next date of each name, or since its last one, below 0."""
        now_unix_s = self._clock()
        dated = ((_next_date(peer, now_unix_s), peer.name) for peer in self._peers if peer.key_dates)
        left: dict[tuple[str, ...], float]
        left = {(self._kind, name): unix_s - now_unix_s for unix_s, name in nsmallest(SHOWN, dated)}
        if (own_unix_s := self._own()) < inf:
            left["own", "certificate"] = own_unix_s - now_unix_s
        return left


def _next_date(peer: Peer, now_unix_s: float) -> float:
    dates = peer.key_dates.values()
    return min((unix_s for unix_s in dates if unix_s >= now_unix_s), default=max(dates))
