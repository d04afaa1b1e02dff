"""The report in Markdown: made from a record alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fastproxy.bench.glossary import terms_for
from fastproxy.bench.record import Record, ScenarioRecord
from fastproxy.bench.scenario import Point
from fastproxy.bench.tables import Table, facts_table, plot_table, point_table
from fastproxy.bench.words import ending, how_measured


def report(record: Record) -> str:
    """Return the whole report."""
    return _joined(["# fastproxy bench", ending(record), *body(record)])


def page(record: Record) -> str:
    """Return the page of the documentation that shows a record."""
    head = (
        "# Performance",
        "This page is made from `performance.json`, the record of a real run, by `make docs`. "
        "[benchmark.md](benchmark.md) says how to make such a run and how to read it, "
        "[tuning.md](tuning.md) where the time goes.",
        ending(record),
    )
    return _joined([*head, *body(record)])


def body(record: Record) -> Iterator[str]:
    """Return the blocks of a report: the facts of the run, each scenario, and what the figures mean."""
    yield "## The run"
    yield _table(facts_table(record.facts))
    for scenario in record.scenarios:
        yield from _scenario(scenario)
    yield "## What the figures mean"
    figures = [figure for scenario in record.scenarios for figure in scenario.figures]
    yield "\n".join(f"- **{term.term}**: {term.meaning}" for term in terms_for(figures))


def _scenario(scenario: ScenarioRecord) -> Iterator[str]:
    yield f"## {scenario.name}"
    yield f"{_sentence(scenario.title)} {how_measured(scenario)}"
    remarks = scenario.remarks()
    if remarks:
        yield "\n".join(f"- {_line(remark)}" for remark in remarks)
    if not scenario.turns:
        return
    if not scenario.is_swept():
        yield _table(point_table(scenario, scenario.points[0]))
    for plot in scenario.plots:
        is_figure = any(figure.name == plot.name for figure in scenario.figures)
        if scenario.is_swept() or not is_figure:
            over = f", by {scenario.axis}" if is_figure and scenario.axis else ""
            yield f"### {plot.title}{over}"
            yield _table(plot_table(scenario, plot))
    if scenario.is_swept():
        for point in scenario.points:
            yield from _folded(scenario, point)


def _folded(scenario: ScenarioRecord, point: Point) -> Iterator[str]:
    """Return all figures at one point, folded where Markdown is shown with HTML."""
    yield f"<details><summary>{scenario.name}: all figures at {point.name}</summary>"
    yield _table(point_table(scenario, point))
    yield "</details>"


def _table(table: Table) -> str:
    rule = ["---", *("---:" for _ in table.headings[1:])]
    return "\n".join(map(_row, [table.headings, rule, *table.rows]))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _sentence(title: str) -> str:
    return f"{title[:1].upper()}{title[1:]}."


def _line(text: str) -> str:
    """Return a text on one line, with what Markdown would take for markup made harmless."""
    return " ".join(text.split()).replace("<", "&lt;")


def _joined(blocks: Iterable[str]) -> str:
    return "\n\n".join(blocks) + "\n"
