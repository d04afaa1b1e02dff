"""All microbenchmarks, by name."""

from __future__ import annotations

from tests.micro import parsing, requests, sealing, unlike
from tests.micro.work import Benchmark

ALL: tuple[Benchmark, ...] = (
    *requests.benchmarks(),
    *unlike.benchmarks(),
    *sealing.benchmarks(),
    *parsing.benchmarks(),
)


def named(beginnings: list[str]) -> list[Benchmark]:
    """Return those whose names begin with one of these; all for none.

    Raises:
        ValueError: a beginning that no name has.
    """
    for beginning in beginnings:
        if not any(benchmark.name.startswith(beginning) for benchmark in ALL):
            kinds = sorted({benchmark.name.split("/")[0] for benchmark in ALL})
            raise ValueError(f"no benchmark begins with {beginning!r}; they are of {', '.join(kinds)}")
    return [benchmark for benchmark in ALL if not beginnings or benchmark.name.startswith(tuple(beginnings))]
