"""The processes of a run: started on loopback, awaited until they answer, and ended whatever happens.

Each runs in a process group of its own, so that its workers end with it, and so that the terminal's Ctrl-C
reaches only the comparison, which then ends them in order.
"""

from __future__ import annotations

import http.client
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from fastproxy.bench.configs import ANSWER, CALLER_PATH

START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0
POLL_S = 0.05
LOG_TAIL_BYTES = 2000


IN_USE = "address already in use"
"""What every program says, in some case, when it finds its port taken."""


class StartError(Exception):
    """A process ended or didn't answer in time; the message ends with the last lines of its log."""


class PortTakenError(StartError):
    """A process ended because another program had taken its port meanwhile: others may be free."""


def pick_ports(count: int) -> list[int]:
    """Return TCP ports of the loopback interface that the system says are free.

    All are held open until the last is picked, so that they differ. Between here and the start of the
    process another program can take one: then the start ends with `PortTakenError`.
    """
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]


class Process:
    """One running program with its children.

    Args:
        command: program and arguments.
        log: file that takes its output; created.
    """

    __slots__ = ("_log", "_popen", "pid")

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        self.pid = self._popen.pid

    def is_running(self) -> bool:
        """Return whether the program itself still runs.

        It is not reaped here: as long as it is a zombie its id, and that of its group, can't go to another.
        """
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def log_tail(self) -> str:
        """Return the end of what it has written."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()

    def stop(self) -> None:
        """End the program and all of its group: politely, after `STOP_LIMIT_S` for good. Call it once."""
        os.killpg(self.pid, signal.SIGTERM)
        give_up_at = time.monotonic() + STOP_LIMIT_S
        while self.is_running() and time.monotonic() < give_up_at:
            time.sleep(POLL_S)
        # Also when it ended by itself: a worker may have outlived it.
        os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()


class Fleet:
    """All processes of a run; leaving the `with` block ends them, newest first."""

    __slots__ = ("_processes",)

    def __init__(self) -> None:
        self._processes: list[Process] = []
        # What is started inherits it: thousands of connections need more than most users begin with.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

    def start(self, command: list[str], log: Path) -> Process:
        """Start a program that ends with the fleet."""
        process = Process(command, log)
        self._processes.append(process)
        return process

    def end(self, processes: Iterable[Process]) -> None:
        """End some of them before the rest."""
        for process in processes:
            self._processes.remove(process)
            process.stop()

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A second Ctrl-C must not interrupt the clearing up after the first.
        former = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._processes:
                self._processes.pop().stop()
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)


def await_answer(port: int, processes: list[Process], limit_s: float = START_LIMIT_S) -> None:
    """Wait until a POST to the port brings the service's answer, through all the processes on its way.

    Raises:
        PortTakenError: one of them ended since its port was taken.
        StartError: one of them ended, or there was no right answer within the limit.
    """
    give_up_at = time.monotonic() + limit_s
    while True:
        for process in processes:
            if not process.is_running():
                tail = process.log_tail()
                kind = PortTakenError if IN_USE in tail.lower() else StartError
                raise kind(f"a process ended at its start: {tail}")
        answer = _ask(port)
        if answer is None:
            return
        if time.monotonic() > give_up_at:
            tails = "\n".join(process.log_tail() for process in processes)
            raise StartError(f"no right answer within {limit_s:.0f} s, at last: {answer}\n{tails}")
        time.sleep(POLL_S)


def _ask(port: int) -> str | None:
    """Send one request; return None when the answer is right, and what was wrong otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2.0)
    try:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        connection.request("POST", CALLER_PATH, body=b"param=hello", headers=form)
        response = connection.getresponse()
        content = response.read(64 * 1024)
    except (OSError, http.client.HTTPException) as exc:
        return f"{type(exc).__name__}: {exc}"
    finally:
        connection.close()
    if response.status == 200 and content == ANSWER:
        return None
    return f"status {response.status}, {content[:300]!r}"
