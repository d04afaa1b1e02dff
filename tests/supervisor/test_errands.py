"""Programs run for a supervisor: what they get and make, how they fail, and that none is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from fastproxy.supervisor.errands import ErrandError, Errands

TIMEOUT_S = 60.0


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def children() -> set[int]:
    """The processes that the main thread has started."""
    return set(map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()))


def run(main: Callable[[Errands], Coroutine[Any, Any, None]]) -> None:
    """Run with errands that are told who ends, as a supervisor tells them; all have ended then."""
    others = children()

    async def told() -> None:
        loop = asyncio.get_running_loop()
        errands = Errands(loop)
        all_ended = asyncio.Event()

        def reap() -> None:
            for pid in children() - others:
                found, status = os.waitpid(pid, os.WNOHANG)
                if found:
                    errands.reaped(pid, os.waitstatus_to_exitcode(status))
            if not children() - others:
                all_ended.set()

        loop.add_signal_handler(signal.SIGCHLD, reap)
        async with asyncio.timeout(TIMEOUT_S):
            await main(errands)
            all_ended.clear()
            if children() - others:
                await all_ended.wait()

    asyncio.run(told())


def test_a_program_gets_what_it_is_given_and_what_it_writes_comes_back() -> None:
    async def main(errands: Errands) -> None:
        command = python("import sys; sys.stdout.write(sys.stdin.read()[::-1])")
        given = [bytes((65 + number,)) * 2**20 + b"z" for number in range(3)]  # more than a pipe holds
        made = await asyncio.gather(*(errands.run(command, each, TIMEOUT_S) for each in given))
        assert made == [each[::-1] for each in given]

    run(main)


def test_what_it_complains_of_is_told() -> None:
    async def main(errands: Errands) -> None:
        with pytest.raises(ErrandError, match=r"^ValueError: no$"):
            await errands.run(python("print(1); raise ValueError('no')"), b"", TIMEOUT_S)
        with pytest.raises(ErrandError, match="status 3"):
            await errands.run(python("raise SystemExit(3)"), b"", TIMEOUT_S)
        with pytest.raises(ErrandError, match="no process can be started"):
            await errands.run(["/missing/program"], b"", TIMEOUT_S)

    run(main)


def test_without_a_descriptor_left_it_is_told() -> None:
    async def main(errands: Errands) -> None:
        _, most = before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))
        try:
            with pytest.raises(ErrandError, match="Too many open files"):
                await errands.run(python("print(1)"), b"", TIMEOUT_S)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    run(main)


def test_one_that_takes_too_long_is_ended() -> None:
    async def main(errands: Errands) -> None:
        with pytest.raises(ErrandError, match=r"not within 0\.01 s"):
            await errands.run(python("import signal; signal.pause()"), b"", 0.01)

    run(main)


def test_one_that_is_given_up_is_ended(tmp_path: Path) -> None:
    async def main(errands: Errands) -> None:
        fifo = tmp_path / "pipe"
        os.mkfifo(fifo)
        task = asyncio.create_task(errands.run(python(f"open({str(fifo)!r}).read()"), b"", TIMEOUT_S))
        writer = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)  # returns once it reads
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(write_until_nobody_reads, writer)
        os.close(writer)

    run(main)


def write_until_nobody_reads(fd: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        while True:
            os.write(fd, b"\0")


def test_those_of_others_are_let_go() -> None:
    async def main(errands: Errands) -> None:
        errands.reaped(os.getpid(), 0)
        assert await errands.run(python("print('on')"), b"", TIMEOUT_S) == b"on\n"

    run(main)
