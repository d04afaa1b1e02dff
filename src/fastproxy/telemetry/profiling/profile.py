"""A profile: how much of what was seen at which stack.

Knows nothing of how it was taken, or of the formats that it is shown in.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct


class ValueType(NamedTuple):
    """What a number counts, and in what, e.g. ("cpu", "nanoseconds")."""

    what: str
    unit: str


class Frame(NamedTuple):
    """A place in the code.

    function: module and qualified name, or words between parentheses for what is no function.
    line: where it was; first_line: where the function begins. 0 for what is no function.
    """

    function: str
    file: str = ""
    line: int = 0
    first_line: int = 0


class Sample(NamedTuple):
    """What was seen at one stack.

    stack: places in the profile's `frames`, the innermost first. values: one for each of its types.
    worker: in which process of several it was seen, "" where there is only one.
    """

    stack: list[int]
    values: list[int]
    worker: str = ""


class Profile(Struct):
    """What was seen in some time.

    types: what the samples' values are. shown: place of the one that is shown first.
    period, period_type: how often was looked. started_unix_ns, duration_ns: when, and how long.
    comments: what a reader should know.
    """

    types: list[ValueType]
    shown: int
    period_type: ValueType
    period: int
    started_unix_ns: int
    duration_ns: int
    frames: list[Frame]
    samples: list[Sample]
    comments: list[str] = []
