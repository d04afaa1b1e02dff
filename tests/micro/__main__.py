"""`python -m tests.micro [NAME ...]`: measure, and print a table; `-o FILE` writes JSON as well.

Times come from pyperf: several processes for each benchmark, one after the other, several values in each.
Counts (`counting.py`) come after each, in this process: to count slows down what it counts.
"""

from __future__ import annotations

import argparse
import sys
from functools import cache
from math import ceil

import pyperf

from tests.micro.catalogue import named
from tests.micro.counting import count
from tests.micro.table import Row, table
from tests.micro.work import Benchmark, Work, duration_s

_PROCESSES, _VALUES, _VALUE_S = 2, 5, 0.02
_COUNT_NAMES = ("bytecodes", "blocks", "size_bytes")


def main() -> None:
    """Run what the command line names; each process that pyperf starts comes here too, for its part."""
    runner = pyperf.Runner(
        processes=_PROCESSES,
        values=_VALUES,
        min_time=_VALUE_S,
        program_args=("-m", "tests.micro"),
        add_cmdline_args=_pass_names_on,
    )
    runner.argparser.set_defaults(quiet=True)  # a line for each benchmark is enough
    runner.argparser.add_argument("names", nargs="*", help="what the names of benchmarks begin with")
    args = runner.parse_args()
    try:
        chosen = named(args.names)
    except ValueError as error:
        sys.exit(str(error))
    results: list[pyperf.Benchmark] = []
    rows: list[Row] = []
    for benchmark in chosen:
        result = _time(runner, benchmark)
        if result is not None and not args.worker:
            rows.append(_row(benchmark, result))
            results.append(result)
    if args.worker:
        return
    if args.output:
        pyperf.BenchmarkSuite(results).dump(args.output, replace=True)
    print(f"\n{table(rows)}", end="")


def _pass_names_on(command: list[str], args: argparse.Namespace) -> None:
    command.extend(args.names)


def _time(runner: pyperf.Runner, benchmark: Benchmark) -> pyperf.Benchmark | None:
    """Time one; None in a process whose part is another."""
    prepared = cache(benchmark.prepare)  # only where it is measured, and once

    def take(operations: int) -> float:
        work: Work = prepared()
        times = ceil(operations / work.operations)
        return duration_s(work, times) * operations / (times * work.operations)

    return runner.bench_time_func(benchmark.name, take)


def _row(benchmark: Benchmark, result: pyperf.Benchmark) -> Row:
    """Count what the timed one allocates; the counts go into its JSON too."""
    work = benchmark.prepare()
    work.do(3)
    counted = count(work)
    work.close()
    result.update_metadata({name: round(getattr(counted, name), 2) for name in _COUNT_NAMES})
    return Row(benchmark.name, result.median(), result.median_abs_dev(), counted)


if __name__ == "__main__":
    main()
