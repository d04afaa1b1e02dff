"""What a scenario is: one question that is put to every chain, and the figures that answer it.

A scenario is a value; what differs between scenarios is data and one function, `measure`, which takes a
standing chain through one turn. Starting chains, taking turns, medians, ratios and output are the same for
all, and know no scenario by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import Tool

POST_SCRIPT = Path(__file__).with_name("post.lua")
"""The request of the performance record of the Go original (`wrk -s post.lua`), unchanged, so that figures
can be set beside that record."""


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
class Load:
    """How much load a chain gets: open connections of the caller, and the length of each part of a turn."""

    connections: int
    seconds: int


class Turn(NamedTuple):
    """What one turn of a chain found.

    figures: by name; a figure that the chain can't have (CPU where there is no proxy) is left out.
    fault: why they can't be relied upon, None when they can.
    """

    figures: dict[str, float]
    fault: str | None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question to all chains.

    name: for the command line. title: for people.
    measure: takes a chain through one turn; raises LoadError and ProcessLookupError.
    figures: those of a turn, in the order of the table.
    baselines: names of the chains whose figures the others' are set in ratio to.
    chains: names of those that take part unless others are asked for; None: all.
    tools: what it needs beside the chains' own.
    rounds, load: unless others are asked for.
    warms_up: whether a turn goes ahead that doesn't count; not where the first load is what is looked at.
    """

    name: str
    title: str
    measure: Callable[[StandingChain, Load], Turn]
    figures: tuple[Figure, ...]
    baselines: tuple[str, ...]
    chains: tuple[str, ...] | None
    tools: tuple[Tool, ...]
    rounds: int
    load: Load
    warms_up: bool = True
