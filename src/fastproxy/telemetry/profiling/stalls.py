"""Stalls of the event loop: for how long it didn't come round, and what held it up.

While the loop stands still, nobody is served. A timer of the loop beats every 10 ms; each beat puts the next
tick off until after the next beat, so that nothing is interrupted while all goes well. When a beat is late,
the ticks come, and each charges the time that has gone to the stack that it interrupts. A tick that itself
comes late, because C code gave no chance to run its handler, charges that time to the function that had
called the code. What the beat is late by in the end is the stall's length; less than `STALL_S` is an ordinary
turn.
"""

from __future__ import annotations

import asyncio
import time
from types import FrameType

from fastproxy.telemetry.profiling.profile import Profile, ValueType
from fastproxy.telemetry.profiling.stacks import Stack, StackCounts
from fastproxy.telemetry.profiling.ticks import Ticks

STALL_S = 0.02
_BEAT_S = 0.01
_GRACE_S = 0.005
"""How late a beat may be before ticks come."""
_INTERVAL_S = 0.005
_MOST_SHARES = 1000
"""Stacks that one stall is told of; it would have to last for five seconds."""


class StallProfiler:
    """What holds the loop up; must be used in the main thread, which runs the loop.

    Args:
        ticks: on the wall clock. loop: the one that is watched.
    """

    __slots__ = (
        "_beat_due_s", "_beat_timer", "_counts", "_last_s", "_loop", "_shares", "_started_ns",
        "_started_unix_ns", "_ticks",
    )  # fmt: skip

    def __init__(self, ticks: Ticks, loop: asyncio.AbstractEventLoop) -> None:
        self._ticks = ticks
        self._loop = loop

    def start(self) -> None:
        """Begin."""
        self._counts = StackCounts(2)
        self._started_unix_ns = time.time_ns()
        self._started_ns = time.monotonic_ns()
        self._ticks.start(_INTERVAL_S, self._on_tick)
        self._await_beat(time.monotonic())

    def stop(self) -> Profile:
        """End, and return what was seen."""
        self._ticks.stop(self._on_tick)
        self._beat_timer.cancel()
        duration_ns = time.monotonic_ns() - self._started_ns
        frames, samples = self._counts.resolve()
        del self._counts
        contentions = ValueType("contentions", "count")
        return Profile(
            types=[contentions, ValueType("delay", "nanoseconds")],
            shown=1,
            period_type=contentions,
            period=1,
            started_unix_ns=self._started_unix_ns,
            duration_ns=duration_ns,
            frames=frames,
            samples=samples,
        )

    def _await_beat(self, now_s: float) -> None:
        self._shares: dict[Stack, float] = {}
        self._beat_due_s = self._last_s = now_s + _BEAT_S
        self._ticks.postpone(self._on_tick, self._beat_due_s + _GRACE_S)
        self._beat_timer = self._loop.call_later(_BEAT_S, self._beat)

    def _beat(self) -> None:
        now_s = time.monotonic()
        counts = self._counts
        shares, self._shares = self._shares, {}  # a tick may come in between
        if shares and now_s - self._beat_due_s >= STALL_S:
            shares[next(reversed(shares))] += now_s - self._last_s
            longest = max(shares, key=lambda stack: shares[stack])
            for stack, share_s in shares.items():
                counts.add(stack, int(stack == longest), int(share_s * 1e9))
        self._await_beat(now_s)

    def _on_tick(self, frame: FrameType | None, due_s: float, now_s: float) -> None:
        stack = self._counts.of_frame(frame)
        if stack in self._shares or len(self._shares) < _MOST_SHARES:
            self._shares[stack] = self._shares.get(stack, 0.0) + now_s - self._last_s
        self._last_s = now_s
