"""The tables of a report: headings and cells as text, the same for every format that shows them.

Every chain that was asked has its row, also one that has no figures: nothing is left out silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastproxy.bench.record import ChainRecord, Facts, ScenarioRecord, Spread
from fastproxy.bench.scenario import Figure, Plot, Point

BLANK = "–"


class Table(NamedTuple):
    """Headings and rows of the same length; the first column is a name, the others are figures."""

    headings: list[str]
    rows: list[list[str]]


def point_table(scenario: ScenarioRecord, point: Point) -> Table:
    """Return all figures at one point, a row for each chain: medians, and ratios with their spread."""
    headings = ["chain"]
    for figure in scenario.figures:
        headings.append(figure.heading)
        if figure.is_compared:
            headings += [f"× {name}" for name in scenario.measured_baselines()]
    rows = []
    for chain in scenario.chains:
        row = [f"{chain.title}{_mark(scenario, chain, [point])}"]
        for figure in scenario.figures:
            row.append(_figure_cell(figure, scenario.spread_of(chain.name, point.name, figure.name)))
            if figure.is_compared:
                row += [
                    ratio_cell(scenario.ratio_of(chain.name, name, point.name, figure.name))
                    for name in scenario.measured_baselines()
                ]
        rows.append(row)
    return Table(headings, rows)


def plot_table(scenario: ScenarioRecord, plot: Plot) -> Table:
    """Return the numbers that a plot shows, a row for each chain, by the name that the plot has for it."""
    figure = next((figure for figure in scenario.figures if figure.name == plot.name), None)
    if figure is None:
        return _series_table(scenario, plot)
    if scenario.is_swept():
        return _sweep_table(scenario, figure)
    (point,) = scenario.points
    rows = []
    for chain in scenario.chains:
        spread = scenario.spread_of(chain.name, point.name, figure.name)
        rows.append(
            [
                f"{chain.name}{_mark(scenario, chain, [point])}",
                _figure_cell(figure, spread),
                BLANK if spread is None else f"{spread.low:{figure.form}}–{spread.high:{figure.form}}",
            ]
        )
    return Table(["chain", figure.heading, "least to most"], rows)


def facts_table(facts: Facts) -> Table:
    """Return the facts of a run."""
    rows = [
        ["started", facts.started],
        ["command", facts.command],
        ["processor", facts.cpu],
        ["cores", str(facts.cores)],
        ["memory", f"{facts.memory_mib:,} MiB"],
        ["kernel", facts.kernel],
        *([name, version] for name, version in facts.versions.items()),
    ]
    return Table(["", ""], rows)


def ratio_cell(ratio: Spread | None) -> str:
    """Return a ratio with the least and the greatest of the rounds, without these when they are the same."""
    if ratio is None:
        return BLANK
    middle, low, high = (f"{value:.2f}" for value in ratio)
    return middle if low == high else f"{middle} ({low}–{high})"


def _sweep_table(scenario: ScenarioRecord, figure: Figure) -> Table:
    rows = [
        [
            f"{chain.name}{_mark(scenario, chain, scenario.points)}",
            *(
                _figure_cell(figure, scenario.spread_of(chain.name, point.name, figure.name))
                for point in scenario.points
            ),
        ]
        for chain in scenario.chains
    ]
    return Table(["chain", *(point.name for point in scenario.points)], rows)


def _series_table(scenario: ScenarioRecord, plot: Plot) -> Table:
    rows = []
    for chain in scenario.chains:
        values = [value for _, value in scenario.series_of(chain.name, plot.name)]
        ends = (values[0], max(values), values[-1]) if values else (None, None, None)
        cells = [BLANK if value is None else f"{value:,.1f}" for value in ends]
        rows.append([f"{chain.name}{_mark(scenario, chain, scenario.points)}", *cells])
    return Table(["chain", "at first", "at most", "at last"], rows)


def _figure_cell(figure: Figure, spread: Spread | None) -> str:
    return BLANK if spread is None else f"{spread.median:{figure.form}}{figure.unit}"


def _mark(scenario: ScenarioRecord, chain: ChainRecord, points: Sequence[Point]) -> str:
    """Return what is put behind a chain's name where the figures beside it aren't the whole truth."""
    if chain.missing:
        return " (not installed)"
    if chain.failure or any(scenario.faults_of(chain.name, point.name) for point in points):
        return " (failed)"
    return ""
