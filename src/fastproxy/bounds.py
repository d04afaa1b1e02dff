"""What holds a limit, to the layers that keep it: whether other processes share it doesn't matter there.

The implementations here are those of a proxy that is one process; `control` has those that several share.
Knows nothing of what is bounded.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple, Protocol


class Locks(Protocol):
    """Locks by number. A process that ends loses its own, whatever it was doing then."""

    def acquire(self, number: int) -> None:
        """Wait for a lock, and have it."""
        ...

    def release(self, number: int) -> None:
        """Have it no more."""
        ...


class Part(NamedTuple):
    """A part of the memory that the processes of a proxy share.

    memory: its bytes, zeros at first. secret: 32 random bytes that are the same in all these processes, and
    known to nobody else. locks, first_lock: whoever has the part may use those from that number on, as many
    as it has bytes.
    """

    memory: memoryview
    secret: bytes
    locks: Locks
    first_lock: int


class Room(Protocol):
    """How many there may be at a time of what is limited.

    total: in the whole proxy.
    Each process has a share of it: a number that it compares with its own count at the least cost. Only when
    the share is used up it asks for more.
    """

    total: int

    def raised(self, needed: int) -> int:
        """Have the share raised to what is needed, or beyond; return it, which may be less."""
        ...

    def trimmed(self, needed: int) -> int:
        """Give back what is hardly needed; return the share, which is no less than what is needed."""
        ...

    def begin(self) -> int:
        """Return the share to begin with, when there are none yet."""
        ...


class OwnRoom:
    """The room of a proxy that is one process: all of it is its share.

    total: as in `Room`.
    """

    __slots__ = ("total",)

    def __init__(self, total: int) -> None:
        self.total = total

    def begin(self) -> int:
        """See `Room`."""
        return self.total

    def raised(self, needed: int) -> int:
        """See `Room`."""
        return self.total

    def trimmed(self, needed: int) -> int:
        """See `Room`."""
        return self.total


class Counts(Protocol):
    """How many there are, by whose they are."""

    def add(self, key: str) -> int:
        """Count one more; return how many there are with it, in the whole proxy."""
        ...

    def remove(self, key: str) -> None:
        """Count one that was added no more."""
        ...


class OwnCounts(Counter[str]):
    """The counts of a proxy that is one process; who has none is not in it."""

    def add(self, key: str) -> int:
        """See `Counts`."""
        self[key] += 1
        return self[key]

    def remove(self, key: str) -> None:
        """See `Counts`."""
        self[key] -= 1
        if not self[key]:
            del self[key]
