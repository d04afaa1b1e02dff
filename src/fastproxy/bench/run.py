"""The run: all chains of a scenario under the same load, in turn, and every turn noted at once.

All chains of a scenario stand from its first round to its last (or, where their configs depend on the point,
for as long as the point is looked at) and take turns under load, so that a slow minute of the machine hits
each of them alike. What goes wrong with one chain stands in its record, and the others go on. Bounded: a
chain that failed twice at a point isn't asked there again, and a scenario over its time is broken off.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fastproxy.bench.credentials import issue
from fastproxy.bench.load import LoadError
from fastproxy.bench.peers import Chain
from fastproxy.bench.plan import Plan, Task
from fastproxy.bench.processes import Fleet, StartError
from fastproxy.bench.progress import Progress
from fastproxy.bench.record import ChainRecord, Record, ScenarioRecord, TurnRecord
from fastproxy.bench.scenario import Point, Turn
from fastproxy.bench.standing import StandingChain, stand, start_service
from fastproxy.bench.tools import ToolMissingError

GIVE_UP_AFTER = 2
"""Turns that a chain may fail at a point: each can take as long as its load hangs."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the turns of one chain found, as a verdict wants to see it."""

    chain: Chain
    record: ScenarioRecord

    @property
    def points(self) -> Sequence[Point]:
        """The points that it was asked at."""
        return self.record.points

    def median_of(self, figure: str, point: Point) -> float | None:
        """Return the median of a figure over the rounds, None when no round has it."""
        spread = self.record.spread_of(self.chain.name, point.name, figure)
        return spread.median if spread else None


def carry_out(
    plan: Plan,
    record: Record,
    save: Callable[[Record], None],
    progress: Progress,
    clock_s: Callable[[], float] = time.monotonic,
) -> None:
    """Take all turns of a plan that its record doesn't have yet.

    Args:
        record: of this plan; filled.
        save: called after every turn.
        clock_s: tells when a scenario is over its time.

    Raises:
        KeyboardInterrupt: goes on its way when every process that was started has ended and all is saved.
        StartError, ToolMissingError: the service that all chains lead to can't be run.
    """
    begun_s = clock_s()
    record.state = "running"
    save(record)
    try:
        for task, scenario, budget_s in zip(plan.tasks, record.scenarios, plan.budgets_s(), strict=True):
            run = _TaskRun(task, scenario, progress, lambda: save(record), clock_s, begun_s + budget_s)
            run.carry_out()
            save(record)
    except BaseException:
        record.state = "interrupted"
        save(record)
        raise
    record.state = "complete"
    save(record)


Start = Callable[[Chain, Point], StandingChain]
"""Starts a chain as large as the point wants it; raises StartError and ToolMissingError."""


class _OverBudgetError(Exception):
    """The next turn would end after the time that the scenario may take."""


