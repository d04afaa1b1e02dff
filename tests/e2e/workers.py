"""The workers of a proxy, as the machine and its metrics show them."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.proxies import ProxyProcess


def worker_pids(proxy: ProxyProcess) -> list[int]:
    """Processes that the proxy has started."""
    return [int(pid) for pid in Path(f"/proc/{proxy.pid}/task/{proxy.pid}/children").read_text().split()]


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def spread(proxy: ProxyProcess, metric: str) -> list[int]:
    """What each worker has of something, the most first."""
    samples = proxy.metrics().by_label(metric, "process")
    return sorted((int(value) for value in samples.values()), reverse=True)
