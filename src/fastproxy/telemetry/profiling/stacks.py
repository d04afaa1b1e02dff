"""What was seen at which stack, kept as small and cheap as it gets while it is being counted.

A stack is a tuple of code objects' ids and places in them; names and line numbers are looked up once, at the
end. Stacks are cut at `DEPTH` frames, and those beyond `DISTINCT` are counted as one: what calls so deep, or
in so many ways, can't make a profile grow without bound.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Iterator
from itertools import chain, islice
from types import CodeType, CoroutineType, FrameType, GeneratorType
from typing import Any

from fastproxy.telemetry.profiling.profile import Frame, Sample

DEPTH = 128
DISTINCT = 20_000

Stack = tuple[int | str, ...]
"""Innermost first: the id of a code object and the instruction in it, or a word for what is no function."""

_DEEPER = "(deeper than is kept)"
_OTHERS: Stack = ("(further stacks)",)


class StackCounts:
    """Counts by stack.

    Args:
        width: how many numbers are counted for each.
    """

    __slots__ = ("_codes", "_counts", "_width")

    def __init__(self, width: int) -> None:
        self._codes: dict[int, CodeType] = {}
        self._counts: dict[Stack, list[int]] = {}
        self._width = width

    def of_frame(self, frame: FrameType | None, *roots: str) -> Stack:
        """Return the stack that a frame is the top of. roots: words for what stands below all functions."""
        stack: list[int | str] = []
        codes = self._codes
        while frame is not None:
            if len(stack) >= 2 * DEPTH:
                stack.append(_DEEPER)
                break
            code = frame.f_code
            codes[id(code)] = code  # kept, so that no other gets its id
            stack += (id(code), frame.f_lasti)
            frame = frame.f_back
        return (*stack, *roots)

    def of_coroutine(self, coroutine: Coroutine[Any, Any, Any], *roots: str) -> Stack | None:
        """Return the stack of a coroutine that waits; None for one that runs or has ended."""
        places: list[tuple[int, int]] = []
        waiting: object = coroutine
        while len(places) < DEPTH:
            if isinstance(waiting, CoroutineType):
                frame, is_running, waiting = waiting.cr_frame, waiting.cr_running, waiting.cr_await
            elif isinstance(waiting, GeneratorType):
                frame, is_running, waiting = waiting.gi_frame, waiting.gi_running, waiting.gi_yieldfrom
            else:  # what ends the chain: a future, a waiter
                break
            if frame is None or is_running:
                return None
            self._codes[id(frame.f_code)] = frame.f_code
            places.append((id(frame.f_code), frame.f_lasti))
        return (*chain.from_iterable(reversed(places)), *roots) if places else None

    def add(self, stack: Stack, *values: int) -> None:
        """Count."""
        counts = self._counts.get(stack)
        if counts is None:
            if len(self._counts) >= DISTINCT:
                stack = _OTHERS
            counts = self._counts.setdefault(stack, [0] * self._width)
        for place, value in enumerate(values):
            counts[place] += value

    def resolve(self) -> tuple[list[Frame], list[Sample]]:
        """Look names and lines up; return all frames, and the samples that refer to them."""
        modules = {
            file: name for name, module in list(sys.modules.items()) if (file := _file_of(module)) is not None
        }
        frames: dict[Frame, int] = {}
        places: dict[Stack, int] = {}  # of what was looked up already
        samples = []
        for stack, values in self._counts.items():
            found = []
            for entry in _entries(stack):
                if entry not in places:
                    places[entry] = frames.setdefault(self._frame(entry, modules), len(frames))
                found.append(places[entry])
            samples.append(Sample(found, values))
        return list(frames), samples

    def _frame(self, entry: Stack, modules: dict[str, str]) -> Frame:
        if isinstance(entry[0], str):
            return Frame(entry[0])
        code, instruction = self._codes[entry[0]], int(entry[1])
        file = code.co_filename
        module = modules.get(file) or _module(file)
        return Frame(f"{module}.{code.co_qualname}", file, _line(code, instruction), code.co_firstlineno)


def _entries(stack: Stack) -> Iterator[Stack]:
    """Part a stack into words, and codes with their instructions."""
    parts = iter(stack)
    for part in parts:
        yield (part,) if isinstance(part, str) else (part, next(parts))


def _module(file: str) -> str:
    """Return a name for code of no module that is loaded; the interpreter's own comes as `<frozen NAME>`."""
    name = file.rpartition("/")[2].removesuffix(".py")
    return name.strip("<>").removeprefix("frozen ")


def _file_of(module: object) -> str | None:
    file = getattr(module, "__file__", None)
    return file if isinstance(file, str) else None


def _line(code: CodeType, instruction: int) -> int:
    """Return the line of an instruction, by its offset in bytes; two make a code unit."""
    if instruction < 0:  # it has not begun
        return code.co_firstlineno
    positions = next(islice(code.co_positions(), instruction // 2, None), (None,))
    return positions[0] or code.co_firstlineno
