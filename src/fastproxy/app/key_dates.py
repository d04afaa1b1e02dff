"""The dates of public keys while a proxy runs: which keys still count, and who is told that one ends.

By the clock that tells people the time, read again at every look: whichever way it jumps, a key counts as the
time then says. A look costs next to nothing while no date comes up, and little when one does: a folder may
hold 100,000 callers.
"""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from math import inf

from fastproxy.config.key_dates import ADVICE, DAY_S, WARNING_S, shown_date
from fastproxy.config.snapshot import Peer
from fastproxy.telemetry.metrics import Metrics
from fastproxy.wire.identity import key_id

SHOWN = 1000
"""Most names whose dates the metric shows, those that end first."""
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

    __slots__ = (
        "_clock", "_counting", "_dates", "_day_unix_s", "_ended", "_has_told_of_more", "_kind", "_near",
        "_own", "_peers", "_quiet_from_unix_s", "_quiet_to_unix_s", "_told",
    )  # fmt: skip

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
        # All dates, the earliest first: of whom (its place among the peers), of which key. The first `_ended`
        # of them have passed, the first `_near` are told of.
        self._dates: list[tuple[float, int, bytes]] = []
        self._ended = self._near = 0
        # In between, nothing comes up.
        self._quiet_from_unix_s = self._quiet_to_unix_s = -inf
        self._day_unix_s = -inf
        self._told: set[tuple[bytes, bool]] = set()  # in this day: which key, and whether it had ended
        self._has_told_of_more = False
        metrics.show("fastproxy_key_not_after_seconds", self._left_s)

    def counting(self, peers: Sequence[Peer]) -> Sequence[Peer]:
        """Return these peers without the keys that have passed their date, and have the log tell of dates.

        Returns:
            The very object that it returned the last time, as long as that still holds for these peers.
        """
        now_unix_s = self._clock()
        if peers is not self._peers:
            self._peers = peers
            self._dates = sorted(
                (not_after_unix_s, place, key)
                for place, peer in enumerate(peers)
                for key, not_after_unix_s in peer.key_dates.items()
            )
            self._counting = [peer.at(now_unix_s) for peer in peers]
            self._ended, self._near = self._places(now_unix_s)
            self._tell(self._dates[: self._near], now_unix_s)
            self._await_next(now_unix_s)
        elif not self._quiet_from_unix_s < now_unix_s < self._quiet_to_unix_s:
            self._go_to(now_unix_s)
            self._await_next(now_unix_s)
        return self._counting

    def _places(self, now_unix_s: float) -> tuple[int, int]:
        """Return how many dates have passed, and how many have or are near."""
        passed = bisect_left(self._dates, (now_unix_s,))  # not the one that is now
        return passed, bisect_right(self._dates, (now_unix_s + WARNING_S, inf))

    def _go_to(self, now_unix_s: float) -> None:
        """Let those keys count no more, or again, whose dates lie between then and now, and tell of them."""
        dates = self._dates
        ended_before, near_before = self._ended, self._near
        ended, near = self._ended, self._near = self._places(now_unix_s)
        if ended != ended_before:
            counting = list(self._counting)
            for _, place, _ in dates[min(ended, ended_before) : max(ended, ended_before)]:
                counting[place] = self._peers[place].at(now_unix_s)
            self._counting = counting
        if 0 <= now_unix_s - self._day_unix_s < DAY_S:
            self._tell(chain(dates[ended_before:ended], dates[max(ended, near_before) : near]), now_unix_s)
        else:
            self._tell(dates[:near], now_unix_s)

    def _await_next(self, now_unix_s: float) -> None:
        """Note between which times nothing comes up, so that most looks cost next to nothing."""
        dates, ended, near = self._dates, self._ended, self._near
        self._quiet_from_unix_s = max(
            self._day_unix_s,
            dates[ended - 1][0] if ended else -inf,
            dates[near - 1][0] - WARNING_S if near else -inf,
        )
        self._quiet_to_unix_s = min(
            self._day_unix_s + DAY_S,
            dates[ended][0] if ended < len(dates) else inf,
            dates[near][0] - WARNING_S if near < len(dates) else inf,
        )

    def _tell(self, dates: Iterable[tuple[float, int, bytes]], now_unix_s: float) -> None:
        """Say what has ended or will soon, once a day of each key, and again when it ends."""
        if not 0 <= now_unix_s - self._day_unix_s < DAY_S:
            self._day_unix_s = now_unix_s
            self._told.clear()
            self._has_told_of_more = False
        left_out = 0
        for not_after_unix_s, place, key in dates:
            news = key, now_unix_s > not_after_unix_s
            if news in self._told:
                continue
            if len(self._told) < LINES:
                self._told.add(news)
                self._write(self._peers[place].name, key, not_after_unix_s, now_unix_s)
            else:
                left_out += 1
        if left_out and not self._has_told_of_more:
            self._has_told_of_more = True
            _LOG.warning("more public keys end, or have ended", extra={"left_out": left_out})

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
        left: dict[tuple[str, ...], float] = {
            (self._kind, name): unix_s - now_unix_s
            for unix_s, name in islice(self._next_dates(now_unix_s), SHOWN)
        }
        if (own_unix_s := self._own()) < inf:
            left["own", "certificate"] = own_unix_s - now_unix_s
        return left

    def _next_dates(self, now_unix_s: float) -> Iterator[tuple[float, str]]:
        """The next date of each name, or its last one; the earliest first."""
        for unix_s, place, _ in self._dates:
            peer = self._peers[place]
            dates = peer.key_dates.values()
            if unix_s == min((date for date in dates if date >= now_unix_s), default=max(dates)):
                yield unix_s, peer.name
