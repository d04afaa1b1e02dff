"""How late the event loop comes to what is due: what every exchange of its worker waits for as well.

Whoever has something done at a set time notes how late it was. Knows nothing of loops.
"""

from __future__ import annotations

from collections import deque

from fastproxy.telemetry.metrics import LOOP_LAG, Metrics

_LOOKS = 120
"""The worst of so many is shown: those of a minute."""


class LoopLag:
    """The lag of one worker's loop.

    Args:
        metrics: counts it.
    """

    __slots__ = ("_durations", "_last")

    def __init__(self, metrics: Metrics) -> None:
        self._durations = metrics.durations(LOOP_LAG)
        self._last: deque[float] = deque(maxlen=_LOOKS)
        metrics.loop_lag_s = lambda: max(self._last, default=0.0)

    def note(self, late_s: float) -> None:
        """Something was done this much later than it was due."""
        late_s = max(0.0, late_s)  # clocks are read twice
        self._durations.note(late_s)
        self._last.append(late_s)
