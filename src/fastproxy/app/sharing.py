"""What a process shares with the others of its proxy, so that rates, limits and replay windows hold for all.

`Alone` is for a proxy that is one process; `Together` for a worker among several, and for one that has
predecessors and successors of which it has to know what they accepted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from fastproxy.bounds import Counts, OwnCounts, OwnRoom, Room
from fastproxy.errors import Cause
from fastproxy.policy.ratelimit import Limiter, RateLimiter

if TYPE_CHECKING:
    from fastproxy.control.ledger import CountKind, Ledger, RateKind, RoomKind
    from fastproxy.wire.receiver import ReceiverLimits
    from fastproxy.wire.sessions import SessionTable

_TRIM_EVERY_S = 0.5
_TRIM_TIGHT_S = 0.02
"""While little of a limit is left, what one worker has just stopped using is soon there for the others."""


class Sharing(Protocol):
    """Makes what holds rates and limits."""

    def rates(self, kind: RateKind, capacity: int, cause: Cause) -> Limiter:
        """Make what holds keys to their rates, with places for so many."""
        ...

    def room(self, kind: RoomKind, total: int, elsewhere: Callable[[], int]) -> Room:
        """Make a limit.

        Args:
            total: as in `Room`. elsewhere: how many this process has beside those that are asked for here.
        """
        ...

    def counts(self, kind: CountKind) -> Counts:
        """Make counts."""
        ...

    def sessions(self, limits: ReceiverLimits) -> tuple[bytes, SessionTable]:
        """Make the table of envelope sessions; return it behind its epoch."""
        ...

    def part(self, limit: int) -> int:
        """Return this process's equal part of a limit, at least 1 where there is anything."""
        ...

    async def keep(self, trim: Callable[[], None]) -> None:
        """Have what is not needed of limits given back by `trim`, again and again; until it is cancelled."""
        ...


class Alone:
    """The process is the proxy; see `Sharing`."""

    def rates(self, kind: RateKind, capacity: int, cause: Cause) -> RateLimiter:
        """See `Sharing`."""
        return RateLimiter(capacity, cause)

    def room(self, kind: RoomKind, total: int, elsewhere: Callable[[], int]) -> OwnRoom:
        """See `Sharing`."""
        return OwnRoom(total)

    def counts(self, kind: CountKind) -> OwnCounts:
        """See `Sharing`."""
        return OwnCounts()

    def sessions(self, limits: ReceiverLimits) -> tuple[bytes, SessionTable]:
        """See `Sharing`. Each table has an epoch of its own: it knows nothing of what others accepted."""
        from fastproxy.wire.envelope import EPOCH_BYTES  # noqa: PLC0415 - loaded only where they are taken
        from fastproxy.wire.sessions import SessionTable  # noqa: PLC0415

        table = SessionTable(limits.sessions_per_caller, limits.lifetime_ms, limits.window_width)
        return os.urandom(EPOCH_BYTES), table

    def part(self, limit: int) -> int:
        """See `Sharing`."""
        return limit

    async def keep(self, trim: Callable[[], None]) -> None:
        """See `Sharing`: nobody else needs it."""


class Together:
    """The process is one of several; see `Sharing`.

    A worker that has no others beside it shares the sessions of envelopes all the same: with those before and
    after it. What it counts otherwise is its own.

    Args:
        ledger: what they count together. worker: this one's number. workers: how many there are.
    """

    def __init__(self, ledger: Ledger, worker: int, workers: int) -> None:
        self._ledger = ledger
        self._worker = worker
        self._workers = workers
        self._is_tight: dict[RoomKind, Callable[[], bool]] = {}

    def rates(self, kind: RateKind, capacity: int, cause: Cause) -> Limiter:
        """See `Sharing`; there are as many places as the ledger has."""
        return RateLimiter(capacity, cause) if self._workers == 1 else self._ledger.rates(kind, cause)

    def room(self, kind: RoomKind, total: int, elsewhere: Callable[[], int]) -> Room:
        """See `Sharing`."""
        if self._workers == 1:
            return OwnRoom(total)
        room = self._ledger.room(kind, total, self._worker, self._workers, elsewhere)
        self._is_tight[kind] = lambda: room.is_tight
        return room

    def counts(self, kind: CountKind) -> Counts:
        """See `Sharing`."""
        return OwnCounts() if self._workers == 1 else self._ledger.counts(kind, self._worker)

    def sessions(self, limits: ReceiverLimits) -> tuple[bytes, SessionTable]:
        """See `Sharing`."""
        from fastproxy.wire.shared_sessions import SharedSessions  # noqa: PLC0415 - as above

        return self._ledger.epoch, SharedSessions(
            self._ledger.windows(), limits.sessions_per_caller, limits.lifetime_ms, limits.max_clock_skew_ms
        )

    def part(self, limit: int) -> int:
        """See `Sharing`."""
        return max(limit // self._workers, min(limit, 1))

    async def keep(self, trim: Callable[[], None]) -> None:
        """See `Sharing`."""
        while self._is_tight:
            is_tight = any(is_tight() for is_tight in self._is_tight.values())
            await asyncio.sleep(_TRIM_TIGHT_S if is_tight else _TRIM_EVERY_S)
            trim()
