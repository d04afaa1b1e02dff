"""Before one program replaces another: the new one tries itself, beside the former one.

The former one starts `python -P -m fastproxy.supervisor FILE --try`. The new one imports all that it needs,
loads the config with its own code, has a worker of its own start with it that listens nowhere, ends that
again and exits with 0. It leaves the config that it has loaded: what was tried is what runs.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from fastproxy.config.snapshot import Snapshot
from fastproxy.control import board, handover, ledger
from fastproxy.control.board import Board
from fastproxy.control.messages import Begin
from fastproxy.supervisor.crew import START_LIMIT_S
from fastproxy.supervisor.door import RefusedError
from fastproxy.supervisor.errands import ErrandError, Errands
from fastproxy.supervisor.process import WorkerError, started

_LIMIT_S = 2 * START_LIMIT_S
"""How long it may take: a worker's start, and what comes before it."""
_WORDS = 4000
"""How many characters are told of what a new program says; the end matters, as of a traceback."""


async def tried_by(python: str, file: Path, errands: Errands) -> int:
    """Have a new program try itself; return memory with the config as that has loaded it.

    Args:
        python: the interpreter that has it. file: the config. errands: runs it.

    Raises:
        RefusedError: it wouldn't start; the message has its own words.
    """
    command = [python, "-P", "-m", "fastproxy.supervisor", str(file), "--try"]
    try:
        content = await errands.run(command, b"", _LIMIT_S)
    except ErrandError as error:
        words = (error.complaints or str(error))[-_WORDS:].strip()
        raise RefusedError(f"{python}: the new program doesn't start: {words}") from error
    if not content:
        raise RefusedError(f"{python} has no fastproxy that can take over")
    return handover.keep(content)


async def rehearse(snapshot: Snapshot) -> None:
    """In the new program: try whether a worker starts with a config; leave that in standard output.

    Raises:
        WorkerError: it doesn't start.
    """
    loop = asyncio.get_running_loop()
    board_fd, shared = board.make(), ledger.ledger_for(snapshot)
    begin = Begin(
        slot=0, place=0, snapshot=handover.put(snapshot), board=board_fd, ledger=shared.fd, workers=1,
        listeners=(), inboxes=(), giving=(), is_first=False,
    )  # fmt: skip
    worker = started(begin, Board(board_fd).slot(0), loop)

    def reap() -> None:
        with suppress(ChildProcessError):
            pid, status = os.waitpid(worker.pid, os.WNOHANG)
            if pid:
                worker.reaped(os.waitstatus_to_exitcode(status))

    loop.add_signal_handler(signal.SIGCHLD, reap)
    reap()  # it may have ended before
    try:
        await worker.begin()
        worker.drain(is_last=False)
        status = await asyncio.shield(worker.ended)
    except BaseException:
        worker.kill()
        raise
    if status:
        raise WorkerError(f"a worker starts, but doesn't end well: exit code {status}")
    fd = sys.stdout.fileno()
    # Whatever was printed there at the start is no config; and a terminal or a pipe, which can't be emptied,
    # gets no private keys.
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    handover.write(fd, snapshot)
