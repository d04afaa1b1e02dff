"""`python -m fastproxy.app FILE`: the process that a proxy runs in; `fastproxy run` becomes it.

A program of its own, so that what serves carries nothing of the command line (1.6 MiB of its libraries).
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from fastproxy.app.running import serve
from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError
from fastproxy.net.listener import StartError
from fastproxy.policy.pattern import parse_pattern
from fastproxy.telemetry import log


def main(file: str) -> int:
    """Run the proxy that a file describes; return the exit code that `fastproxy run` promises."""
    try:
        snapshot = load(file, check_pattern=parse_pattern)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return 2
    log.setup(snapshot.config.log.level, snapshot.config.log.format)
    for warning in (*snapshot.warnings, *snapshot.lapsed):
        sys.stderr.write(f"{warning}\n")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(snapshot))
    except StartError as error:
        sys.stderr.write(f"fastproxy: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
