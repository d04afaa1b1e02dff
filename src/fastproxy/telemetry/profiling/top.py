"""The functions with the largest share of a profile."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from fastproxy.telemetry.profiling.profile import Profile

_SCALES = {
    "nanoseconds": ((1e9, "s"), (1e6, "ms"), (1e3, "µs")),
    "bytes": ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")),
}


class Row(NamedTuple):
    """A function: what was seen of itself, and with all that it calls, each stack counted once."""

    function: str
    own: int
    whole: int


def top(profile: Profile, most: int) -> list[Row]:
    """Return the functions in which most was seen, by the values that are shown first."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for sample in profile.samples:
        value = sample.values[profile.shown]
        names = [profile.frames[place].function for place in sample.stack]
        own[names[0]] += value
        for name in set(names):
            whole[name] += value
    return [Row(name, value, whole[name]) for name, value in own.most_common(most) if value]


def amount(value: int, unit: str) -> str:
    """Return a value in words, e.g. "1.50 ms"."""
    for size, name in _SCALES.get(unit, ()):
        if value >= size:
            return f"{value / size:.2f} {name}"
    return f"{value}"
