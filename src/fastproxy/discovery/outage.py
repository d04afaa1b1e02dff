"""A center that gives no answer is asked again after pauses that double, and that is logged once.

Knows neither the center nor a clock: whoever asks says how it went.
"""

from __future__ import annotations

_MOST_DOUBLINGS = 16
"""Beyond any longest pause; keeps the power from growing with an outage of days."""


class Outage:
    """How long the center has given no answer, in attempts.

    Args:
        first_s: pause after the first failure, in seconds. longest_s: bound on those that follow.
    """

    __slots__ = ("_failures", "_first_s", "_longest_s")

    def __init__(self, first_s: float, longest_s: float) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._failures = 0

    @property
    def is_on(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    @property
    def pause_s(self) -> float:
        """The pause before the next attempt, in seconds, while it is on."""
        return min(self._longest_s, self._first_s * 2.0 ** min(self._failures - 1, _MOST_DOUBLINGS))

    def note_failure(self) -> bool:
        """Count a failed attempt; True for the first one, of which the log tells."""
        self._failures += 1
        return self._failures == 1

    def note_answer(self) -> bool:
        """The center answers; True when that ends an outage."""
        was_on, self._failures = self.is_on, 0
        return was_on
