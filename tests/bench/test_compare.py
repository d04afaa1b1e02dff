"""A run as a whole: what is missing or broken is told, and the rest goes on."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.progress import Progress

from fastproxy.bench.compare import Comparison
from fastproxy.bench.configs import Leg
from fastproxy.bench.credentials import PLACES
from fastproxy.bench.peers import CHAINS, Chain
from fastproxy.bench.processes import Fleet
from fastproxy.bench.report import Outcome
from fastproxy.bench.scenario import Load, Scenario, Turn
from fastproxy.bench.scenarios import SCENARIOS
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import HAPROXY, NGINX, WRK, Tool

ABSENT = Tool("no-such-program", "apt-get install no-such-package", "-v")


def command_of_absent(leg: Leg) -> list[str]:
    return [str(ABSENT.find())]


def command_that_fails(leg: Leg) -> list[str]:
    return [sys.executable, "-c", "raise SystemExit('no such setting: colour')"]


def outcomes_of(scenario: Scenario, chains: list[Chain], folder: Path, rounds: int = 1) -> list[Outcome]:
    load = Load(connections=4, seconds=1)
    with Fleet() as fleet, Progress(disable=True) as progress:
        return list(Comparison(scenario, rounds, load, folder, fleet, progress).run(chains).outcomes)


def test_a_missing_program_and_a_broken_proxy_are_told_apart(tmp_path: Path) -> None:
    chains = [
        Chain("absent", "absent", ABSENT, command_of_absent),
        Chain("broken", "broken", None, command_that_fails),
    ]
    absent, broken = outcomes_of(SCENARIOS["peak"], chains, tmp_path)
    assert absent.failure is None
    assert absent.skipped is not None
    assert "apt-get install no-such-package" in absent.skipped
    assert broken.skipped is None
    assert broken.failure is not None
    assert "no such setting: colour" in broken.failure


def test_a_chain_is_measured(tmp_path: Path) -> None:
    chain = next(chain for chain in CHAINS if chain.name == "haproxy-h1")
    (outcome,) = outcomes_of(SCENARIOS["peak"], [chain], tmp_path)
    assert (outcome.failure, outcome.skipped) == (None, None)
    (figures,) = outcome.rounds
    assert figures.keys() == {figure.name for figure in SCENARIOS["peak"].figures}
    assert figures["requests_per_s"] > 0
    for place in PLACES:
        # A proxy can't relay a request for less than a microsecond, and doesn't need ten milliseconds.
        assert 1 < figures[f"cpu_{place}_us"] < 10_000
        assert figures[f"resident_{place}_mib"] > 1


NONE = next(chain for chain in CHAINS if chain.prepare is None)


@pytest.mark.parametrize("warms_up", [True, False])
def test_a_warm_up_does_not_count(tmp_path: Path, *, warms_up: bool) -> None:
    asked: list[Load] = []

    def count(chain: StandingChain, load: Load) -> Turn:
        asked.append(load)
        return Turn({"turn": float(len(asked))}, None)

    scenario = replace(SCENARIOS["peak"], measure=count, warms_up=warms_up)
    (outcome,) = outcomes_of(scenario, [NONE], tmp_path, rounds=2)
    first = 2.0 if warms_up else 1.0
    assert outcome.rounds == [{"turn": first}, {"turn": first + 1}]
    assert [load.seconds for load in asked] == ([2, 1, 1] if warms_up else [1, 1])


def test_a_fault_in_one_round_is_not_forgotten_in_the_next(tmp_path: Path) -> None:
    faults = iter([None, "3 answers other than 2xx", None])
    scenario = replace(SCENARIOS["peak"], measure=lambda chain, load: Turn({"turn": 1.0}, next(faults)))
    (outcome,) = outcomes_of(scenario, [NONE], tmp_path, rounds=2)
    assert outcome.failure == "3 answers other than 2xx"
    assert len(outcome.rounds) == 2


@pytest.mark.parametrize("tool", [WRK, NGINX, HAPROXY])
def test_versions_are_bare_numbers(tool: Tool) -> None:
    assert len(tool.version().split(".")) == 3
