"""Which places on the board are free."""

from __future__ import annotations

import errno
import heapq

from fastproxy.control.board import SLOTS


class Slots:
    """The places of workers; the lowest free one is taken first."""

    def __init__(self) -> None:
        self._free = list(range(SLOTS))

    def take(self) -> int:
        """Return a free place, which is taken from then on.

        Raises:
            OSError: there is none, as long as so many former workers drain.
        """
        if not self._free:
            raise OSError(errno.EAGAIN, f"there are {SLOTS} workers already, with those that drain")
        return heapq.heappop(self._free)

    def reserve(self, number: int) -> None:
        """Take this very place.

        Raises:
            ValueError: it is taken.
        """
        self._free.remove(number)
        heapq.heapify(self._free)

    def give_back(self, number: int) -> None:
        """Free a place."""
        heapq.heappush(self._free, number)
