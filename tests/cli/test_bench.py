"""`fastproxy bench` as people run it: what it leaves on disk, how it is interrupted, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.cli.conftest import Call

BENCH = [sys.executable, "-m", "fastproxy", "bench"]
PEAK = ["--scenario", "peak", "--chains", "none,fastproxy-link", "--seconds", "1", "--connections", "4"]
LIMIT_S = 100.0


def bench(folder: Path, scratch: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*BENCH, *arguments],
        cwd=folder,
        env={**os.environ, "TMPDIR": scratch},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )


def running_in(folder: str) -> list[str]:
    """Command lines of all processes that name the folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has just ended
            continue
        if folder in command:
            found.append(command)
    return found


def turns_of(folder: Path) -> list[dict[str, Any]]:
    (scenario,) = json.loads((folder / "bench.json").read_text())["scenarios"]
    turns: list[dict[str, Any]] = scenario["turns"]
    return turns


def interrupted_at(line_start: str, number: signal.Signals, folder: Path, *arguments: str) -> None:
    """Start a run, send it a signal once it says a line, and see it end with nothing left behind."""
    # A folder of its own: a socket's path in one of pytest's may be too long.
    with TemporaryDirectory(prefix="bench") as scratch:
        with bench(folder, scratch, *arguments) as running:
            assert running.stderr is not None
            assert any(line.startswith(line_start) for line in running.stderr)
            assert len(running_in(scratch)) >= 1
            running.send_signal(number)
            assert running.wait(LIMIT_S) == 128 + number
        assert running_in(scratch) == []
        assert os.listdir(scratch) == []
    assert [file.name for file in folder.iterdir()] == ["out"]


def test_interrupted_it_leaves_no_process_keeps_its_turns_and_goes_on(call: Call, tmp_path: Path) -> None:
    asked = [*PEAK, "--output", "out", "--rounds"]
    # The other chain's turn has been measured by then; this one's is under way, and 49 more rounds to come.
    interrupted_at("peak, round 1 of 50: fastproxy-link", signal.SIGINT, tmp_path, *asked, "50")
    kept = turns_of(tmp_path / "out")
    assert kept[0]["figures"]["requests_per_s"] > 0
    for name in ("bench.md", "bench.html"):
        assert "Interrupted after" in (tmp_path / "out" / name).read_text()

    refused = call("bench", *asked, "1", "--resume")
    assert refused.exit_code == 2
    assert "peak rounds: 50 then, 1 now" in " ".join(refused.output.split())
    assert turns_of(tmp_path / "out") == kept

    file = tmp_path / "out" / "bench.json"
    file.write_text(file.read_text().replace('"rounds": 50', '"rounds": 1'))  # as if that had been planned
    resumed = call("bench", *asked, "1", "--resume")
    assert resumed.exit_code == 0
    assert "Complete: 2 turns were measured." in resumed.output
    turns = turns_of(tmp_path / "out")
    assert turns[: len(kept)] == kept
    assert [(turn["round"], turn["chain"]) for turn in turns] == [(1, "none"), (1, "fastproxy-link")]


def test_it_ends_in_order_when_it_is_told_to(tmp_path: Path) -> None:
    asked = ["--scenario", "peak", "--chains", "none", "--rounds", "50", "--output", "out"]
    interrupted_at("peak: starting none", signal.SIGTERM, tmp_path, *asked)
    assert turns_of(tmp_path / "out") == []


def test_a_run_is_not_written_over(call: Call, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "bench.json").write_text("{}")
    result = call("bench", *PEAK, "--output", "out")
    assert result.exit_code == 2
    assert "go on with it by --resume" in " ".join(result.output.split())
    assert (tmp_path / "out" / "bench.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--chains", "haproxy-h9"], "unknown chain haproxy-h9; known are none, haproxy-tcp"),
        (["--resume"], "--resume needs --output"),
        (["--resume", "--output", "nowhere"], "can't be read"),
        (["--scenario", "colour"], "'colour' is not one of"),
    ],
)
def test_what_makes_no_sense_is_refused(call: Call, arguments: list[str], says: str) -> None:
    result = call("bench", *arguments)
    assert result.exit_code == 2
    assert says in " ".join(result.output.split())


def test_without_the_service_nothing_can_be_measured(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("fastproxy.bench.tools.SYSTEM_PATH", str(tmp_path))
    result = call("bench", *PEAK)
    assert result.exit_code == 2
    assert "nginx is not installed; install it with: apt-get install nginx-light" in " ".join(
        result.output.split()
    )
    assert list(tmp_path.iterdir()) == []
