"""The facts of a run: what machine it is made on, and with which versions."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastproxy.bench.record import Facts
from fastproxy.bench.tools import Tool, ToolMissingError

_CPU_MODEL = re.compile(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", re.MULTILINE)
"""Of /proc/cpuinfo; ARM kernels have no "model name"."""

_DISTRIBUTIONS = {"fastproxy": "fastproxy-link", "uvloop": "uvloop", "cryptography": "cryptography"}
"""Our own package, and those that its speed rests on most."""


def collect(command: str, tools: Iterable[Tool]) -> Facts:
    """Return the facts of a run that starts now.

    Args:
        command: how it was started. tools: programs whose versions are asked for.
    """
    return Facts(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=command,
        cpu=cpu_model(Path("/proc/cpuinfo").read_text()),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20,
        kernel=platform.release(),
        versions=versions(tools),
    )


def cpu_model(cpuinfo: str) -> str:
    """Return the name of the processor from the text of /proc/cpuinfo."""
    found = _CPU_MODEL.search(cpuinfo)
    return found[1].strip() if found else platform.machine()


def versions(tools: Iterable[Tool]) -> dict[str, str]:
    """Return the versions of Python, and of those libraries and programs that are there."""
    found = {"python": platform.python_version()}
    for name, distribution in _DISTRIBUTIONS.items():
        try:
            found[name] = version(distribution)
        except PackageNotFoundError:
            continue  # run from a tree that isn't installed
    for tool in sorted(tools, key=lambda tool: tool.name):
        try:
            found[tool.name] = tool.version()
        except ToolMissingError:
            continue  # said where it is needed
    return found
