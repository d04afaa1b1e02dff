"""What each worker shows of itself, in memory that all processes of one proxy share.

A worker writes to its own slot only, and each value is one aligned word: no lock is needed, and a reader sees
the value before or after, never half of it. So the supervisor can tell a worker that hangs from one that has
nothing to do, and workers know how busy the others are.
The memory outlives every one of them: it is the supervisor's descriptor that keeps it.
"""

from __future__ import annotations

import mmap
import os

SLOTS = 512
"""Workers at one time at most, those that drain included."""

_WORDS = 8
_SLOT_BYTES = 8 * _WORDS
_BEAT, _CONNECTIONS, _IN_FLIGHT = range(3)


class Board:
    """The slots of all workers.

    Args:
        fd: what `make` returned, here or in the process that this one inherits it from; not closed here.
    """

    __slots__ = ("_words",)

    def __init__(self, fd: int) -> None:
        self._words = memoryview(mmap.mmap(fd, SLOTS * _SLOT_BYTES)).cast("Q")

    def slot(self, index: int) -> Slot:
        """Return a worker's slot."""
        return Slot(self._words[index * _WORDS : (index + 1) * _WORDS])


class Slot:
    """What one worker shows. It writes; all others only read.

    Args:
        words: its part of the board.
    """

    __slots__ = ("_words",)

    def __init__(self, words: memoryview[int]) -> None:
        self._words = words

    def clear(self) -> None:
        """Show nothing any more."""
        for index in range(_WORDS):
            self._words[index] = 0

    @property
    def beat_s(self) -> float:
        """When its event loop last turned, by the machine's monotonic clock; 0 when it never has."""
        return self._words[_BEAT] / 1000

    @beat_s.setter
    def beat_s(self, now_s: float) -> None:
        self._words[_BEAT] = int(now_s * 1000)

    @property
    def connections(self) -> int:
        """Connections that it has, links among them."""
        return self._words[_CONNECTIONS]

    @connections.setter
    def connections(self, number: int) -> None:
        self._words[_CONNECTIONS] = number

    @property
    def in_flight(self) -> int:
        """Exchanges under way, as of its last beat."""
        return self._words[_IN_FLIGHT]

    @in_flight.setter
    def in_flight(self, number: int) -> None:
        self._words[_IN_FLIGHT] = number


def make() -> int:
    """Return a descriptor of an empty board, which no program inherits unasked."""
    fd = os.memfd_create("fastproxy-board", os.MFD_CLOEXEC)
    os.ftruncate(fd, SLOTS * _SLOT_BYTES)
    return fd
