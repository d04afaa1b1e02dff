"""`python -m tests.control.counting LEDGER NUMBER WORKERS`: a process that counts as each line tells it.

Each line is a JSON array: when to begin, by the monotonic clock, what to do, and with what; the answer is a
line of JSON. So several of them can be set on one number at the same moment.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from fastproxy.control.ledger import Ledger, Sizes, make
from fastproxy.errors import RATE_LIMITED, ProxyError
from fastproxy.policy.ratelimit import Rate

_LEAD_S = 0.005
"""Until then all processes have read what to do; who hasn't begins late, which harms nothing."""
_END_S = 20.0


class Party:
    """Some processes that count in one ledger.

    ledger: theirs. processes: by their numbers as workers.
    """

    def __init__(self, sizes: Sizes, count: int) -> None:
        self.ledger = Ledger(make(sizes))
        self._stack = ExitStack()
        self._stack.callback(self.ledger.close)
        self.processes = [self.join(number, count) for number in range(count)]

    def join(self, number: int, count: int) -> subprocess.Popen[str]:
        """Start a process."""
        fd = self.ledger.fd
        command = [sys.executable, "-m", "tests.control.counting", str(fd), str(number), str(count)]
        process = subprocess.Popen(
            command, pass_fds=(fd,), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._stack.callback(_end, process)
        return process

    def all(self, do: str, *what: object) -> list[Any]:
        """Have all do the same at a time; return their answers."""
        start_s = time.monotonic() + _LEAD_S
        for process in self.processes:
            tell(process, do, *what, start_s=start_s)
        return [answer(process) for process in self.processes]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()


def tell(process: subprocess.Popen[str], do: str, *what: object, start_s: float = 0.0) -> None:
    """Tell a process what to do."""
    assert process.stdin is not None
    process.stdin.write(json.dumps([start_s, do, *what]) + "\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> Any:
    """Return a process's next answer; the test's time limit bounds the wait."""
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=_END_S)


class Counting:
    """What a process can be told."""

    def __init__(self, fd: int, number: int, count: int) -> None:
        self._ledger = ledger = Ledger(fd)
        self._rates = ledger.rates("rates", RATE_LIMITED)
        self._counts = ledger.counts("peers", number)
        self._room = ledger.room("in_flight", 100, number, count, lambda: 0)
        self._window = ledger.windows().enter(b"session", b"o" * 8, 10, 2, (1, 0))

    def rate(self, key: str, per_s: float, burst: int, now_s: float, tries: int) -> int:
        """Return how many of so many tries pass."""
        passed, rate = 0, Rate(per_s, burst)
        for _ in range(tries):
            try:
                self._rates.check(key, rate, now_s)
            except ProxyError:
                continue
            passed += 1
        return passed

    def mark(self, counters: Sequence[int]) -> list[int]:
        """Return which of these counters are new."""
        return [counter for counter in counters if self._window.mark(counter)]

    def mark_for_good(self, first: int) -> None:
        """Mark counters from that one on, each third, and tell of each afterwards."""
        while True:
            if self._window.mark(first):
                print(first, flush=True)
            first += 3

    def add(self, key: str, times: int) -> list[int]:
        """Return how many there are, after each that was added."""
        return [self._counts.add(key) for _ in range(times)]

    def remove(self, key: str, times: int) -> None:
        """Remove so many."""
        for _ in range(times):
            self._counts.remove(key)

    def have(self, needed: int) -> int:
        """Return the share of a limit of 100, as far as so many are needed, one after the other."""
        share = 0
        for each in range(1, needed + 1):
            if each > share:
                share = self._room.raised(each)
        return min(share, needed)

    def have_all(self) -> None:
        """Have all locks."""
        self._ledger.locks.have_all()

    def share(self) -> None:
        """Have all locks no more."""
        self._ledger.locks.share()


def main(fd: int, number: int, count: int) -> None:
    """Do what each line says."""
    counting = Counting(fd, number, count)
    for line in sys.stdin:
        start_s, do, *what = json.loads(line)
        todo: Callable[..., object] = getattr(counting, do)
        while time.monotonic() < start_s:
            pass
        print(json.dumps(todo(*what)), flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
