"""A run as a whole: turns are taken and noted, what is missing or broken is told, and the rest goes on."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from fastproxy.bench.configs import Leg
from fastproxy.bench.load import LoadError
from fastproxy.bench.peers import CHAINS, Chain
from fastproxy.bench.plan import Plan, Task
from fastproxy.bench.progress import Progress
from fastproxy.bench.record import Record, ScenarioRecord
from fastproxy.bench.run import GIVE_UP_AFTER, carry_out
from fastproxy.bench.scenario import Load, Point, Scenario, Turn
from fastproxy.bench.scenarios import SCENARIOS
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import Tool
from tests.bench import records

ABSENT = Tool("no-such-program", "apt-get install no-such-package", "-v")
NONE = next(chain for chain in CHAINS if chain.prepare is None)
LINK = next(chain for chain in CHAINS if chain.name == "fastproxy-link")
LOAD = Load(connections=4, seconds=1)


def command_of_absent(leg: Leg) -> list[str]:
    return [str(ABSENT.find())]


def command_that_fails(leg: Leg) -> list[str]:
    return [sys.executable, "-c", "raise SystemExit('no such setting: colour')"]


Measure = Callable[[StandingChain, Load, Point], Turn]


def scenario(measure: Measure, **changes: Any) -> Scenario:
    """One that only asks the function, and takes no time."""
    fields: dict[str, Any] = {"tools": (), "warms_up": False, "turn_s": lambda load, point: 1.0} | changes
    return replace(SCENARIOS["peak"], measure=measure, **fields)


def a_plan(asked: Scenario, *chains: Chain, rounds: int = 1) -> Plan:
    return Plan((Task(asked, chains, asked.points, rounds, LOAD),), limit_s=1e6, is_quick=False)


def carried_out(plan: Plan, record: Record | None = None, **options: Any) -> ScenarioRecord:
    record = record or plan.blank(records.FACTS)
    with Progress(Console(quiet=True), plan.expected_s()) as progress:
        carry_out(plan, record, options.pop("save", lambda record: None), progress, **options)
    return record.scenarios[0]


def test_chains_are_measured_through_real_proxies() -> None:
    found = carried_out(a_plan(replace(SCENARIOS["peak"], warms_up=False), NONE, LINK))
    assert found.remarks() == []
    none, link = found.turns
    assert link.figures.keys() == {figure.name for figure in found.figures}
    assert none.figures.keys() == {"requests_per_s", "p50_ms", "p99_ms"}
    for turn in (none, link):
        assert turn.figures["requests_per_s"] > 0


def test_a_missing_program_and_a_broken_proxy_are_told_apart() -> None:
    chains = [
        Chain("absent", "absent", ABSENT, command_of_absent),
        Chain("broken", "broken", None, command_that_fails),
        NONE,
    ]
    found = carried_out(a_plan(scenario(lambda *_: Turn({"turn": 1.0}, None)), *chains))
    absent, broken, none = found.chains
    assert absent.failure is None
    assert absent.missing is not None
    assert "apt-get install no-such-package" in absent.missing
    assert broken.missing is None
    assert broken.failure is not None
    assert "no such setting: colour" in broken.failure
    assert (none.missing, none.failure) == (None, None)
    assert [turn.chain for turn in found.turns] == ["none"]


def test_a_scenario_without_its_tool_is_left_out_and_says_so() -> None:
    found = carried_out(a_plan(scenario(lambda *_: Turn({}, None), tools=(ABSENT,)), NONE))
    assert found.turns == []
    (remark,) = found.remarks()
    assert remark.startswith("left out: no-such-program is not installed; install it with: apt-get install")


def test_turns_go_round_by_round_and_point_by_point() -> None:
    points = (Point("a", 1.0), Point("b", 2.0))
    asked = scenario(lambda chain, load, point: Turn({"turn": point.value}, None), points=points)
    second = replace(NONE, name="second")
    found = carried_out(a_plan(asked, NONE, second, rounds=2))
    in_order = [(number, point, name) for number in (1, 2) for point in "ab" for name in ("none", "second")]
    assert [(turn.round, turn.point, turn.chain) for turn in found.turns] == in_order
    assert [turn.figures["turn"] for turn in found.turns] == [1, 1, 2, 2, 1, 1, 2, 2]


def test_chains_that_stand_anew_take_all_rounds_of_a_point_first() -> None:
    points = (Point("a", 1.0), Point("b", 2.0))
    standing: list[StandingChain] = []

    def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
        standing.append(chain)
        return Turn({"turn": 1.0}, None)

    found = carried_out(a_plan(scenario(measure, points=points, stands_anew=True), NONE, rounds=2))
    assert [(turn.point, turn.round) for turn in found.turns] == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert standing[0] is standing[1]
    assert standing[2] is standing[3]
    assert standing[1] is not standing[2]


@pytest.mark.parametrize("warms_up", [True, False])
def test_a_warm_up_does_not_count(*, warms_up: bool) -> None:
    asked: list[Load] = []

    def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
        asked.append(load)
        if len(asked) == 1 and warms_up:
            raise LoadError("not yet warm")
        return Turn({"turn": float(len(asked))}, None)

    found = carried_out(a_plan(scenario(measure, warms_up=warms_up), NONE, rounds=2))
    first = 2.0 if warms_up else 1.0
    assert [turn.figures["turn"] for turn in found.turns] == [first, first + 1]
    assert found.remarks() == []


def test_a_chain_that_fails_at_a_point_is_not_asked_there_for_ever() -> None:
    def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
        if point.name == "b":
            raise LoadError("wrk hung")
        return Turn({"turn": 1.0}, None)

    points = (Point("a", 1.0), Point("b", 2.0))
    found = carried_out(a_plan(scenario(measure, points=points), NONE, rounds=5))
    assert [turn.round for turn in found.turns if turn.point == "a"] == [1, 2, 3, 4, 5]
    assert [turn.round for turn in found.turns if turn.point == "b"] == list(range(1, GIVE_UP_AFTER + 1))
    assert found.remarks() == ["FAILED none at b: wrk hung (in 2 of 5 rounds)"]


def test_a_proxy_that_ends_under_load_is_told() -> None:
    def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
        pid = chain.proxies["in"].pid
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return Turn({"turn": 1.0}, None)

    found = carried_out(a_plan(scenario(measure), LINK, rounds=2))
    assert found.remarks() == [
        "FAILED fastproxy-link: a proxy ended during the run (in 1 of 2 rounds)",
    ]
    assert [turn.fault for turn in found.turns] == [None, "a proxy ended during the run"]


def test_a_scenario_over_its_time_is_broken_off() -> None:
    now_s = [0.0]

    def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
        now_s[0] += 10.0  # ten times what was expected
        return Turn({"turn": 1.0}, None)

    plan = replace(a_plan(scenario(measure), NONE, rounds=50), limit_s=100.0)
    found = carried_out(plan, clock_s=lambda: now_s[0])
    assert 1 < len(found.turns) < 10
    assert found.broken_off == f"its time was over after {len(found.turns)} of 50 turns"
    assert found.has_failed()


def test_every_turn_is_saved_and_none_is_repeated() -> None:
    plan = a_plan(scenario(lambda *_: Turn({"turn": 1.0}, None)), NONE, rounds=3)
    record = plan.blank(records.FACTS)
    saved: list[tuple[str, int]] = []

    def save(record: Record) -> None:
        saved.append((record.state, len(record.scenarios[0].turns)))

    def interrupt(record: Record) -> None:
        save(record)
        if record.state == "running" and len(record.scenarios[0].turns) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carried_out(plan, record, save=interrupt)
    assert saved == [("running", 0), ("running", 1), ("running", 2), ("interrupted", 2)]
    saved.clear()
    found = carried_out(plan, record, save=save)
    assert [turn.round for turn in found.turns] == [1, 2, 3]
    assert saved == [("running", 2), ("running", 3), ("running", 3), ("complete", 3)]


def test_the_verdict_sees_the_medians() -> None:
    seen: list[tuple[str, float]] = []
    point = SCENARIOS["peak"].points[0]

    def verdict(answers: Any) -> list[str]:
        seen.extend((answer.chain.name, answer.median_of("turn", point)) for answer in answers)
        return ["FAILED none: too slow"]

    found = carried_out(a_plan(scenario(lambda *_: Turn({"turn": 7.0}, None), verdict=verdict), NONE))
    assert seen == [("none", 7.0)]
    assert found.has_failed()
