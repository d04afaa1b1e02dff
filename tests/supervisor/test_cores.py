"""As many workers as cores that may be used: by affinity, and by the quota of the control group."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fastproxy.supervisor.cores import usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 6),
        ("1200000 100000", 6),
        ("400000 100000", 4),
        ("150000 100000", 2),
        ("10000 100000", 1),
        ("", 6),
        ("many 100000", 6),
    ],
)
def test_a_quota_counts_as_the_cores_that_it_would_fill(
    quota: str, cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)))
    file = tmp_path / "cpu.max"
    file.write_text(f"{quota}\n")
    assert usable_cores(file) == cores


def test_without_a_quota_affinity_decides(tmp_path: Path) -> None:
    assert usable_cores(tmp_path / "none") == len(os.sched_getaffinity(0))
