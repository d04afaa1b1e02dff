"""What processes spend CPU time on, by the kernel's sampling of them (`perf record -e cpu-clock`).

A sample in the kernel counts for the system call that led there, with all that it set off: a write over
loopback carries the bytes through the whole of TCP and wakes whoever waits for them. A sample outside counts
for the program or library that was running.
"""

from __future__ import annotations

import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from fastproxy.bench.load import LoadError
from fastproxy.bench.tools import PERF

SAMPLES_PER_S = 997  # in step with nothing else
FORBIDDEN = "perf can't sample here; as root, or with kernel.perf_event_paranoid=1, it can"
_STOP_LIMIT_S = 20.0
_READ_LIMIT_S = 60.0

SEND, RECEIVE, WAIT, OTHER_KERNEL = "send", "receive", "wait", "kernel"
PROGRAM, EVENT_LOOP, CIPHER, C_LIBRARY, OTHER = "program", "event_loop", "cipher", "c_library", "other"
COSTS = {
    SEND: "sending (kernel)",
    RECEIVE: "receiving (kernel)",
    WAIT: "waiting for events (kernel)",
    OTHER_KERNEL: "the rest of the kernel",
    PROGRAM: "the program (fastproxy: the interpreter)",
    EVENT_LOOP: "the event loop",
    CIPHER: "ciphers",
    C_LIBRARY: "memory and copying (C library)",
    OTHER: "other libraries",
}
"""What CPU time is spent on, and how that is called."""

_KERNEL = "[kernel.kallsyms]"
_CALLS = (
    (SEND, re.compile(r"(ksys|vfs|do)_p?writev?|__sys_send(to|msg)|sock_write_iter|tcp_sendmsg")),
    (RECEIVE, re.compile(r"(ksys|vfs|do)_p?readv?|__sys_recv(from|msg)|sock_read_iter|tcp_recvmsg")),
    (WAIT, re.compile(r"do_epoll_p?wait|ep_poll|do_sys_poll")),
)
_LIBRARIES = (
    (PROGRAM, re.compile(r"libpython[\d.]+\.so")),
    (EVENT_LOOP, re.compile(r"loop\.[\w-]*\.so$")),
    (CIPHER, re.compile(r"_rust[\w.-]*\.so$|lib(crypto|ssl)\.so")),
    (C_LIBRARY, re.compile(r"lib(c|m|pthread)\.so|lib(c|m|pthread)-[\d.]+\.so|ld-linux")),
)
_FRAME = re.compile(r"^\s+[0-9a-f]+ (\S+).* \((.*)\)$")


@contextmanager
def sampled(pids: Sequence[int], file: Path) -> Iterator[None]:
    """Sample processes meanwhile.

    Args:
        file: takes what is seen.

    Raises:
        ToolMissingError: perf isn't installed.
        LoadError: it can't sample here, or hung.
    """
    which = ",".join(map(str, pids))
    command = [str(PERF.find()), "record", "-e", "cpu-clock", "-F", str(SAMPLES_PER_S), "-g"]
    command += ["-p", which, "-o", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as perf:
        try:
            yield
        finally:
            perf.send_signal(
                signal.SIGINT
            )  # as if it were stopped at the keyboard, which it takes as its end
            try:
                said, _ = perf.communicate(timeout=_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                perf.kill()
                said, _ = perf.communicate()
    if not file.exists() or file.stat().st_size == 0:
        words = " ".join(said.decode(errors="replace").split())[-300:]
        raise LoadError(
            f"perf can't sample here; as root, or with kernel.perf_event_paranoid=1, it can: {words}"
        )


def shares(file: Path) -> dict[str, float]:
    """Return which share of the samples each of `COSTS` has; all together they are 1.

    Args:
        file: as `sampled` has left it.

    Raises:
        LoadError: it can't be read, or holds nothing.
    """
    command = [str(PERF.find()), "script", "-i", str(file), "-F", "ip,sym,dso"]
    try:
        shown = subprocess.run(command, capture_output=True, timeout=_READ_LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"perf took more than {_READ_LIMIT_S:.0f} s to read what it had seen") from error
    counts = Counter(map(cost_of, parse_stacks(shown.stdout.decode(errors="replace").splitlines())))
    if not counts:
        raise LoadError(f"perf has seen nothing: {shown.stderr.decode(errors='replace')[-300:]}")
    return {cost: counts[cost] / counts.total() for cost in COSTS}


def parse_stacks(lines: Iterable[str]) -> Iterator[list[tuple[str, str]]]:
    """Yield the stacks that `perf script` shows: symbols with where they are from, the innermost first."""
    stack: list[tuple[str, str]] = []
    for line in lines:
        if frame := _FRAME.match(line):
            stack.append((frame[1], frame[2]))
        elif stack:
            yield stack
            stack = []
    if stack:
        yield stack


def cost_of(stack: Sequence[tuple[str, str]]) -> str:
    """Return which of `COSTS` a sample belongs to.

    Args:
        stack: at least one frame, as `parse_stacks` yields it.
    """
    _, running = stack[0]
    if running != _KERNEL:
        named = (cost for cost, pattern in _LIBRARIES if pattern.search(running))
        return next(named, OTHER if ".so" in running or running.startswith("[") else PROGRAM)
    for symbol, _ in reversed(stack):  # what was asked for stands outermost
        for cost, pattern in _CALLS:
            if pattern.match(symbol):
                return cost
    return OTHER_KERNEL
