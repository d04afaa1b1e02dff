"""The replay window of one session: which counters were here before.

The algorithm is RFC 6479's: a ring of words in which the window slides word by word, so that moving it
clears whole words and shifts nothing. Both operations take constant time, whatever the peer sends.
One word of the ring is always partly outside the window, hence one word more than the width asks for.
"""

from __future__ import annotations

from array import array

_WORD_BITS = 64
DEFAULT_WIDTH = 4096
"""How far envelopes of one sender may overtake each other; it costs width / 8 bytes per session."""

CLOCK_SET_BACK = "the clock was set back; it may have been here before"
"""Why an envelope is refused that expires no later than one whose window is gone already."""


def ring_words(width: int) -> int:
    """Return how many words of 8 bytes a window of this width takes."""
    return width // _WORD_BITS + 1


class ReplayWindow:
    """Remembers the highest counter and, of the `width` counters up to it, which ones were seen.

    A counter below the window can't be told from a replay and counts as one.

    highest: the highest counter, -1 before the first. is_lost: never; see `SharedWindow`.
    """

    __slots__ = ("_ring", "_width", "_words", "highest")

    is_lost = False

    def __init__(self, width: int = DEFAULT_WIDTH, ring: memoryview[int] | None = None) -> None:
        """Make an empty window of `width` counters, a multiple of 64.

        Args:
            width: as above. ring: `ring_words(width)` words to keep it in, instead of its own.

        Raises:
            ValueError: the width is no positive multiple of 64.
        """
        if width <= 0 or width % _WORD_BITS:
            raise ValueError(f"a replay window is a positive multiple of {_WORD_BITS} wide")
        self._width = width
        self._words = ring_words(width)
        self._ring = array("Q", bytes(8 * self._words)) if ring is None else ring
        self.highest = -1

    def check(self, counter: int) -> bool:
        """Return whether this counter is new. Marks nothing: it isn't known yet to be authentic."""
        if counter > self.highest:
            return True
        if counter <= self.highest - self._width:
            return False
        return not self._ring[(counter >> 6) % self._words] >> (counter & 63) & 1

    def mark(self, counter: int) -> bool:
        """Enter an authentic counter; return False, and change nothing, when it isn't new."""
        ring, words, highest = self._ring, self._words, self.highest
        if counter > highest:
            newest = highest >> 6  # of an empty window -1, so that word 0 comes next
            last = counter >> 6
            if last > newest:
                for word in range(max(newest + 1, last - words + 1), last + 1):
                    ring[word % words] = 0
            self.highest = counter
        elif not self.check(counter):
            return False
        ring[(counter >> 6) % words] |= 1 << (counter & 63)
        return True
