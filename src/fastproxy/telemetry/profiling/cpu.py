"""CPU time by stack: each sample is charged with the time that has gone since the one before."""

from __future__ import annotations

import signal
import time
from types import FrameType

from fastproxy.telemetry.profiling.profile import Profile, ValueType
from fastproxy.telemetry.profiling.stacks import StackCounts
from fastproxy.telemetry.profiling.ticks import Ticks

INTERVAL_S = 0.01
"""Of CPU time, as Go's profiles have it. Kernels that count time in ticks of 4 ms make it 12."""

_OTHER_THREADS = ("(other threads)",)
_WORTH_NS = 1_000_000
"""Less is what the two clocks differ by."""


class CpuProfiler:
    """Where this process spends CPU time; must be used in its main thread.

    Time of other threads is told as a whole: a signal interrupts the main one only.
    """

    __slots__ = ("_counts", "_main_ns", "_process_ns", "_started_ns", "_started_unix_ns", "_ticks")

    def __init__(self) -> None:
        self._ticks = Ticks(signal.ITIMER_PROF, signal.SIGPROF, time.process_time)

    def start(self) -> None:
        """Begin."""
        self._counts = StackCounts(2)
        self._started_unix_ns = time.time_ns()
        self._started_ns = time.monotonic_ns()
        self._main_ns = time.thread_time_ns()
        self._process_ns = time.process_time_ns()
        self._ticks.start(INTERVAL_S, self._on_tick)

    def stop(self) -> Profile:
        """End, and return what was seen."""
        self._ticks.stop(self._on_tick)
        duration_ns = time.monotonic_ns() - self._started_ns
        frames, samples = self._counts.resolve()
        del self._counts
        cpu = ValueType("cpu", "nanoseconds")
        return Profile(
            types=[ValueType("samples", "count"), cpu],
            shown=1,
            period_type=cpu,
            period=int(INTERVAL_S * 1e9),
            started_unix_ns=self._started_unix_ns,
            duration_ns=duration_ns,
            frames=frames,
            samples=samples,
        )

    def _on_tick(self, frame: FrameType | None, due_s: float, now_s: float) -> None:
        main_ns, process_ns = time.thread_time_ns(), time.process_time_ns()
        in_main_ns = main_ns - self._main_ns
        elsewhere_ns = process_ns - self._process_ns - in_main_ns
        self._main_ns, self._process_ns = main_ns, process_ns
        self._counts.add(self._counts.of_frame(frame), 1, in_main_ns)
        if elsewhere_ns > _WORTH_NS:
            self._counts.add(_OTHER_THREADS, 1, elsewhere_ns)
