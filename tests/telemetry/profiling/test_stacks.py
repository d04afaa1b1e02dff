"""Stacks: their names and lines, and that neither depth nor number grows without bound."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

from fastproxy.net.drive import Drive, Waiter
from fastproxy.telemetry.profiling.stacks import DEPTH, DISTINCT, Stack, StackCounts


def deep(counts: StackCounts, levels: int) -> Stack:
    if levels:
        return deep(counts, levels - 1)
    return counts.of_frame(sys._getframe(), "(root)")


def test_a_stack_has_functions_files_lines_and_its_root() -> None:
    counts = StackCounts(1)
    counts.add(deep(counts, 1), 7)
    counts.add(deep(counts, 1), 8)
    frames, samples = counts.resolve()
    inner, outer, caller = (frames[place] for sample in samples[:1] for place in sample.stack[:3])
    assert [sample.values for sample in samples] == [[7], [8]]  # called from two lines
    assert inner.function == outer.function == f"{__name__}.deep"
    first = deep.__code__.co_firstlineno
    assert (inner.line, outer.line, inner.first_line) == (first + 3, first + 2, first)
    assert caller.function.endswith("test_a_stack_has_functions_files_lines_and_its_root")
    assert frames[samples[0].stack[-1]].function == "(root)"
    assert inner.file == __file__


def test_deep_stacks_are_cut_at_their_root() -> None:
    counts = StackCounts(1)
    stack = deep(counts, 2 * DEPTH)
    counts.add(stack, 1)
    frames, samples = counts.resolve()
    names = [frames[place].function for place in samples[0].stack]
    assert names == [f"{__name__}.deep"] * DEPTH + ["(deeper than is kept)", "(root)"]


def test_stacks_beyond_a_number_are_counted_as_one() -> None:
    counts = StackCounts(1)
    for number in range(DISTINCT + 10):
        counts.add((f"({number})",), 1)
    counts.add(("(0)",), 5)
    frames, samples = counts.resolve()
    seen = {frames[sample.stack[0]].function: sample.values[0] for sample in samples}
    assert len(seen) == DISTINCT + 1
    assert (seen["(further stacks)"], seen["(0)"]) == (10, 6)


async def outer(inner: Coroutine[Any, Any, None]) -> None:
    await inner


async def inner(waiter: Waiter[None]) -> None:
    await waiter


def test_a_coroutine_that_waits_has_a_stack_and_one_that_ended_has_none() -> None:
    waiter: Waiter[None] = Waiter()
    coroutine = outer(inner(waiter))
    Drive(lambda error: None).start(coroutine)
    counts = StackCounts(1)
    stack = counts.of_coroutine(coroutine, "(exchange)")
    assert stack is not None
    counts.add(stack, 1)
    frames, samples = counts.resolve()
    names = [frames[place].function.rpartition(".")[2] for place in samples[0].stack]
    assert names == ["__await__", "inner", "outer", "(exchange)"]
    waiter.set(None)
    assert counts.of_coroutine(coroutine) is None


def test_a_coroutine_that_runs_has_no_stack_of_its_own() -> None:
    counts = StackCounts(1)

    async def main() -> None:
        task = asyncio.current_task()
        assert task is not None
        assert counts.of_coroutine(task.get_coro()) is None  # type: ignore[arg-type]

    asyncio.run(main())
