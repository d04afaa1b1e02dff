"""`python -m fastproxy.supervisor FILE …`: the process that owns a proxy; `fastproxy run` becomes it.

A program of its own, so that what runs for as long as the proxy carries nothing of the command line. What
stands behind FILE is written by `cli/run.py`, which knows what people may write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from getopt import getopt
from pathlib import Path

from fastproxy.config.problem import ConfigError
from fastproxy.config.snapshot import Snapshot
from fastproxy.net.listener import StartError
from fastproxy.supervisor import activation
from fastproxy.supervisor.companion import SIGNALLED, Companion, variables_with_keys
from fastproxy.supervisor.notify import Notifier
from fastproxy.supervisor.reading import read_apart
from fastproxy.supervisor.ready_file import ReadyFile
from fastproxy.supervisor.signals import heed
from fastproxy.supervisor.supervisor import Supervisor
from fastproxy.supervisor.surroundings import Surroundings
from fastproxy.telemetry import log

_STANDARD_ERROR = 2


async def _run(snapshot: Snapshot, file: str, surroundings: Surroundings) -> None:
    loop = asyncio.get_running_loop()
    try:
        await Supervisor(snapshot, partial(read_apart, file), surroundings, loop).run()
    finally:
        surroundings.ended()


def _raise_descriptor_limit() -> None:
    """Use all descriptors that the system grants: each connection takes one, and the usual 1024 are meant for
    programs that use select(2). Workers inherit it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def main(arguments: Sequence[str]) -> int:
    """Run the proxy that a file describes; return the exit code that `fastproxy run` promises.

    Args:
        arguments: FILE, then `--ready-file=PATH` and `--ready-timeout=SECONDS`, if at all, then `--` and the
            command that is to run with the proxy, if any.
    """
    file = arguments[0]
    given, command = getopt(list(arguments[1:]), "", ["ready-file=", "ready-timeout="])
    heed(SIGNALLED + signal.SIGTERM if command else 0)
    try:
        return _main(file, dict(given), command)
    except StartError as error:
        _say((f"fastproxy: {error}",))
    except OSError as error:  # of the system's limits, before anything is carried
        _say((f"fastproxy: can't start: {error}; raise the limit that this says is reached",))
    return 1


def _main(file: str, options: Mapping[str, str], command: Sequence[str]) -> int:
    try:
        snapshot = read_apart(file)
    except ConfigError as error:
        _say(error.problems)
        return 2
    log.setup(snapshot.config.log.level, snapshot.config.log.format)
    _say((*snapshot.warnings, *snapshot.lapsed))
    ready_file = ReadyFile(Path(options["--ready-file"])) if "--ready-file" in options else None
    if ready_file is not None:
        ready_file.prepare()
    companion = None
    if command:
        companion = Companion(command, os.environ, variables_with_keys(os.environ, snapshot))
    surroundings = Surroundings(
        Notifier(os.environ, os.getpid()),
        activation.inherit(os.environ, os.getpid()),
        ready_file,
        companion,
        float(options.get("--ready-timeout", 0)),
    )
    _raise_descriptor_limit()
    asyncio.run(_run(snapshot, file, surroundings))
    return companion.exit_code if companion is not None else 0


def _say(lines: Iterable[object]) -> None:
    """Write lines to standard error; a disk that is full there must not keep a proxy from starting."""
    with contextlib.suppress(OSError):
        for line in lines:
            os.write(_STANDARD_ERROR, f"{line}\n".encode(errors="backslashreplace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
