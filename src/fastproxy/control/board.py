"""What each worker shows of itself, in memory that all processes of one proxy share.

A worker writes to its own slot only, and each value is one aligned word: no lock is needed, and a reader sees
the value before or after, never half of it. So the supervisor can tell a worker that hangs from one that has
nothing to do, and workers know how busy the others are.
Beside the slots stands, for each place of a crew, who takes connections there: a worker says so itself, once
it does, and takes it back before it stops. Two of them can be at one place during a reload; the later one
stands there.
The memory outlives every one of them: it is the supervisor's descriptor that keeps it.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

SLOTS = 512
"""Workers at one time at most, those that drain included."""

PLACES = 64
"""Workers of one crew at most."""
FRESH_S = 2.0
"""How old the last beat of a worker may be that counts as taking connections: four beats."""

_WORDS = 8
_SLOT_BYTES = 8 * _WORDS
_BEAT, _CONNECTIONS, _IN_FLIGHT, _LINKS = range(4)
_SLOTS_WORDS = SLOTS * _WORDS
_BOARD_BYTES = SLOTS * _SLOT_BYTES + 8 * PLACES


class Board:
    """The slots of all workers, and who takes connections at each place.

    Args:
        fd: what `make` returned, here or in the process that this one inherits it from; not closed here.
    """

    __slots__ = ("_places", "_words")

    def __init__(self, fd: int) -> None:
        words = memoryview(mmap.mmap(fd, _BOARD_BYTES)).cast("Q")
        self._words = words
        self._places = words[_SLOTS_WORDS:]

    def slot(self, index: int) -> Slot:
        """Return a worker's slot."""
        return Slot(self._words[index * _WORDS : (index + 1) * _WORDS])

    def claim(self, place: int, index: int, now_s: float) -> None:
        """Say that the worker with this slot takes connections at a place, unless another one has it.

        Args:
            now_s: by the machine's monotonic clock; who has the place must have beaten lately.
        """
        holder = self._places[place]
        if not holder or (holder != index + 1 and not self._is_fresh(holder - 1, now_s)):
            self._places[place] = index + 1

    def take_over(self, place: int, index: int) -> None:
        """Say that the worker with this slot takes connections at a place, whoever did before."""
        self._places[place] = index + 1

    def leave(self, place: int, index: int) -> None:
        """Say that the worker with this slot takes none there any more."""
        if self._places[place] == index + 1:
            self._places[place] = 0

    def takers(self, places: int, now_s: float) -> Iterator[tuple[int, int, int, int]]:
        """Return who takes connections now at so many places: place, slot, connections, links."""
        words = self._words
        for place in range(places):
            holder = self._places[place]
            if holder and self._is_fresh(holder - 1, now_s):
                at = (holder - 1) * _WORDS
                yield place, holder - 1, words[at + _CONNECTIONS], words[at + _LINKS]

    def _is_fresh(self, index: int, now_s: float) -> bool:
        return now_s - self._words[index * _WORDS + _BEAT] / 1000 < FRESH_S


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
        """Connections that it has at this moment, links not among them."""
        return self._words[_CONNECTIONS]

    @property
    def connections_word(self) -> memoryview[int]:
        """Where their number stands, for who keeps it up to date: one word."""
        return self._words[_CONNECTIONS : _CONNECTIONS + 1]

    @property
    def links(self) -> int:
        """Links that it has taken at this moment, those that are being made among them."""
        return self._words[_LINKS]

    @property
    def links_word(self) -> memoryview[int]:
        """Where their number stands, as for connections."""
        return self._words[_LINKS : _LINKS + 1]

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
    os.ftruncate(fd, _BOARD_BYTES)
    return fd
