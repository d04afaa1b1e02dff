"""What is measured: steps that are repeated, some of which count and some of which only have to happen.

To look at one proxy of a pair, the other one has to do its part in between: its steps don't count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

Step = Callable[[], object]


def _nothing_to_end() -> None:
    """Most work holds nothing but memory."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something that can be done again and again.

    steps: what happens, in order, each with whether it counts; functions written in Python, which can be
    traced. operations: done by all steps together. close: ends it.
    """

    steps: Sequence[tuple[Step, bool]]
    operations: int = 1
    close: Step = _nothing_to_end

    def do(self, times: int = 1) -> None:
        """Do it, measuring nothing."""
        for _ in range(times):
            for step, _ in self.steps:
                step()


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Work by name. name: parts between slashes, from the general to the special. prepare: makes the work."""

    name: str
    prepare: Callable[[], Work]


def single(step: Step, close: Step = _nothing_to_end) -> Work:
    """The work that is just this."""
    return Work([(step, True)], close=close)


def duration_s(work: Work, times: int) -> float:
    """Do it this many times; return the time that the steps which count took, in seconds."""
    if len(work.steps) == 1:  # a look at the clock for each time would cost as much as a small step
        step = work.steps[0][0]
        began_s = perf_counter()
        for _ in range(times):
            step()
        return perf_counter() - began_s
    elapsed_s = 0.0
    for _ in range(times):
        for step, counts in work.steps:
            if counts:
                began_s = perf_counter()
                step()
                elapsed_s += perf_counter() - began_s
            else:
                step()
    return elapsed_s
