"""A limit that workers share: how many there may be at a time in all of them together.

Each worker has a share that nobody else uses, and counts by itself within it. When it is used up it takes
more, a part of what is left and at the end one by one, so that one busy worker can have nearly all; what it
hardly needs it gives back before long. So the limit is never exceeded, and what is refused near it is less
than the others have just stopped using.
A share is one word, written by its worker alone: nothing is lost or counted twice when that is killed. Its
share is free once the supervisor has set it to 0.
"""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.bounds import Locks

_CHUNKS_PER_WORKER = 8
"""Into so many parts for each worker goes what is left: the idle ones keep little, a busy one asks seldom."""
_TIGHT = 4
"""With less than this part of the whole left, shares are given back at once."""


class SharedRoom:
    """One worker's side of a limit; see `bounds.Room`.

    total: as there.

    Args:
        total: as above.
        elsewhere: how many this worker has beside those that are asked for here, under the same share.
        shares: the words of all workers. mine: which of them is this worker's.
        workers: how many there are of its config.
        locks, lock: whoever has that one may take.
    """

    __slots__ = ("_elsewhere", "_lock", "_locks", "_mine", "_parts", "_shares", "total")

    def __init__(
        self,
        total: int,
        elsewhere: Callable[[], int],
        shares: memoryview[int],
        mine: int,
        workers: int,
        locks: Locks,
        lock: int,
    ) -> None:
        self.total = total
        self._elsewhere = elsewhere
        self._shares = shares
        self._mine = mine
        self._parts = _CHUNKS_PER_WORKER * workers
        self._locks = locks
        self._lock = lock

    @property
    def is_tight(self) -> bool:
        """Whether others may soon need what this worker doesn't."""
        return self._left() * _TIGHT < self.total

    def begin(self) -> int:
        """See `Room`."""
        return 0

    def raised(self, needed: int) -> int:
        """See `Room`."""
        elsewhere = self._elsewhere()
        self._locks.acquire(self._lock)
        try:
            share, left = self._shares[self._mine], self._left()
            if left > 0:
                wanted = max(needed + elsewhere, share + max(1, left // self._parts))
                self._shares[self._mine] = share = min(wanted, share + left)
            return share - elsewhere
        finally:
            self._locks.release(self._lock)

    def trimmed(self, needed: int) -> int:
        """See `Room`. Takes no lock: to have less at any moment is always right."""
        share, elsewhere = self._shares[self._mine], self._elsewhere()
        used = needed + elsewhere
        spare = max(0, self._left() + share - used) // self._parts
        if share > used + spare:
            self._shares[self._mine] = share = used + spare
        return share - elsewhere

    def _left(self) -> int:
        """What nobody has; below 0 when the limit was higher for those that a reload replaces."""
        return self.total - sum(self._shares.tolist())
