"""What the system says of this process."""

from __future__ import annotations

import os


def resident_bytes() -> int | None:
    """Return how much memory is resident (proc_pid_statm(5)); None where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None
