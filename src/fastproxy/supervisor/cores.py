"""How many workers there should be where the config leaves it open: one for each core that may be used."""

from __future__ import annotations

import os
from math import ceil
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return how many cores this process may use: by its affinity, and by the quota of its control group.

    Args:
        quota: the file that says "QUOTA PERIOD" in microseconds, or "max PERIOD" (cgroups v2).
    """
    cores = len(os.sched_getaffinity(0))
    try:
        limit, period = quota.read_text().split()
        if limit != "max":
            cores = min(cores, ceil(int(limit) / int(period)))
    except (OSError, ValueError):
        pass  # no such control group, or one of another form
    return max(1, cores)
