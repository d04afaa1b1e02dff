"""The load: runs of wrk, of the steady load, and of curl, each a process of its own and bounded in time."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fastproxy.bench.line import Line, LineError, request_bytes
from fastproxy.bench.tools import CURL, HDRHISTOGRAM, WRK

WRK_THREADS = 4
"""As in the record's best run."""

ANSWER_LIMIT_S = 10
"""Time for one answer: with thousands of connections each waits for all the others."""

GRACE_S = 20
"""How much longer than asked for a load may last, before it counts as hung."""

OPENED_AT_ONCE = 50
"""Connections that are opened before the first of them has its answer."""

STALL_LIMIT_S = 10.0
"""Time for the answer that is then left unread to begin."""

CURL_TIME_IS_UP = 28

REACHED = 0.97
"""Part of a rate that counts as reached: what is late at the end by the length of a usual stall."""

GENERATOR_BUSY_MAX = 0.85
"""Part of its time that the generator may compute: above that a missed rate can be its own fault."""

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}
_SPAN = r"([\d.]+)(us|ms|s|m|h)"
_TOTAL = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
_LONGEST = re.compile(rf"^ *Latency +\S+ +\S+ +{_SPAN} ", re.MULTILINE)
_PERCENTILE = re.compile(rf"^\s*(50|99)%\s+{_SPAN}\s*$", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_NON_2XX = re.compile(r"Non-2xx or 3xx responses: (\d+)")


class LoadError(Exception):
    """A load failed, hung, or printed what can't be read: nothing was measured."""


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What one run of wrk found.

    socket_errors: failed connects, reads and writes, and answers that took longer than `ANSWER_LIMIT_S`.
    non_2xx: answers with a status of 400 and up.
    """

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    socket_errors: int
    non_2xx: int

    def fault(self) -> str | None:
        """Return why the figures can't be relied upon, None when they can."""
        if not self.socket_errors and not self.non_2xx:
            return None
        return (
            f"{self.non_2xx} answers other than 2xx and {self.socket_errors} socket errors "
            f"in {self.requests} requests"
        )


@dataclass(frozen=True, slots=True)
class SteadyResult:
    """What one steady load found; latencies count from when a request was due.

    requests: answers. asked_per_s: the rate at which requests were due.
    reached_per_s: answers over the time from the first that was due to the last that came.
    unsent: requests that were due and found no free connection until the time was up.
    lag_p99_ms: how late the generator itself sent, beyond waiting for a free connection.
    generator_busy: its CPU time over the time that it ran.
    """

    requests: int
    asked_per_s: int
    reached_per_s: float
    unsent: int
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    lag_p99_ms: float
    generator_busy: float
    non_2xx: int

    def is_saturated(self) -> bool:
        """Return whether the rate wasn't reached, so that latencies say how long the load went on alone."""
        return bool(self.unsent) or self.reached_per_s < REACHED * self.asked_per_s

    def fault(self) -> str | None:
        """Return why the figures can't be relied upon, None when they can."""
        if self.non_2xx:
            return f"{self.non_2xx} answers other than 2xx in {self.requests} requests"
        if self.is_saturated() and self.generator_busy > GENERATOR_BUSY_MAX:
            return (
                f"the load generator fell behind at {self.asked_per_s:,}/s: "
                f"it was busy for {self.generator_busy:.0%} of its time"
            )
        return None


def run_wrk(
    port: int,
    path: str,
    *,
    connections: int,
    seconds: int,
    script: Path | None = None,
    argument: int | None = None,
    threads: int = WRK_THREADS,
) -> WrkResult:
    """Ask a port of the loopback interface for as many answers as it gives.

    Args:
        script: makes the request; a GET without one. argument: for the script.
        threads: of wrk; never more than connections.

    Raises:
        LoadError: wrk failed, or hung, printed what can't be read, or had no answer at all.
        ToolMissingError: wrk is not installed.
    """
    command = [str(WRK.find()), "-t", str(min(threads, connections)), "-c", str(connections)]
    command += ["-d", f"{seconds}s", "--timeout", f"{ANSWER_LIMIT_S}s", "--latency"]
    if script is not None:
        command += ["-s", str(script)]
    command.append(_url(port, path))
    if argument is not None:
        command += ["--", str(argument)]
    result = parse_wrk(_output(command, seconds + ANSWER_LIMIT_S))
    if result.requests == 0:
        raise LoadError("not a single request was answered")
    return result


def parse_wrk(text: str) -> WrkResult:
    """Read what `wrk --latency` prints.

    Raises:
        LoadError: a figure that always stands there is missing.
    """
    total, rate, longest = _TOTAL.search(text), _RATE.search(text), _LONGEST.search(text)
    latency_ms = {percent: _ms(value, unit) for percent, value, unit in _PERCENTILE.findall(text)}
    if total is None or rate is None or longest is None or latency_ms.keys() != {"50", "99"}:
        raise LoadError(f"wrk printed what can't be read: {text[:500]!r}")
    socket_errors = _SOCKET_ERRORS.search(text)
    non_2xx = _NON_2XX.search(text)
    return WrkResult(
        requests=int(total[1]),
        requests_per_s=float(rate[1]),
        p50_ms=latency_ms["50"],
        p99_ms=latency_ms["99"],
        max_ms=_ms(longest[1], longest[2]),
        socket_errors=sum(map(int, socket_errors.groups())) if socket_errors else 0,
        non_2xx=int(non_2xx[1]) if non_2xx else 0,
    )


def _ms(value: str, unit: str) -> float:
    return float(value) * _UNITS_MS[unit]


def run_steady(port: int, *, rate_per_s: int, connections: int, seconds: int) -> SteadyResult:
    """Ask a port of the loopback interface at a steady rate, see `fastproxy.bench.steady`.

    It runs in a process of its own: what else this one does would make requests late.

    Raises:
        LoadError: a connection was lost, or answers stayed out.
        ToolMissingError: the library that counts latencies is not installed.
    """
    HDRHISTOGRAM.find()
    numbers = (port, rate_per_s, connections, seconds)
    found = _output([sys.executable, "-m", "fastproxy.bench.steady", *map(str, numbers)], seconds)
    return SteadyResult(**json.loads(found))


def send(port: int, path: str, file: Path, *, limit_s: int) -> None:
    """Post a file in one request, and wait for the answer.

    Raises:
        LoadError: the answer was no 200, or the time was up.
        ToolMissingError: curl is not installed.
    """
    # Without `Expect`, or curl holds the body back for a second where nobody asks for it.
    upload = ["-X", "POST", "-H", "Expect:", "-T", str(file)]
    _output([*_curl(port, path, limit_s), "--fail", *upload], limit_s)


def fetch(port: int, path: str, *, limit_s: int) -> None:
    """Get something in one request, to its end.

    Raises:
        LoadError: the answer was no 200, or was cut, or the time was up.
        ToolMissingError: curl is not installed.
    """
    _output([*_curl(port, path, limit_s), "--fail"], limit_s)


class Download:
    """One answer that is read as fast as it comes, for a set time; ended with the `with` block.

    Args:
        seconds: how long; the answer must not end by itself before.

    Raises:
        ToolMissingError: curl is not installed.
    """

    __slots__ = ("_curl", "_seconds")

    def __init__(self, port: int, path: str, *, seconds: int) -> None:
        self._seconds = seconds
        shown = ["-w", "%{http_code} %{size_download}"]
        self._curl = subprocess.Popen(
            [*_curl(port, path, seconds), *shown], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def wait_mb_per_s(self) -> float:
        """Wait until the time is up; return how much came, in megabytes (10^6 bytes) per second.

        Raises:
            LoadError: the answer was no 200, or ended before its time.
        """
        try:
            output, errors = self._curl.communicate(timeout=self._seconds + GRACE_S)
        except subprocess.TimeoutExpired as exc:
            raise LoadError(f"curl still ran {GRACE_S} s after it should have ended") from exc
        status, _, received_bytes = output.partition(" ")
        if self._curl.returncode != CURL_TIME_IS_UP or status != "200":
            raise LoadError(f"a large answer ended before its time, status {status}: {errors.strip()}")
        return int(received_bytes) / self._seconds / 1e6

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: object) -> None:
        self._curl.kill()
        self._curl.communicate()


@contextmanager
def stalled_download(port: int, path: str) -> Iterator[None]:
    """Ask for something, read the beginning of the answer, and leave the rest unread in the `with` block.

    Raises:
        LoadError: no answer began, or it was no 200.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=STALL_LIMIT_S) as stalled:
        stalled.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        try:
            begun = stalled.recv(64)
        except TimeoutError as exc:
            raise LoadError("the answer to be left unread didn't begin") from exc
        if not begun.startswith(b"HTTP/1.1 200 "):
            raise LoadError(f"the answer to be left unread was another: {begun!r}")
        yield


@contextmanager
def open_connections(port: int, count: int) -> Iterator[None]:
    """Hold connections open in the `with` block that have had an answer each, and wait for nothing.

    Raises:
        LoadError: not all of them could be opened, or had an answer.
    """
    request = request_bytes(port)
    lines: list[Line] = []
    try:
        for start in range(0, count, OPENED_AT_ONCE):
            opened: list[Line] = []
            for _ in range(start, min(start + OPENED_AT_ONCE, count)):
                opened.append(Line(port))
                lines.append(opened[-1])
                opened[-1].ask(request, 0.0)
            for line in opened:
                line.wait()
        yield
    except (OSError, LineError) as exc:
        raise LoadError(f"{len(lines)} of {count} connections were opened, then: {exc}") from exc
    finally:
        for line in lines:
            line.close()


def _curl(port: int, path: str, limit_s: int) -> list[str]:
    command = [str(CURL.find()), "--disable", "--noproxy", "*", "--silent", "--show-error"]
    return [*command, "--output", "/dev/null", "--max-time", str(limit_s), _url(port, path)]


def _url(port: int, path: str) -> str:
    return f"http://127.0.0.1:{port}{path}"


def _output(command: list[str], seconds: int) -> str:
    """Run a program that should end by itself after some seconds; return what it printed."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE_S)
    except subprocess.TimeoutExpired as exc:
        raise LoadError(f"{name} still ran {GRACE_S} s after it should have ended") from exc
    if done.returncode != 0:
        raise LoadError(f"{name} ended with code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
