"""One coarse wheel for all timeouts: no timer of the loop per request.

A `Timer` belongs to something long-lived (a connection). Setting it to a later time is an attribute store;
when the wheel reaches the time that was armed first, it looks again. Timeouts come late by at most two
ticks (one to the end of the bucket, one to the next turn of the wheel), never early.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from math import inf

TICK_S = 0.02
"""Resolution of every timeout, in seconds."""


class Wheel:
    """Buckets of timers by tick; the loop wakes up only while something is armed.

    Args:
        loop: the event loop, whose clock counts.
    """

    __slots__ = ("_buckets", "_handle", "_last", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._buckets: dict[int, set[Timer]] = {}
        self._handle: asyncio.TimerHandle | None = None
        self._last = 0

    def add(self, timer: Timer, deadline: float) -> None:
        """Look at `timer` when `deadline` (of the loop's clock, in seconds) has come."""
        tick = int(deadline / TICK_S) + 1
        if self._handle is None:
            self._last = int(self._loop.time() / TICK_S)
            self._handle = self._loop.call_later(TICK_S, self._turn)
        tick = max(tick, self._last + 1)
        timer.tick = tick
        timer.armed = tick * TICK_S
        bucket = self._buckets.get(tick)
        if bucket is None:
            self._buckets[tick] = {timer}
        else:
            bucket.add(timer)

    def remove(self, timer: Timer) -> None:
        """Forget `timer`."""
        bucket = self._buckets.get(timer.tick)
        if bucket is not None:
            bucket.discard(timer)
            if not bucket:
                del self._buckets[timer.tick]

    def close(self) -> None:
        """Forget everything."""
        self._buckets.clear()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _turn(self) -> None:
        now = self._loop.time()
        first, self._last = self._last + 1, int(now / TICK_S)
        buckets = self._buckets
        if self._last - first > len(buckets):  # the loop stood still for long: look at what there is
            due = sorted(tick for tick in buckets if tick <= self._last)
        else:
            due = [tick for tick in range(first, self._last + 1) if tick in buckets]
        self._handle = None
        for tick in due:
            for timer in buckets.pop(tick):
                timer.look(now)
        if buckets and self._handle is None:
            self._handle = self._loop.call_later(TICK_S, self._turn)


class Timer:
    """A timeout that is moved often and rarely comes.

    Args:
        wheel: where it is armed.
        on_timeout: called when the time has come; the timer is then unset.
    """

    __slots__ = ("_on_timeout", "_wheel", "armed", "deadline", "tick")

    def __init__(self, wheel: Wheel, on_timeout: Callable[[], None]) -> None:
        self._wheel = wheel
        self._on_timeout = on_timeout
        self.deadline = inf
        self.armed = inf
        self.tick = 0

    def set(self, deadline: float) -> None:
        """Fire at `deadline` of the loop's clock, in seconds, instead of at any earlier setting."""
        self.deadline = deadline
        if deadline >= self.armed:
            return
        if self.tick:
            self._wheel.remove(self)
        self._wheel.add(self, deadline)

    def unset(self) -> None:
        """Never fire, until it is set again. As cheap as setting: the wheel looks and lets it be."""
        self.deadline = inf

    def close(self) -> None:
        """Take it off the wheel."""
        self.deadline = inf
        if self.tick:
            self._wheel.remove(self)
            self.tick = 0
            self.armed = inf

    def retire(self) -> None:
        """Take it off the wheel for good, and let go of whoever owns it."""
        self.close()
        self._on_timeout = _tell_nobody

    def look(self, now: float) -> None:
        """Called by the wheel: fire, arm again, or rest."""
        self.tick = 0
        self.armed = inf
        if self.deadline <= now:
            self.deadline = inf
            self._on_timeout()
        elif self.deadline != inf:
            self._wheel.add(self, self.deadline)


def _tell_nobody() -> None:
    pass
