"""What came out: medians per chain, as a table for people and as JSON for programs.

Ratios are made of medians of one run. Figures of different runs aren't comparable: machines are noisy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.table import Table

from fastproxy.bench.peers import Chain
from fastproxy.bench.scenario import Load, Scenario

BLANK = "–"


@dataclass(slots=True)
class Outcome:
    """All that was found about one chain in one scenario.

    rounds: the figures of each round, by name.
    failure: why the chain can't be relied upon, or None.
    skipped: why it wasn't measured, or None.
    """

    chain: Chain
    rounds: list[dict[str, float]] = field(default_factory=list)
    failure: str | None = None
    skipped: str | None = None

    def median_of(self, figure: str) -> float | None:
        """Return the median of a figure over the rounds, None when no round has it."""
        values = [measured[figure] for measured in self.rounds if figure in measured]
        return median(values) if values else None


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one scenario found: what was asked, with how much load, and the outcome of each chain."""

    scenario: Scenario
    rounds: int
    load: Load
    outcomes: Sequence[Outcome]

    def baselines(self) -> list[Outcome]:
        """Return the outcomes that the others are set in ratio to, of those that were measured."""
        return [
            outcome
            for name in self.scenario.baselines
            for outcome in self.outcomes
            if outcome.chain.name == name and outcome.rounds
        ]


def ratio(outcome: Outcome, baseline: Outcome, figure: str) -> float | None:
    """Return a chain's median over that of another, None when one has none."""
    over, under = outcome.median_of(figure), baseline.median_of(figure)
    return over / under if over is not None and under else None


def table(findings: Findings) -> Table:
    """Return the figures of all chains for a terminal, one row each."""
    shown = Table(title=_caption(findings))
    shown.add_column("chain")
    for heading in _headings(findings):
        shown.add_column(heading, justify="right")
    for outcome in findings.outcomes:
        if outcome.rounds:
            # What failed did other work than the rest: its figures stand, but marked.
            style = "red" if outcome.failure else None
            shown.add_row(outcome.chain.title, *_cells(findings, outcome), style=style)
    return shown


def markdown(findings: Findings) -> str:
    """Return the same as `table` in Markdown, remarks included."""
    headings = _headings(findings)
    lines = [
        _caption(findings),
        "",
        _row(["chain", *headings]),
        _row(["---", *("---:" for _ in headings)]),
    ]
    for outcome in findings.outcomes:
        if outcome.rounds:
            lines.append(_row([outcome.chain.title, *_cells(findings, outcome)]))
    lines += [line for remark in remarks(findings) for line in ("", remark)]
    return "\n".join(lines) + "\n"


def remarks(findings: Findings) -> list[str]:
    """Return a line per chain that failed or was left out, with the reason."""
    outcomes = findings.outcomes
    lines = [f"FAILED {outcome.chain.name}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    return lines + [f"left out {o.chain.name}: {o.skipped}" for o in outcomes if o.skipped]


def as_json(findings: Findings) -> dict[str, Any]:
    """Return everything that a scenario measured, rounds included."""
    scenario, baselines = findings.scenario, findings.baselines()
    chains = [
        {
            "name": outcome.chain.name,
            "title": outcome.chain.title,
            "failure": outcome.failure,
            "skipped": outcome.skipped,
            "median": {figure.name: outcome.median_of(figure.name) for figure in scenario.figures},
            "ratio": {
                figure.name: {
                    baseline.chain.name: ratio(outcome, baseline, figure.name) for baseline in baselines
                }
                for figure in scenario.figures
                if figure.is_compared
            },
            "rounds": outcome.rounds,
        }
        for outcome in findings.outcomes
    ]
    return {
        "scenario": scenario.name,
        "title": scenario.title,
        "rounds": findings.rounds,
        "load": asdict(findings.load),
        "chains": chains,
    }


def _caption(findings: Findings) -> str:
    load = findings.load
    return (
        f"{findings.scenario.name}: {findings.scenario.title}. Medians, rounds: {findings.rounds}, "
        f"of {load.seconds} s; connections: {load.connections}"
    )


def _headings(findings: Findings) -> list[str]:
    baselines = [f"× {baseline.chain.name}" for baseline in findings.baselines()]
    headings: list[str] = []
    for figure in findings.scenario.figures:
        headings += [figure.heading, *(baselines if figure.is_compared else ())]
    return headings


def _cells(findings: Findings, outcome: Outcome) -> list[str]:
    baselines = findings.baselines()
    cells: list[str] = []
    for figure in findings.scenario.figures:
        cells.append(_number(outcome.median_of(figure.name), figure.form, figure.unit))
        if figure.is_compared:
            cells += [_number(ratio(outcome, baseline, figure.name), ".2f") for baseline in baselines]
    return cells


def _number(value: float | None, form: str, unit: str = "") -> str:
    return BLANK if value is None else f"{value:{form}}{unit}"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
