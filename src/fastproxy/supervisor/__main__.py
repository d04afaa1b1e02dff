"""`python -m fastproxy.supervisor FILE`: the process that owns a proxy; `fastproxy run` becomes it.

A program of its own, so that what runs for as long as the proxy carries nothing of the command line.
"""

from __future__ import annotations

import asyncio
import resource
import sys
from functools import partial

from fastproxy.config.problem import ConfigError
from fastproxy.config.snapshot import Snapshot
from fastproxy.net.listener import StartError
from fastproxy.supervisor.reading import read_apart
from fastproxy.supervisor.supervisor import Supervisor
from fastproxy.telemetry import log


async def _run(snapshot: Snapshot, file: str) -> None:
    await Supervisor(snapshot, partial(read_apart, file), asyncio.get_running_loop()).run()


def _raise_descriptor_limit() -> None:
    """Use all descriptors that the system grants: each connection takes one, and the usual 1024 are meant for
    programs that use select(2). Workers inherit it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(file: str) -> int:
    """Run the proxy that a file describes; return the exit code that `fastproxy run` promises."""
    try:
        return _main(file)
    except StartError as error:
        sys.stderr.write(f"fastproxy: {error}\n")
    except OSError as error:  # of the system's limits, before anything is carried
        sys.stderr.write(f"fastproxy: can't start: {error}; raise the limit that this says is reached\n")
    return 1


def _main(file: str) -> int:
    try:
        snapshot = read_apart(file)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return 2
    log.setup(snapshot.config.log.level, snapshot.config.log.format)
    for warning in (*snapshot.warnings, *snapshot.lapsed):
        sys.stderr.write(f"{warning}\n")
    _raise_descriptor_limit()
    asyncio.run(_run(snapshot, file))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
