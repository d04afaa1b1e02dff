"""What a scenario is: one question that is put to every chain, and the figures that answer it.

A scenario is a value; what differs between scenarios is data and two functions: `measure`, which takes a
standing chain through one turn, and `verdict`, which says in words what the figures mean. Starting chains,
taking turns, medians, ratios and output are the same for all, and know no scenario by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

from fastproxy.bench.configs import ConfigSize
from fastproxy.bench.peers import Chain
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import Tool

POST_SCRIPT = Path(__file__).with_name("post.lua")
"""The request of the performance record of the Go original (`wrk -s post.lua`), unchanged, so that figures
can be set beside that record."""

FAILED = "FAILED "
"""How a remark begins that says that a chain didn't do what it should."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity.

    name: in JSON, with its unit. heading: in tables. form: how it is written there. unit: likewise.
    is_compared: whether its ratio to the baselines is shown.
    """

    name: str
    heading: str
    form: str = ",.0f"
    unit: str = ""
    is_compared: bool = False


@dataclass(frozen=True, slots=True)
class Plot:
    """How one figure, or one series, is drawn over the scenario's axis, a line or a bar per chain.

    name: of a figure, or of a series of `Turn.series`. y_label: with the unit.
    """

    name: str
    title: str
    y_label: str
    is_log_x: bool = False
    is_log_y: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """One step of what a scenario sweeps.

    name: for people and JSON, "" where nothing is swept. value: on the scenario's axis.
    size: how large the configs are of chains that stand anew for this point.
    """

    name: str
    value: float
    size: ConfigSize = field(default_factory=ConfigSize)


UNSWEPT = (Point("", 0.0),)


@dataclass(frozen=True, slots=True)
class Load:
    """How much load a chain gets: open connections of the caller, and the length of each part of a turn."""

    connections: int
    seconds: int


class Turn(NamedTuple):
    """What one turn of a chain at one point found.

    figures: by name; a figure that the chain can't have (CPU where there is no proxy) is left out.
    fault: why they can't be relied upon, None when they can.
    series: by name, pairs of seconds since the turn began and the value then, in order.
    """

    figures: dict[str, float]
    fault: str | None
    series: dict[str, list[tuple[float, float]]] = {}  # noqa: RUF012 - a default that nobody changes


class Answers(Protocol):
    """What all turns of one chain found, as far as a verdict needs it."""

    @property
    def chain(self) -> Chain:
        """The chain that was asked."""

    @property
    def points(self) -> Sequence[Point]:
        """The points that it was asked at, in the scenario's order."""

    def median_of(self, figure: str, point: Point) -> float | None:
        """Return the median of a figure over the rounds, None when no round has it."""


def no_verdict(answers: Sequence[Answers]) -> list[str]:
    """Say nothing: the figures speak for themselves."""
    return []


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question to all chains.

    name: for the command line. title: for people.
    measure: takes a chain through one turn at one point; raises LoadError and ProcessLookupError.
    figures: those of a turn, in the order of the table.
    baselines: names of the chains whose figures the others' are set in ratio to.
    chains: names of those that take part unless others are asked for; None: all.
    tools: what it needs beside the chains' own.
    rounds, load: unless others are asked for.
    turn_s: how long a turn lasts, as far as can be told before, in seconds; standing up not included.
    points, quick_points: the steps of what is swept, in order; `UNSWEPT` where nothing is.
    axis: what is swept, with its unit.
    stands_anew: whether a chain is started for each point, with `stand(..., point.size)`, instead of once.
    stand_s: how long standing up at a point lasts, as far as can be told before.
    plots: what is drawn.
    verdict: what the figures mean, a line each; those that begin with `FAILED` say what mustn't be.
    warms_up: whether a turn goes ahead that doesn't count; not where the first load is what is looked at.
    """

    name: str
    title: str
    measure: Callable[[StandingChain, Load, Point], Turn]
    figures: tuple[Figure, ...]
    baselines: tuple[str, ...]
    chains: tuple[str, ...] | None
    tools: tuple[Tool, ...]
    rounds: int
    load: Load
    turn_s: Callable[[Load, Point], float]
    points: tuple[Point, ...] = UNSWEPT
    quick_points: tuple[Point, ...] = UNSWEPT
    axis: str = ""
    stands_anew: bool = False
    stand_s: Callable[[Point], float] = lambda point: 1.0
    plots: tuple[Plot, ...] = ()
    verdict: Callable[[Sequence[Answers]], list[str]] = no_verdict
    warms_up: bool = True
