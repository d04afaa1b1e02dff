"""Wall clock by stack, waiting included: every thread, asyncio task and exchange is looked at in turn.

Each of them fills the whole time, so that the sum is their number times the duration. Of what waits, no more
than `AT_A_TIME` are looked at in one tick, others in the next; each then stands for its share.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from types import FrameType
from typing import Any

from fastproxy.telemetry.profiling.profile import Profile, ValueType
from fastproxy.telemetry.profiling.stacks import StackCounts
from fastproxy.telemetry.profiling.ticks import Ticks

INTERVAL_S = 0.02
AT_A_TIME = 32

Waiting = tuple[str, Coroutine[Any, Any, Any] | None]
"""Something that waits: a word for what it is and where it stands, and its coroutine, if it is one."""


class WallProfiler:
    """Where this process spends its time; must be used in the main thread, which runs the loop.

    Args:
        ticks: on the wall clock. loop: whose tasks are looked at.
        waiting: tells what waits beside threads and tasks.
    """

    __slots__ = (
        "_counts",
        "_last_s",
        "_loop",
        "_started_ns",
        "_started_unix_ns",
        "_ticks",
        "_turn",
        "_waiting",
    )

    def __init__(
        self, ticks: Ticks, loop: asyncio.AbstractEventLoop, waiting: Callable[[], Iterable[Waiting]]
    ) -> None:
        self._ticks = ticks
        self._loop = loop
        self._waiting = waiting
        self._turn = 0

    def start(self) -> None:
        """Begin."""
        self._counts = StackCounts(2)
        self._started_unix_ns = time.time_ns()
        self._started_ns = time.monotonic_ns()
        self._last_s = time.monotonic()
        self._ticks.start(INTERVAL_S, self._on_tick)

    def stop(self) -> Profile:
        """End, and return what was seen."""
        self._ticks.stop(self._on_tick)
        duration_ns = time.monotonic_ns() - self._started_ns
        frames, samples = self._counts.resolve()
        del self._counts
        wall = ValueType("time", "nanoseconds")
        return Profile(
            types=[ValueType("samples", "count"), wall],
            shown=1,
            period_type=wall,
            period=int(INTERVAL_S * 1e9),
            started_unix_ns=self._started_unix_ns,
            duration_ns=duration_ns,
            frames=frames,
            samples=samples,
        )

    def _on_tick(self, frame: FrameType | None, due_s: float, now_s: float) -> None:
        elapsed_ns = int((now_s - self._last_s) * 1e9)
        self._last_s = now_s
        counts, main = self._counts, threading.main_thread()
        counts.add(counts.of_frame(frame, f"(thread {main.name})"), 1, elapsed_ns)
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, top in sys._current_frames().items():
            if ident != main.ident:
                counts.add(counts.of_frame(top, f"(thread {names.get(ident, '?')})"), 1, elapsed_ns)
        waiting = self._all_waiting()
        stride = -(-len(waiting) // AT_A_TIME) or 1
        self._turn += 1
        for what, coroutine in waiting[self._turn % stride :: stride]:
            root = f"({what})"
            stack = counts.of_coroutine(coroutine, root) if coroutine is not None else (root,)
            if stack is not None:
                counts.add(stack, stride, stride * elapsed_ns)

    def _all_waiting(self) -> list[Waiting]:
        tasks = ((task.get_coro(), task.get_name()) for task in asyncio.all_tasks(self._loop))
        found: list[Waiting] = [
            ("task", coroutine) for coroutine, _ in tasks if asyncio.iscoroutine(coroutine)
        ]
        found.extend(self._waiting())
        return found
