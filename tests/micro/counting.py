"""What work costs by count, the same each time: bytecodes, and what is allocated, as seen between bytecodes.

The interpreter calls a trace function before every bytecode, which looks at how many blocks
(`sys.getallocatedblocks`) and bytes (`tracemalloc`) are in use; what has come since it looked last was
allocated. So each object counts that lives from one bytecode to the next, however short: like the allocs/op
of Go's benchmarks, and unlike a comparison of before and after. What C code allocates and frees within one
bytecode is not seen, nor what comes from the interpreter's free lists or from C libraries of their own.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from time import thread_time
from types import FrameType
from typing import Any

from tests.micro.work import Work

_OPERATIONS = 20
"""Over as many the counts are averaged: some things happen every few times only, like a list that grows."""
_LONG_S = 0.01
"""What takes longer, without being traced, is counted twice only: traced it takes a hundred times as long."""
_BIG = 1 << 20


@dataclass(frozen=True, slots=True)
class Count:
    """What one operation costs. blocks, size_bytes: allocated, whatever became of them afterwards."""

    bytecodes: float
    blocks: float
    size_bytes: float


def count_bytecodes(work: Work) -> float:
    """Count the bytecodes of an operation; it should have been done before, so that caches are filled."""
    times = _times(work)
    bytecodes, _ = _grown(work, times, lambda: 0, lambda frame: 0)
    return bytecodes / (times * work.operations)


def count(work: Work) -> Count:
    """Count what an operation costs; it should have been done before, so that caches are filled."""
    times = _times(work)
    bytecodes, blocks = _grown(work, times, sys.getallocatedblocks, lambda frame: 1)
    tracemalloc.start()
    try:
        _, size_bytes = _grown(work, times, lambda: tracemalloc.get_traced_memory()[0], sys.getsizeof)
    finally:
        tracemalloc.stop()
    operations = times * work.operations
    return Count(bytecodes / operations, blocks / operations, size_bytes / operations)


def _times(work: Work) -> int:
    """How often to do it for its counts."""
    began_s = thread_time()
    work.do()
    is_long = thread_time() - began_s > _LONG_S
    return 2 if is_long else max(2, _OPERATIONS // work.operations)


def _grown(
    work: Work, times: int, in_use: Callable[[], int], frame_size: Callable[[FrameType], int]
) -> tuple[int, int]:
    """Do the work; return how many bytecodes that took, and by how much `in_use` grew, whenever it did.

    frame_size: how much of it a frame object takes; there is one for each function only because of tracing.
    """
    # What the trace function holds must not change from one call to the next: so these numbers are too big
    # for the interpreter's cache from the start, each an object of its own, and it is no bound method.
    bytecodes = grown = before = _BIG

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal bytecodes, grown, before
        now = in_use()
        came = now - before
        before = now
        if event == "call":
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
            came -= frame_size(frame)
        elif event == "opcode":
            bytecodes += 1
        if came > 0:
            grown += came
        return trace

    gc.disable()  # it would come in between at times
    try:
        for _ in range(times):
            for step, counts in work.steps:
                if counts:
                    sys.settrace(trace)
                    before = 2 * in_use()  # what comes before the step's own code doesn't count
                    step()
                    sys.settrace(None)
                else:
                    step()
    finally:
        sys.settrace(None)
        gc.enable()
    return bytecodes - _BIG, grown - _BIG
