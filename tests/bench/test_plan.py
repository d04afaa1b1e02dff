"""What a run will do: the choice of scenarios, chains and rounds, and the time that it may take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.bench.glossary import is_explained
from fastproxy.bench.peers import CHAINS
from fastproxy.bench.plan import (
    FILLING,
    FULL_LIMIT_S,
    QUICK_CHAINS,
    QUICK_LIMIT_S,
    QUICK_SCENARIOS,
    Choice,
    Plan,
    PlanError,
    make_plan,
)
from fastproxy.bench.scenario import Load
from fastproxy.bench.scenarios import SCENARIOS
from tests.bench import records


def plan(**asked: object) -> Plan:
    return make_plan(Choice(**asked), SCENARIOS)  # type: ignore[arg-type]


def names(found: Plan) -> list[str]:
    return [task.scenario.name for task in found.tasks]


def test_a_full_run_takes_everything_in_40_minutes() -> None:
    found = plan()
    assert names(found) == list(SCENARIOS)
    assert found.expected_s() <= FILLING * FULL_LIMIT_S
    assert found.limit_s == FULL_LIMIT_S
    assert FULL_LIMIT_S <= 40 * 60


def test_a_quick_run_takes_three_minutes() -> None:
    found = plan(is_quick=True)
    assert tuple(names(found)) == QUICK_SCENARIOS
    assert found.expected_s() <= FILLING * QUICK_LIMIT_S
    assert found.limit_s == QUICK_LIMIT_S <= 3 * 60
    assert {chain.name for task in found.tasks for chain in task.chains} <= set(QUICK_CHAINS)
    for task in found.tasks:
        assert task.points == task.scenario.quick_points


def test_what_quick_runs_take_exists() -> None:
    assert set(QUICK_SCENARIOS) <= SCENARIOS.keys()
    assert set(QUICK_CHAINS) <= {chain.name for chain in CHAINS}


def test_what_is_asked_for_by_number_is_done_however_long_it_takes() -> None:
    found = plan(rounds=50, seconds=60, connections=7)
    for task in found.tasks:
        assert (task.rounds, task.load) == (50, Load(7, 60))
    assert found.limit_s > found.expected_s() > FULL_LIMIT_S


def test_rounds_are_lessened_before_seconds_and_both_only_where_they_are_open() -> None:
    slow = replace(SCENARIOS["peak"], turn_s=lambda load, point: 1000.0 * load.seconds, rounds=9)
    (task,) = make_plan(Choice(seconds=1, chains=("none",)), {"slow": slow}).tasks
    assert task.rounds < 9
    (task,) = make_plan(Choice(chains=("none",)), {"slow": replace(slow, load=Load(1, 60))}).tasks
    assert (task.rounds, task.load.seconds < 60) == (1, True)


@given(st.sets(st.sampled_from(list(SCENARIOS)), min_size=1), st.booleans())
def test_no_scenario_has_more_time_than_the_run(scenarios: set[str], is_quick: bool) -> None:
    found = plan(scenarios=tuple(scenarios), is_quick=is_quick)
    budgets_s = found.budgets_s()
    assert budgets_s == sorted(budgets_s)
    assert budgets_s[0] > 0
    assert budgets_s[-1] < found.limit_s


def test_chains_are_chosen_by_name_in_their_own_order() -> None:
    (task,) = plan(scenarios=("soak",), chains=("fastproxy-link", "none")).tasks
    assert [chain.name for chain in task.chains] == ["none", "fastproxy-link"]
    with pytest.raises(PlanError, match=r"haproxy-h9.*known are.*haproxy-h1"):
        plan(chains=("haproxy-h9",))


def test_of_all_scenarios_only_those_are_taken_that_the_chains_take_part_in() -> None:
    found = plan(chains=("none",))
    assert "peak" in names(found)
    assert "ladder-callers" not in names(found)
    with pytest.raises(PlanError, match="none of the chains"):
        make_plan(Choice(chains=("none",)), {"ladder-callers": SCENARIOS["ladder-callers"]})


def test_a_scenario_is_taken_once() -> None:
    assert names(plan(scenarios=("peak", "latency", "peak"))) == ["peak", "latency"]


def test_the_record_starts_blank_and_describes_itself() -> None:
    found = plan(scenarios=("peak",), rounds=2)
    (blank,) = found.blank(records.FACTS).scenarios
    assert (blank.name, blank.rounds, blank.turns) == ("peak", 2, [])
    assert [chain.name for chain in blank.chains] == [chain.name for chain in CHAINS]
    assert blank.figures == SCENARIOS["peak"].figures


def test_every_figure_of_every_scenario_is_explained() -> None:
    figures = [figure for scenario in SCENARIOS.values() for figure in scenario.figures]
    assert [figure.name for figure in figures if not is_explained(figure)] == []


def test_every_plot_is_of_a_figure_or_a_series() -> None:
    for scenario in SCENARIOS.values():
        figures = {figure.name for figure in scenario.figures}
        for plot in scenario.plots:
            assert plot.name in figures or plot.name.startswith("resident_")
