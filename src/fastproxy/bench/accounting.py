"""What processes cost: their CPU time and memory as Linux counts them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

_CLEAR_PEAK = "5"
"""What /proc/PID/clear_refs takes to set the peak back to what is resident now (proc(5))."""

_PEAK = re.compile(r"^VmHWM:\s*(\d+) kB$", re.MULTILINE)


def cpu_s(pid: int) -> float:
    """Return the CPU time, user and system, that a process and all its descendants have used so far.

    A process counts for all its threads; one that has ended counts through the parent that waited for it.
    Its grain is the kernel's clock tick, as a rule 10 ms: measure over seconds.

    Raises:
        ProcessLookupError: there is no such process.
    """
    return sum(_read_stat(member).cpu_ticks for member in family(pid)) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a process and all its descendants; pages they share count for each.

    Raises:
        ProcessLookupError: there is no such process.
    """
    return sum(_read_stat(member).resident_pages for member in family(pid)) * os.sysconf("SC_PAGE_SIZE")


def largest_bytes(pid: int) -> int:
    """Return the resident memory of the largest among a process and its descendants: a worker, as a rule.

    Raises:
        ProcessLookupError: there is no such process.
    """
    pages = max(_read_stat(member).resident_pages for member in family(pid))
    return pages * os.sysconf("SC_PAGE_SIZE")


def begin_peak(pid: int) -> None:
    """Let the peak of resident memory begin anew, for a process and all its descendants.

    Raises:
        ProcessLookupError: there is no such process.
    """
    for member in family(pid):
        try:
            Path(f"/proc/{member}/clear_refs").write_text(_CLEAR_PEAK)
        except FileNotFoundError as exc:
            raise ProcessLookupError(f"no process {member}") from exc


def peak_bytes(pid: int) -> int:
    """Return the most that was resident since `begin_peak`, of a process and all its descendants.

    The peaks of several processes are added up, whether or not they came at one time.

    Raises:
        ProcessLookupError: there is no such process.
    """
    return sum(_read_peak_bytes(member) for member in family(pid))


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


def _read_peak_bytes(pid: int) -> int:
    try:
        peak = _PEAK.search(Path(f"/proc/{pid}/status").read_text())
    except FileNotFoundError as exc:
        raise ProcessLookupError(f"no process {pid}") from exc
    if peak is None:
        raise ProcessLookupError(f"process {pid} has ended")  # a zombie has no memory
    return int(peak[1]) * 1024


def family(pid: int) -> list[int]:
    """Return a process and its descendants that live now; the process comes first."""
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
