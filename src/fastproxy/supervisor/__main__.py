"""`python -m fastproxy.supervisor FILE …`: the process that owns a proxy; `fastproxy run` becomes it.

A program of its own, so that what runs for as long as the proxy carries nothing of the command line. What
stands behind FILE is written by `cli/run.py`, which knows what people may write; and in an upgrade by the
program that runs, which starts the one that is to take over with `--try` beside itself, and then with
`--take-over=DESCRIPTOR` in its own place (`rehearsal`, `legacy`).
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
from fastproxy.supervisor.legacy import Legacy, LegacyError, take, tried
from fastproxy.supervisor.notify import Notifier
from fastproxy.supervisor.process import WorkerError
from fastproxy.supervisor.reading import read_apart
from fastproxy.supervisor.ready_file import ReadyFile
from fastproxy.supervisor.rehearsal import rehearse
from fastproxy.supervisor.signals import heed
from fastproxy.supervisor.supervisor import Supervisor
from fastproxy.supervisor.surroundings import Surroundings
from fastproxy.telemetry import log

_STANDARD_ERROR = 2


async def _run(snapshot: Snapshot, file: str, surroundings: Surroundings, legacy: Legacy | None) -> None:
    loop = asyncio.get_running_loop()
    try:
        await Supervisor(snapshot, partial(read_apart, file), surroundings, loop, legacy).run()
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
            command that is to run with the proxy, if any. In an upgrade also what is said above.
    """
    file = arguments[0]
    given, command = getopt(list(arguments[1:]), "", ["ready-file=", "ready-timeout=", "try", "take-over="])
    options = dict(given)
    if "--take-over" not in options:  # there, signals wait until there is a proxy for them
        heed(SIGNALLED + signal.SIGTERM if command else 0)
    try:
        return _main(file, options, command)
    except (StartError, WorkerError, LegacyError) as error:
        _say((f"fastproxy: {error}",))
    except OSError as error:  # of the system's limits, before anything is carried
        _say((f"fastproxy: can't start: {error}; raise the limit that this says is reached",))
    return 1


def _main(file: str, options: Mapping[str, str], command: Sequence[str]) -> int:
    legacy = take(int(options["--take-over"])) if "--take-over" in options else None
    try:
        snapshot = read_apart(file) if legacy is None else tried(legacy)
    except ConfigError as error:
        _say(error.problems)
        return 2
    log.setup(snapshot.config.log.level, snapshot.config.log.format)
    if "--try" in options:
        asyncio.run(rehearse(snapshot))
        return 0
    _say((*snapshot.warnings, *snapshot.lapsed))
    ready_file = ReadyFile(Path(options["--ready-file"])) if "--ready-file" in options else None
    if ready_file is not None and legacy is None:
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
    if legacy is not None and legacy.command_pid:
        surroundings.adopt(legacy.command_pid)
    _raise_descriptor_limit()
    asyncio.run(_run(snapshot, file, surroundings, legacy))
    return companion.exit_code if companion is not None else 0


def _say(lines: Iterable[object]) -> None:
    """Write lines to standard error; a disk that is full there must not keep a proxy from starting."""
    with contextlib.suppress(OSError):
        for line in lines:
            os.write(_STANDARD_ERROR, f"{line}\n".encode(errors="backslashreplace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
