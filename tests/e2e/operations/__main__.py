"""`python -m tests.e2e.operations [SCENARIO=COUNT …]`: operate proxies under load, and count what is lost.

Prints a line of JSON for each scenario; without arguments all of them, each as often as FULL says. Lines of
docs/operations.jsonl are replaced by hand; `--table` prints what docs/operations.md has to show of them.
Exit status 1 when something was lost.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.e2e.operations import figures
from tests.e2e.operations.scenarios import FULL, RATE_PER_S, SCENARIOS
from tests.e2e.operations.stage import Scale


def main() -> int:
    """Run what the command line names; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO=COUNT")
    parser.add_argument("--rate-per-s", type=float, default=RATE_PER_S)
    parser.add_argument("--seconds", type=float, default=3600, help="time limit of each scenario's load")
    parser.add_argument("--table", action="store_true", help="print the table of what was recorded")
    options = parser.parse_args()
    if options.table:
        print(figures.table(figures.record()), end="")
        return 0
    counts = FULL
    if options.scenarios:
        counts = {name: int(count) for name, _, count in (each.partition("=") for each in options.scenarios)}
    is_lossless = True
    for name, count in counts.items():
        with tempfile.TemporaryDirectory() as folder:
            scale = Scale(count, options.rate_per_s, options.seconds)
            row, unexplained = SCENARIOS[name](Path(folder), scale)
        print(figures.line(row), flush=True)
        for failure in unexplained[:5]:
            print(f"{name}: {failure}", file=sys.stderr)
        is_lossless &= not unexplained and not row.doubled and not row.missing
    return 0 if is_lossless else 1


if __name__ == "__main__":
    sys.exit(main())
