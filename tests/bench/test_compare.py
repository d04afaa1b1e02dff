"""A run as a whole: what is missing or broken is told, and the rest goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from rich.progress import Progress

from fastproxy.bench.compare import POST_SCRIPT, Comparison, LoadPlan
from fastproxy.bench.configs import Leg
from fastproxy.bench.peers import CHAINS, HAPROXY, NGINX, WRK, Chain, Tool
from fastproxy.bench.processes import Fleet

ABSENT = Tool("no-such-program", "apt-get install no-such-package", "-v")


def command_of_absent(leg: Leg) -> list[str]:
    return [str(ABSENT.find())]


def command_that_fails(leg: Leg) -> list[str]:
    return [sys.executable, "-c", "raise SystemExit('no such setting: colour')"]


def test_a_missing_program_and_a_broken_proxy_are_told_apart(tmp_path: Path) -> None:
    chains = [
        Chain("absent", "absent", ABSENT, command_of_absent),
        Chain("broken", "broken", None, command_that_fails),
    ]
    plan = LoadPlan(WRK.find(), rounds=1, seconds=1, connections=4)
    with Fleet() as fleet, Progress(disable=True) as progress:
        absent, broken = Comparison(plan, tmp_path, fleet, progress).run(chains)
    assert absent.failure is None
    assert absent.skipped is not None
    assert "apt-get install no-such-package" in absent.skipped
    assert broken.skipped is None
    assert broken.failure is not None
    assert "no such setting: colour" in broken.failure


def test_a_chain_is_measured(tmp_path: Path) -> None:
    chain = next(chain for chain in CHAINS if chain.name == "haproxy-h1")
    plan = LoadPlan(WRK.find(), rounds=1, seconds=1, connections=4)
    with Fleet() as fleet, Progress(disable=True) as progress:
        (outcome,) = Comparison(plan, tmp_path, fleet, progress).run([chain])
    assert (outcome.failure, outcome.skipped) == (None, None)
    (measured,) = outcome.rounds
    assert measured.wrk.requests > 0
    # A proxy can't relay a request for less than a microsecond, and doesn't need ten milliseconds.
    assert all(1 < cpu_us < 10_000 for cpu_us in measured.cpu_us.values())
    assert measured.cpu_us.keys() == outcome.resident_bytes.keys() == {"out", "in"}
    assert all(resident > 1024 * 1024 for resident in outcome.resident_bytes.values())


@pytest.mark.parametrize("tool", [WRK, NGINX, HAPROXY])
def test_versions_are_bare_numbers(tool: Tool) -> None:
    assert len(tool.version().split(".")) == 3


def test_the_request_is_the_one_of_the_record() -> None:
    assert 'wrk.body = "param=hello"' in POST_SCRIPT.read_text()
