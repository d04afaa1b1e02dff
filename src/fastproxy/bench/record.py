"""The record of a run: what was planned, on which machine, and all that each turn found.

A record describes itself: with the figures stand their headings, units and plots, so that reports are made
from the record alone, also years later. Medians, spreads and ratios are derived from the turns and never
stored apart from them. Ratios are made within a round of one run: figures of different runs aren't
comparable, machines are noisy. Pure: reads no file, clock or machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median
from typing import Any, Literal, NamedTuple

from fastproxy.bench.scenario import FAILED, Figure, Load, Plot, Point

FORMAT = 1
"""Of the file that holds a record; another number can't be read."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Where and how a run was made.

    started: date and time in UTC (ISO 8601). command: as it was given. versions: by program.
    """

    started: str
    command: str
    cpu: str
    cores: int
    memory_mib: int
    kernel: str
    versions: dict[str, str]


class Spread(NamedTuple):
    """A median over rounds, and the least and the greatest of what it is the median of."""

    median: float
    low: float
    high: float


@dataclass(slots=True)
class ChainRecord:
    """A chain that takes part in a scenario.

    missing: what isn't installed, and how to install it; None when it is.
    failure: why it couldn't be started, or was given up.
    """

    name: str
    title: str
    missing: str | None = None
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """What one turn found.

    point: its name. round: counted from 1.
    figures: none when the turn failed. fault: why they can't be relied upon, or why there are none.
    """

    chain: str
    point: str
    round: int
    figures: dict[str, float]
    fault: str | None = None
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)


@dataclass(slots=True)
class ScenarioRecord:
    """One scenario: what was asked, with how much load, and every turn that was taken.

    missing: what the scenario itself needs and isn't installed. broken_off: why turns are left out.
    verdict: what its figures mean, a line each.
    """

    name: str
    title: str
    axis: str
    figures: tuple[Figure, ...]
    plots: tuple[Plot, ...]
    baselines: tuple[str, ...]
    points: tuple[Point, ...]
    rounds: int
    load: Load
    chains: list[ChainRecord]
    missing: str | None = None
    broken_off: str | None = None
    verdict: list[str] = field(default_factory=list)
    turns: list[TurnRecord] = field(default_factory=list)

    def has_turn(self, chain: str, point: str, round_number: int) -> bool:
        """Return whether a turn was taken, well or not."""
        return any(
            (turn.chain, turn.point, turn.round) == (chain, point, round_number) for turn in self.turns
        )

    def values_of(self, chain: str, point: str, figure: str) -> dict[int, float]:
        """Return a figure of a chain at a point, by round; without the rounds that don't have it."""
        return {
            turn.round: turn.figures[figure]
            for turn in self.turns
            if turn.chain == chain and turn.point == point and figure in turn.figures
        }

    def spread_of(self, chain: str, point: str, figure: str) -> Spread | None:
        """Return the median of a figure over the rounds with its spread, None when no round has it."""
        return _spread(list(self.values_of(chain, point, figure).values()))

    def ratio_of(self, chain: str, baseline: str, point: str, figure: str) -> Spread | None:
        """Return the median of a figure's ratios to a baseline's of the same rounds, None without any."""
        under = self.values_of(baseline, point, figure)
        over = self.values_of(chain, point, figure)
        return _spread([value / under[number] for number, value in over.items() if under.get(number)])

    def series_of(self, chain: str, name: str) -> list[tuple[float, float]]:
        """Return a series of a chain as its last turn found it, empty when there is none."""
        found = [turn.series[name] for turn in self.turns if turn.chain == chain and name in turn.series]
        return found[-1] if found else []

    def faults_of(self, chain: str, point: str) -> list[str]:
        """Return what was wrong with the turns of a chain at a point."""
        return [
            turn.fault for turn in self.turns if turn.chain == chain and turn.point == point and turn.fault
        ]

    def measured_chains(self) -> list[ChainRecord]:
        """Return the chains that have figures."""
        names = {turn.chain for turn in self.turns if turn.figures}
        return [chain for chain in self.chains if chain.name in names]

    def measured_baselines(self) -> list[str]:
        """Return the names of the baselines that have figures, in their own order."""
        names = {chain.name for chain in self.measured_chains()}
        return [name for name in self.baselines if name in names]

    def is_swept(self) -> bool:
        """Return whether there is more than one point."""
        return len(self.points) > 1

    def remarks(self) -> list[str]:
        """Return, a line each, all that a reader must know beside the figures: failures come first."""
        failures = [f"{FAILED}{line}" for line in self._failures()]
        said = sorted(self.verdict, key=lambda line: not line.startswith(FAILED))
        missing = [f"left out {chain.name}: {chain.missing}" for chain in self.chains if chain.missing]
        if self.missing:
            missing.insert(0, f"left out: {self.missing}")
        if self.broken_off:
            missing.append(f"broken off: {self.broken_off}")
        return failures + said + missing

    def has_failed(self) -> bool:
        """Return whether a chain failed, or the scenario couldn't be carried through."""
        return self.broken_off is not None or any(line.startswith(FAILED) for line in self.remarks())

    def _failures(self) -> Iterator[str]:
        for chain in self.chains:
            if chain.failure:
                yield f"{chain.name}: {chain.failure}"
            for point in self.points:
                faults = self.faults_of(chain.name, point.name)
                if faults:
                    where = f" at {point.name}" if point.name else ""
                    rounds = f" (in {len(faults)} of {self.rounds} rounds)" if self.rounds > 1 else ""
                    yield f"{chain.name}{where}: {faults[0]}{rounds}"


@dataclass(slots=True)
class Record:
    """A whole run.

    state: "running" is also what a run has that the power failed under.
    """

    facts: Facts
    is_quick: bool
    scenarios: list[ScenarioRecord]
    state: Literal["running", "interrupted", "complete"] = "running"
    format: int = FORMAT

    def has_failed(self) -> bool:
        """Return whether a chain failed or a scenario was broken off."""
        return any(scenario.has_failed() for scenario in self.scenarios)


def summary(scenario: ScenarioRecord) -> dict[str, Any]:
    """Return the medians, spreads and ratios of a scenario, by chain, point and figure, for programs."""
    return {
        chain.name: {
            point.name: {
                figure.name: _summary_of(scenario, chain.name, point.name, figure)
                for figure in scenario.figures
            }
            for point in scenario.points
        }
        for chain in scenario.measured_chains()
    }


def _summary_of(scenario: ScenarioRecord, chain: str, point: str, figure: Figure) -> dict[str, Any] | None:
    spread = scenario.spread_of(chain, point, figure.name)
    if spread is None:
        return None
    ratios = {
        baseline: ratio._asdict()
        for baseline in (scenario.measured_baselines() if figure.is_compared else ())
        if (ratio := scenario.ratio_of(chain, baseline, point, figure.name)) is not None
    }
    return spread._asdict() | ({"ratios": ratios} if ratios else {})


def _spread(values: list[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None
