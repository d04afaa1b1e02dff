"""Signals at intervals, of CPU time or of wall clock: the only way to see where a loop's thread is.

A thread that looks would need the interpreter's lock, and so would see this thread almost only where it gives
the lock away: at the loop itself, between two callbacks. A signal's handler runs in the thread that serves,
at the next instruction of whatever runs; time in C code (system calls, ciphers, the loop's own) shows at the
Python function that called it.

Rules: one process has one `Ticks` per clock, in its main thread. The timer fires once and is set again after
the handlers ran, as far off as keeps what they cost below `COST` of the time. A handler's exception would
surface in whatever was interrupted: none leaves here. The signal's handler stays installed, idle: a last
signal on its way would otherwise end the process, as is these signals' default.
"""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable
from math import inf
from types import FrameType

COST = 0.01
"""Most CPU time that one profile's handler may take, as a share of the clock's time."""
_LEAST_S = 0.0002

_LOG = logging.getLogger("fastproxy.profiling")

OnTick = Callable[[FrameType | None, float, float], None]
"""Gets what was interrupted, when the tick was due, and the time now, both in seconds of the clock."""


class _Entry:
    __slots__ = ("due", "interval_s", "on_tick")

    def __init__(self, interval_s: float, on_tick: OnTick, due: float) -> None:
        self.interval_s = interval_s
        self.on_tick = on_tick
        self.due = due


class Ticks:
    """Calls whoever wants to be called, in the main thread, whatever that does.

    Args:
        timer: of `signal.setitimer`. signum: the signal that it sends. clock: the time that it runs on, in
            seconds.
    """

    __slots__ = ("_clock", "_entries", "_signum", "_timer")

    def __init__(self, timer: int, signum: signal.Signals, clock: Callable[[], float]) -> None:
        self._timer = timer
        self._signum = signum
        self._clock = clock
        self._entries: dict[OnTick, _Entry] = {}

    def start(self, interval_s: float, on_tick: OnTick) -> None:
        """Call `on_tick` every so often, or less often if it costs too much.

        Raises:
            ValueError: this is not the main thread.
        """
        if not self._entries:
            signal.signal(self._signum, self._on_signal)
        self._entries[on_tick] = _Entry(interval_s, on_tick, self._clock() + interval_s)
        self._arm()

    def postpone(self, on_tick: OnTick, due_s: float) -> None:
        """Call it at this time of the clock next, and not before."""
        entry = self._entries.get(on_tick)
        if entry is not None:
            entry.due = due_s
            self._arm()

    def stop(self, on_tick: OnTick) -> None:
        """Call it no more."""
        self._entries.pop(on_tick, None)
        self._arm()

    def _arm(self) -> None:
        due = min((entry.due for entry in list(self._entries.values())), default=inf)
        signal.setitimer(self._timer, 0 if due == inf else max(due - self._clock(), _LEAST_S))

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        now, began_s = self._clock(), time.thread_time()
        for entry in list(self._entries.values()):
            if entry.due > now:
                continue
            try:
                entry.on_tick(frame, entry.due, now)
            except Exception:
                self._entries.pop(entry.on_tick, None)
                _LOG.exception("a profile ends early")
            ended_s = time.thread_time()  # being put aside for other programs is no cost
            now = self._clock()
            entry.due = now + max(entry.interval_s, (ended_s - began_s) / COST)
            began_s = ended_s
        self._arm()
