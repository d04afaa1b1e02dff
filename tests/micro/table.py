"""The figures as a table in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.micro.counting import Count

_HEAD = "| operation | time | ± | bytecodes | blocks | bytes |\n| --- | ---: | ---: | ---: | ---: | ---: |\n"


@dataclass(frozen=True, slots=True)
class Row:
    """What one operation costs.

    median_s: of all values of all processes. deviation_s: how far from it they are, in the median.
    """

    name: str
    median_s: float
    deviation_s: float
    count: Count


def table(rows: Iterable[Row]) -> str:
    """Return a table, a line for each."""
    return _HEAD + "".join(_line(row) for row in rows)


def _line(row: Row) -> str:
    count = row.count
    spread = f"{100 * row.deviation_s / row.median_s:.0f} %"
    return (
        f"| {row.name} | {duration(row.median_s)} | {spread} | {count.bytecodes:,.0f} "
        f"| {count.blocks:,.1f} | {count.size_bytes:,.0f} |\n"
    )


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it, with three digits or so."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds < 100 * size else f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"
