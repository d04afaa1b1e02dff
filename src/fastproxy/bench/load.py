"""The load, and what it costs: runs of wrk, and the CPU time and memory of processes as Linux counts them."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

WRK_THREADS = 2
WRK_GRACE_S = 20
"""How much longer than asked for a run of wrk may last, before it counts as hung."""

_UNITS_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0, "h": 3_600_000.0}
_TOTAL = re.compile(r"^\s*(\d+) requests in ", re.MULTILINE)
_RATE = re.compile(r"^Requests/sec:\s*([\d.]+)", re.MULTILINE)
_PERCENTILE = re.compile(r"^\s*(50|99)%\s+([\d.]+)(us|ms|s|m|h)\s*$", re.MULTILINE)
_SOCKET_ERRORS = re.compile(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)")
_NON_2XX = re.compile(r"Non-2xx or 3xx responses: (\d+)")


class LoadError(Exception):
    """wrk failed, hung, or printed what can't be read."""


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What one run of wrk found.

    socket_errors: failed connects, reads and writes, and answers that took longer than two seconds.
    non_2xx: answers with a status of 400 and up.
    """

    requests: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    socket_errors: int
    non_2xx: int


def run_wrk(wrk: Path, port: int, path: str, *, script: Path, connections: int, seconds: int) -> WrkResult:
    """Put load on a port of the loopback interface.

    Raises:
        LoadError: wrk failed, or hung, or printed what can't be read.
    """
    command = [
        str(wrk),
        "-t",
        str(min(WRK_THREADS, connections)),
        "-c",
        str(connections),
        "-d",
        f"{seconds}s",
    ]
    command += ["--latency", "-s", str(script), f"http://127.0.0.1:{port}{path}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + WRK_GRACE_S)
    except subprocess.TimeoutExpired as exc:
        raise LoadError(f"wrk still ran {WRK_GRACE_S} s after it should have ended") from exc
    if done.returncode != 0:
        raise LoadError(f"wrk ended with code {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return parse_wrk(done.stdout)


def parse_wrk(text: str) -> WrkResult:
    """Read what `wrk --latency` prints.

    Raises:
        LoadError: a figure that always stands there is missing.
    """
    total, rate = _TOTAL.search(text), _RATE.search(text)
    latency_ms = {
        percent: float(value) * _UNITS_MS[unit] for percent, value, unit in _PERCENTILE.findall(text)
    }
    if total is None or rate is None or latency_ms.keys() != {"50", "99"}:
        raise LoadError(f"wrk printed what can't be read: {text[:500]!r}")
    socket_errors = _SOCKET_ERRORS.search(text)
    non_2xx = _NON_2XX.search(text)
    return WrkResult(
        requests=int(total[1]),
        requests_per_s=float(rate[1]),
        p50_ms=latency_ms["50"],
        p99_ms=latency_ms["99"],
        socket_errors=sum(map(int, socket_errors.groups())) if socket_errors else 0,
        non_2xx=int(non_2xx[1]) if non_2xx else 0,
    )


def cpu_s(pid: int) -> float:
    """Return the CPU time, user and system, that a process and all its descendants have used so far.

    A process counts for all its threads; one that has ended counts through the parent that waited for it.
    Its grain is the kernel's clock tick, as a rule 10 ms: measure over seconds.

    Raises:
        ProcessLookupError: there is no such process.
    """
    return sum(_read_stat(member).cpu_ticks for member in _family(pid)) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and all its descendants; pages they share count for each.

    Raises:
        ProcessLookupError: there is no such process.
    """
    return sum(_read_stat(member).resident_pages for member in _family(pid)) * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """The fields of /proc/PID/stat that count here (proc_pid_stat(5)).

    cpu_ticks: utime + stime + cutime + cstime.
    """

    parent_pid: int
    cpu_ticks: int
    resident_pages: int


def parse_stat(text: str) -> ProcessStat:
    """Read the one line of /proc/PID/stat; the command's name in it may hold spaces and brackets."""
    fields = text[text.rindex(")") + 1 :].split()
    # fields[0] is field 3 of the manual page.
    return ProcessStat(
        parent_pid=int(fields[4 - 3]),
        cpu_ticks=sum(int(field) for field in fields[14 - 3 : 18 - 3]),
        resident_pages=int(fields[24 - 3]),
    )


def _read_stat(pid: int) -> ProcessStat:
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except FileNotFoundError as exc:
        raise ProcessLookupError(f"no process {pid}") from exc


def _family(pid: int) -> list[int]:
    """Return a process and its descendants that live now."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                parent = _read_stat(int(entry.name)).parent_pid
            except ProcessLookupError:
                continue  # ended since the folder was listed
            children.setdefault(parent, []).append(int(entry.name))
    family = [pid]
    for member in family:  # grows while it is walked: children, then theirs
        family += children.get(member, [])
    return family
