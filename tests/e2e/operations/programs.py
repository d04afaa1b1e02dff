"""The load and the service as processes, seen by the test that started them."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from msgspec import Struct, convert

_END_S = 90.0
"""Longer than what is under way may take in the load, and than anything else that is waited for."""


class Failure(Struct, frozen=True):
    """One request that failed. number: its content. delay_s: after how long the service answers it.
    began_s, ended_s: by the monotonic clock. words: status, cause and exchange, or what became of it.
    """

    number: int
    service: str
    delay_s: float
    began_s: float
    ended_s: float
    words: str


class Counted(Struct, frozen=True):
    """What the load has counted so far."""

    sent: int
    answered: int
    failed: int
    under_way: int
    held_back: int
    seconds: float


class Report(Counted, frozen=True):
    """What it has counted in all. p99_ms: of the requests that the service answers at once."""

    p99_ms: float
    failures: list[Failure]


class Killed(Struct, frozen=True):
    """The moment of a kill, by the monotonic clock, and what was under way in the load then."""

    killed_s: float
    under_way: int


class Given(Struct, frozen=True):
    """What the service was given. came: numbers. doubled: those that came again. which: the first."""

    came: int
    doubled: int
    which: list[int]


class _Program:
    """A program of this folder, told by lines and answering by lines."""

    def __init__(self, name: str, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"tests.e2e.operations.{name}", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _tell(self, words: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{words}\n")
        self._process.stdin.flush()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def _last_line(self) -> Any:
        said, _ = self._process.communicate(timeout=_END_S)
        assert self._process.returncode == 0
        return json.loads(said)

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


class Service(_Program):
    """The service. endpoint: where it is."""

    def __init__(self) -> None:
        super().__init__("service")
        self.endpoint = f"127.0.0.1:{self._line()}"

    def end(self) -> Given:
        """End it; return what it was given."""
        return convert(self._last_line(), Given)


class Load(_Program):
    """The callers, who begin at once.

    Args:
        addresses: HOST:PORT, in the order in which they are tried. services: called in turn.
        rate_per_s: of requests. slow_s: after how long every tenth is answered. seconds: at most.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        services: Sequence[str],
        rate_per_s: float,
        slow_s: float,
        seconds: float,
    ) -> None:
        super().__init__(
            "load",
            *addresses,
            *("--services", *services),
            *("--rate-per-s", str(rate_per_s)),
            *("--slow-s", str(slow_s)),
            *("--seconds", str(seconds)),
        )

    def look(self) -> Counted:
        """What was counted so far."""
        self._tell("look")
        return convert(self._line(), Counted)

    def wait_for_more(self, count: int) -> None:
        """Wait until so many more are answered."""
        least = self.look().answered + count
        end_s = time.monotonic() + _END_S
        while (counted := self.look()).answered < least:
            assert time.monotonic() < end_s, counted
            time.sleep(0.02)  # leaves the processor to whom is waited for

    def kill_process(self, process: int) -> Killed:
        """Kill another process, and say how many requests were under way at that moment."""
        self._tell(f"kill {process}")
        return convert(self._line(), Killed)

    def hold(self, count: int, delay_s: float) -> None:
        """Make so many requests more that the service answers after so long."""
        self._tell(f"hold {count} {delay_s}")
        self._line()

    def end(self) -> Report:
        """Make no more, wait for what is under way; return what was counted."""
        self._tell("end")
        return convert(self._last_line(), Report)
