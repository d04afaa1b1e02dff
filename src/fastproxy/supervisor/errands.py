"""Programs that do one thing for the supervisor, and end: what they get, what they make, how they end.

What goes in and what comes out lies in memory that only the two have (memfd_create(2)), so that there is no
pipe to keep up with. Who ends is told here by whoever reaps (`Supervisor`): asyncio's own way of running
programs waits for them itself, and two can't wait for one process.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Sequence
from io import FileIO

from fastproxy.control.signals import held_back


class ErrandError(Exception):
    """A program couldn't do what it was to do; the message says why.

    complaints: all that it wrote to standard error.
    """

    def __init__(self, message: str, complaints: str = "") -> None:
        super().__init__(message)
        self.complaints = complaints


class Errands:
    """Runs programs.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._running: dict[int, tuple[subprocess.Popen[bytes], asyncio.Future[int]]] = {}

    async def run(self, command: Sequence[str], given: bytes, timeout_s: float) -> bytes:
        """Run a program; return what it writes to standard output. It is ended when the wait is cancelled.

        Args:
            given: what it reads from standard input. timeout_s: how long it may take.

        Raises:
            ErrandError: it can't be started, fails, or takes too long.
        """
        with _memory() as stdin, _memory() as stdout, _memory() as stderr:
            stdin.write(given)
            stdin.seek(0)
            try:
                with held_back():  # it ends by itself, or is ended here
                    popen = subprocess.Popen(  # noqa: ASYNC220, S603
                        command, stdin=stdin, stdout=stdout, stderr=stderr
                    )
            except OSError as error:
                raise ErrandError(f"no process can be started: {error.strerror}") from error
            ended: asyncio.Future[int] = self._loop.create_future()
            self._running[popen.pid] = popen, ended
            try:
                async with asyncio.timeout(timeout_s):
                    status = await asyncio.shield(ended)
            except TimeoutError as error:
                raise ErrandError(f"not within {timeout_s:g} s") from error
            finally:
                if not ended.done():
                    os.kill(popen.pid, signal.SIGKILL)
            if status:
                complaints = _written(stderr).decode(errors="replace")
                raise ErrandError(_last_line(complaints) or f"it ended with status {status}", complaints)
            return _written(stdout)

    def reaped(self, pid: int, status: int) -> None:
        """A process is gone, whosever it was, with this exit status (negative: the signal)."""
        if pid in self._running:
            popen, ended = self._running.pop(pid)
            popen.returncode = status
            ended.set_result(status)


def _memory() -> FileIO:
    try:
        return FileIO(os.memfd_create("fastproxy-errand", os.MFD_CLOEXEC), "r+")
    except OSError as error:  # no descriptor is left
        raise ErrandError(f"no process can be started: {error.strerror}") from error


def _written(file: FileIO) -> bytes:
    """Return all that is there; the program has moved the place that both read and write at."""
    file.seek(0)
    return file.readall()


def _last_line(complaints: str) -> str:
    return complaints.strip().rpartition("\n")[2]
