"""What a run will do, known before it begins: which scenarios, chains and points, how often, how long.

A plan fits into the time that it may take: what is left open by its user (rounds, and the seconds of a turn)
is lessened until it does. Pure: measures nothing and starts nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fastproxy.bench.peers import CHAINS, Chain
from fastproxy.bench.record import ChainRecord, Facts, Record, ScenarioRecord
from fastproxy.bench.scenario import Load, Point, Scenario
from fastproxy.bench.tools import NGINX, Tool

FULL_LIMIT_S = 40 * 60.0
QUICK_LIMIT_S = 3 * 60.0
FILLING = 0.85
"""How much of the time that a run may take it is planned to take: turns last longer on a busy machine."""

SLACK_S = 60.0
REPORT_S = 10.0
"""Kept back from the time of a run, for stopping what runs and writing the reports."""

QUICK_SCENARIOS = ("peak", "latency", "bodies")
QUICK_ROUNDS = 3
QUICK_SECONDS = 2
QUICK_CHAINS = ("none", "haproxy-h2", "nginx-h1", "envoy-h2", "fastproxy-link", "fastproxy-http")
WARM_UP_SECONDS = 2


class PlanError(Exception):
    """What was asked for can't be planned; the message says why."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user of a run asks for; None and empty where it is left open.

    scenarios, chains: names.
    """

    scenarios: tuple[str, ...] = ()
    chains: tuple[str, ...] = ()
    rounds: int | None = None
    seconds: int | None = None
    connections: int | None = None
    is_quick: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One scenario as it is to be carried out.

    rounds: turns of each chain at each point that count. load: of each turn.
    """

    scenario: Scenario
    chains: tuple[Chain, ...]
    points: tuple[Point, ...]
    rounds: int
    load: Load

    def warm_up(self) -> Load:
        """Return the load of the turn that doesn't count."""
        return replace(self.load, seconds=min(WARM_UP_SECONDS, self.load.seconds))

    def turn_s(self, point: Point) -> float:
        """Return how long a turn at a point is expected to last."""
        return self.scenario.turn_s(self.load, point)

    def start_s(self, point: Point) -> float:
        """Return how long a chain is expected to take from its start until its turns count."""
        warm_up_s = self.scenario.turn_s(self.warm_up(), point) if self.scenario.warms_up else 0.0
        return self.scenario.stand_s(point) + warm_up_s

    def expected_s(self) -> float:
        """Return how long all of it is expected to take."""
        starts = self.points if self.scenario.stands_anew else self.points[:1]
        once_s = sum(map(self.start_s, starts)) + self.rounds * sum(map(self.turn_s, self.points))
        return len(self.chains) * once_s

    def blank(self) -> ScenarioRecord:
        """Return the record of this scenario before its first turn."""
        return ScenarioRecord(
            name=self.scenario.name,
            title=self.scenario.title,
            axis=self.scenario.axis,
            figures=self.scenario.figures,
            plots=self.scenario.plots,
            baselines=self.scenario.baselines,
            points=self.points,
            rounds=self.rounds,
            load=self.load,
            chains=[ChainRecord(chain.name, chain.title) for chain in self.chains],
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """All tasks of a run, in order.

    limit_s: what the whole run may take.
    """

    tasks: tuple[Task, ...]
    limit_s: float
    is_quick: bool

    def expected_s(self) -> float:
        """Return how long the run is expected to take."""
        return sum(task.expected_s() for task in self.tasks)

    def tools(self) -> set[Tool]:
        """Return all programs of others that it would use."""
        of_chains = {chain.tool for task in self.tasks for chain in task.chains if chain.tool is not None}
        return of_chains | {NGINX} | {tool for task in self.tasks for tool in task.scenario.tools}

    def budgets_s(self) -> list[float]:
        """Return for each task the time since the run's start by which it is broken off.

        Each has its share of the limit, as large a part as it is of what is expected; what a task
        leaves over is there for those that follow.
        """
        factor = (self.limit_s - REPORT_S) / self.expected_s()
        passed_s = 0.0
        ends_s = []
        for task in self.tasks:
            passed_s += task.expected_s()
            ends_s.append(passed_s * factor)
        return ends_s

    def blank(self, facts: Facts) -> Record:
        """Return the record of this plan's run before its first turn."""
        return Record(facts, self.is_quick, [task.blank() for task in self.tasks])


def make_plan(choice: Choice, scenarios: Mapping[str, Scenario]) -> Plan:
    """Return the plan for what is asked.

    Args:
        scenarios: all that there are, by name.

    Raises:
        PlanError: the name of a chain is unknown, or nothing is left to measure.
    """
    names = choice.scenarios or (QUICK_SCENARIOS if choice.is_quick else tuple(scenarios))
    tasks = [task for name in dict.fromkeys(names) if (task := _task(scenarios[name], choice)).chains]
    if not tasks:
        raise PlanError("none of the chains that were asked for takes part in any scenario")
    limit_s = QUICK_LIMIT_S if choice.is_quick else FULL_LIMIT_S
    tasks = _fitted(tasks, FILLING * limit_s, choice)
    expected_s = sum(task.expected_s() for task in tasks)
    if expected_s > FILLING * limit_s and (choice.rounds or choice.seconds):
        limit_s = expected_s / FILLING + SLACK_S  # asked for by numbers, it may take what they take
    return Plan(tuple(tasks), limit_s, choice.is_quick)


def _task(scenario: Scenario, choice: Choice) -> Task:
    load = Load(
        connections=choice.connections or scenario.load.connections,
        seconds=choice.seconds
        or (min(QUICK_SECONDS, scenario.load.seconds) if choice.is_quick else scenario.load.seconds),
    )
    rounds = choice.rounds or (min(QUICK_ROUNDS, scenario.rounds) if choice.is_quick else scenario.rounds)
    points = scenario.quick_points if choice.is_quick else scenario.points
    return Task(scenario, _chains(scenario, choice), points, rounds, load)


def _chains(scenario: Scenario, choice: Choice) -> tuple[Chain, ...]:
    """Return the chains that take part, in the order of `CHAINS`.

    Where a scenario is asked for by name, chains may be that don't take part in it otherwise.
    """
    unknown = set(choice.chains) - {chain.name for chain in CHAINS}
    if unknown:
        known = ", ".join(chain.name for chain in CHAINS)
        raise PlanError(f"unknown chain {', '.join(sorted(unknown))}; known are {known}")
    own = [chain for chain in CHAINS if scenario.chains is None or chain.name in scenario.chains]
    if choice.chains:
        open_to = CHAINS if choice.scenarios else own
        return tuple(chain for chain in open_to if chain.name in choice.chains)
    if choice.is_quick:
        return tuple(chain for chain in own if chain.name in QUICK_CHAINS)
    return tuple(own)


def _fitted(tasks: list[Task], limit_s: float, choice: Choice) -> list[Task]:
    """Take rounds, then seconds, from whatever takes longest, as long as it is too much and they are open."""
    while sum(task.expected_s() for task in tasks) > limit_s:
        many = [task for task in tasks if task.rounds > 1 and choice.rounds is None]
        long = [task for task in tasks if task.load.seconds > 1 and choice.seconds is None]
        longest = max(many or long, key=Task.expected_s, default=None)
        if longest is None:
            break
        less = (
            replace(longest, rounds=longest.rounds - 1)
            if many
            else replace(longest, load=replace(longest.load, seconds=longest.load.seconds - 1))
        )
        tasks = [less if task is longest else task for task in tasks]
    return tasks