class _TaskRun:
    """One task on its way.

    Args:
        scenario: its record.
        note: called after every turn.
        give_up_at_s: by `clock_s`, when it is broken off.
    """

    __slots__ = ("_clock_s", "_give_up_at_s", "_left_s", "_note", "_progress", "_scenario", "_task")

    def __init__(
        self,
        task: Task,
        scenario: ScenarioRecord,
        progress: Progress,
        note: Callable[[], None],
        clock_s: Callable[[], float],
        give_up_at_s: float,
    ) -> None:
        self._task = task
        self._scenario = scenario
        self._progress = progress
        self._note = note
        self._clock_s = clock_s
        self._give_up_at_s = give_up_at_s
        self._left_s = task.expected_s()

    def carry_out(self) -> None:
        """Take the turns that are left, and give the verdict."""
        task, scenario = self._task, self._scenario
        try:
            for tool in task.scenario.tools:
                tool.find()
        except ToolMissingError as exc:
            scenario.missing = str(exc)
            self._leave_out(self._left_s)
            return
        if self._is_any_due():
            try:
                self._take_turns()
            except _OverBudgetError as exc:
                scenario.broken_off = str(exc)
        self._leave_out(self._left_s)
        scenario.verdict = task.scenario.verdict([Answers(chain, scenario) for chain in task.chains])

    def _take_turns(self) -> None:
        """Run the service, and the chains: each once, or for each point anew."""
        task = self._task
        spans = [[point] for point in task.points] if task.scenario.stands_anew else [list(task.points)]
        with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as name, Fleet() as fleet:
            folder = Path(name)
            service_folder = folder / "service"
            service_folder.mkdir()
            service, credentials = start_service(service_folder, fleet), issue(folder)
            for points in spans:
                own = Path(tempfile.mkdtemp(dir=folder))
                with Fleet() as proxies:

                    def start(
                        chain: Chain, point: Point, own: Path = own, proxies: Fleet = proxies
                    ) -> StandingChain:
                        return stand(chain, service, own, proxies, credentials, point.size)

                    self._take_turns_at(points, start)

    def _take_turns_at(self, points: list[Point], start: Start) -> None:
        """Let all chains take turns at some points, round by round."""
        task = self._task
        standing = {}
        for chain, chain_record in zip(task.chains, self._scenario.chains, strict=True):
            if any(self._is_due(chain, point, number) for point in points for number in self._rounds()):
                started = self._start(chain, chain_record, points[0], start)
                if started is not None:
                    standing[chain.name] = started
            else:
                self._leave_out(task.start_s(points[0]))
        for number in self._rounds():
            for point in points:
                for chain in task.chains:
                    if chain.name in standing and self._is_due(chain, point, number):
                        self._take_turn(standing[chain.name], point, number)
                    else:
                        self._leave_out(task.turn_s(point))

    def _is_any_due(self) -> bool:
        return any(
            self._is_due(chain, point, number)
            for chain in self._task.chains
            for point in self._task.points
            for number in self._rounds()
        )

    def _rounds(self) -> range:
        return range(1, self._task.rounds + 1)

    def _is_due(self, chain: Chain, point: Point, number: int) -> bool:
        """Return whether a turn is still to be taken, and worth it."""
        failed = sum(
            (turn.chain, turn.point) == (chain.name, point.name) and not turn.figures
            for turn in self._scenario.turns
        )
        return failed < GIVE_UP_AFTER and not self._scenario.has_turn(chain.name, point.name, number)

    def _start(
        self,
        chain: Chain,
        chain_record: ChainRecord,
        point: Point,
        start: Start,
    ) -> StandingChain | None:
        """Start a chain and let it take a turn that doesn't count; None when it can't be started."""
        task = self._task
        expected_s = task.start_s(point)
        self._check_budget(expected_s)
        self._progress.begin(f"{self._label(point)}: starting {chain.name}")
        try:
            standing = start(chain, point)
        except ToolMissingError as exc:
            chain_record.missing = str(exc)
        except StartError as exc:
            where = f"at {point.name}: " if point.name else ""
            chain_record.failure = chain_record.failure or f"{where}{exc}"
        else:
            if task.scenario.warms_up:
                # What is wrong with it stands in the turns that follow.
                with suppress(LoadError, ProcessLookupError):
                    task.scenario.measure(standing, task.warm_up(), point)
            self._end(expected_s)
            return standing
        self._note()
        self._leave_out(expected_s)
        return None

    def _take_turn(self, standing: StandingChain, point: Point, number: int) -> None:
        task, chain = self._task, standing.chain
        expected_s = task.turn_s(point)
        self._check_budget(expected_s)
        self._progress.begin(f"{self._label(point)}, round {number} of {task.rounds}: {chain.name}")
        if not standing.is_whole():
            turn = Turn({}, "a proxy ended during the run")
        else:
            try:
                turn = task.scenario.measure(standing, task.load, point)
            except (LoadError, ProcessLookupError) as exc:
                turn = Turn({}, str(exc))
        self._scenario.turns.append(TurnRecord(chain.name, point.name, number, *turn))
        self._note()
        self._end(expected_s)

    def _end(self, expected_s: float) -> None:
        self._left_s -= expected_s
        self._progress.end(expected_s)

    def _leave_out(self, expected_s: float) -> None:
        self._left_s -= expected_s
        self._progress.leave_out(expected_s)

    def _check_budget(self, expected_s: float) -> None:
        if self._clock_s() + expected_s > self._give_up_at_s:
            taken = len(self._scenario.turns)
            planned = len(self._task.chains) * len(self._task.points) * self._task.rounds
            raise _OverBudgetError(f"its time was over after {taken} of {planned} turns")

    def _label(self, point: Point) -> str:
        name = self._task.scenario.name
        return f"{name}, {point.name}" if point.name else name
