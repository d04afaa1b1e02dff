"""What the kernel is asked for per request, counted by strace on running proxies under a fixed load.

16 callers on connections of their own each make a request, and the next one when all have their answers.
How many requests a proxy finds in one turn of its loop depends on who gets the processor when. So nothing
here depends on that number: over http and compat each request is read and written at either edge, whatever
the turns; over a link the plain edge pays by the request, and the link by the turn. So does the access log.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.budgets.pairs import TRANSPORTS, call_all, callers, running
from tests.e2e.proxies import ProxyProcess

CALLERS, ROUNDS = 16, 125
REQUESTS = CALLERS * ROUNDS
READS = {"read", "readv", "recvfrom", "recvmsg"}
WRITES = {"write", "writev", "sendto", "sendmsg"}
WAITS = {"epoll_wait", "epoll_pwait", "epoll_pwait2"}
LOG_WRITES = {"pwritev2"}
"""How the access log is written; nothing else is written like that."""
SIDE_CALLS = 200
"""What else a proxy does in that time: timers, the look at certificates, memory."""
HANDOVERS = {"futex"}
"""How threads give way to each other. The look at certificates has one of its own, and how often it takes
turns with the loop depends on the machine; a request that went through a thread would need some each time."""


class Counted(dict[str, int]):
    """System calls by name."""

    def of(self, names: set[str]) -> int:
        """How many there were of these."""
        return sum(count for name, count in self.items() if name in names)


@contextmanager
def traced(proxy: ProxyProcess, file: Path) -> Iterator[Counted]:
    """Count the system calls of a proxy's worker; they are there at the end."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.fail("strace is missing; install the Debian package strace")
    counted = Counted()
    tracer = subprocess.Popen(
        [strace, "-f", "-c", "-o", str(file), "-p", str(proxy.worker)], stderr=subprocess.PIPE, text=True
    )
    try:
        assert tracer.stderr is not None
        said = tracer.stderr.readline()
        assert "attached" in said, said
        yield counted
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.communicate()
    for line in file.read_text().splitlines():
        columns = line.split()  # % time, seconds, µs/call, calls, errors if there are any, name
        if len(columns) >= 5 and columns[3].isdigit() and columns[-1] != "total":
            counted[columns[-1]] = int(columns[3])


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_request_asks_the_kernel_for_no_more_than_it_must(transport: str, tmp_path: Path) -> None:
    with running(tmp_path, transport) as pair, callers(pair, CALLERS) as clients:
        call_all(clients, 3)  # connections are made, everything is loaded that will be
        with (
            traced(pair.out, tmp_path / "out.strace") as out,
            traced(pair.inner, tmp_path / "in.strace") as inner,
        ):
            call_all(clients, ROUNDS)
    for counted in (out, inner):
        waits = counted.of(WAITS)
        assert waits <= 2 * REQUESTS + SIDE_CALLS, counted
        sealed_edge = waits if transport == "link" else REQUESTS
        for moves in (counted.of(READS), counted.of(WRITES)):
            assert moves >= REQUESTS, "nothing was counted"
            assert moves <= REQUESTS + sealed_edge + SIDE_CALLS, counted
        check_rest(counted, READS | WRITES | WAITS)


@pytest.mark.parametrize("transport", ["link", "http"])
def test_an_access_log_adds_one_write_for_a_turn_of_the_loop(transport: str, tmp_path: Path) -> None:
    if not takes_writes_that_do_not_wait():
        pytest.skip("this kernel polls before each write of the log: Linux before 6.4")
    with running(tmp_path, transport, access="on") as pair, callers(pair, CALLERS) as clients:
        call_all(clients, 3)
        with (
            traced(pair.out, tmp_path / "out.strace") as out,
            traced(pair.inner, tmp_path / "in.strace") as inner,
        ):
            call_all(clients, ROUNDS)
    for counted in (out, inner):
        waits = counted.of(WAITS)
        assert 0 < counted.of(LOG_WRITES) <= waits, counted
        sealed_edge = waits if transport == "link" else REQUESTS
        assert counted.of(WRITES) <= REQUESTS + sealed_edge + SIDE_CALLS, counted
        check_rest(counted, READS | WRITES | WAITS | LOG_WRITES)
    for proxy in pair:  # which are through by now
        assert len(proxy.access.lines) == REQUESTS + 3 * CALLERS


def check_rest(counted: Counted, expected: set[str]) -> None:
    """Check that next to nothing but what is expected was called, however many requests there were."""
    assert counted.of(HANDOVERS) <= REQUESTS / 2, counted
    assert sum(counted.values()) - counted.of(expected | HANDOVERS) <= SIDE_CALLS, counted


def takes_writes_that_do_not_wait() -> bool:
    """Whether the kernel can be asked to write what goes into a pipe at once, and no more."""
    reading, writing = os.pipe()
    try:
        return os.pwritev(writing, [b"x"], -1, os.RWF_NOWAIT) == 1
    except OSError:
        return False
    finally:
        os.close(reading)
        os.close(writing)
