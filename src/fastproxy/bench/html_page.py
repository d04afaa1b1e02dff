"""The report as one HTML page that needs nothing beside itself: style and plots stand in it.

Made from a record alone. All text from outside (names, versions, messages of programs) is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from fastproxy.bench.glossary import terms_for
from fastproxy.bench.record import Record, ScenarioRecord
from fastproxy.bench.scenario import FAILED, Plot
from fastproxy.bench.tables import Table, facts_table, plot_table, point_table
from fastproxy.bench.words import ending, failed_scenarios, how_measured

STYLE_FILE = Path(__file__).with_name("report.css")

NO_PLOTS = (
    "This report has tables only: matplotlib, which draws the plots, wasn't there. Install it with "
    "pip install 'fastproxy-link[bench]', then let the same command run again with --resume: it "
    "measures nothing anew and writes the reports with plots."
)

Draw = Callable[[ScenarioRecord, Plot], str | None]


def page(record: Record, draw: Draw | None) -> str:
    """Return the page.

    Args:
        draw: makes an SVG element of a plot, None where there is nothing to draw; without it there are
            tables only, and the page says so.
    """
    style = STYLE_FILE.read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        '<meta name="color-scheme" content="light dark"/>\n'
        f"<title>fastproxy bench</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "".join(_body(record, draw))
        + "</body>\n</html>\n"
    )


def _body(record: Record, draw: Draw | None) -> Iterator[str]:
    facts = record.facts
    versions = f"fastproxy {facts.versions.get('fastproxy', 'unknown')}, Python {facts.versions['python']}"
    yield "<header>\n<h1>fastproxy bench</h1>\n"
    yield _paragraph(f"{facts.started}; {facts.cpu}, {facts.cores} cores; {versions}")
    yield _paragraph(ending(record))
    failed = failed_scenarios(record)
    if failed:
        yield f'<p class="failed">Something failed in: {escape(", ".join(failed))}.</p>\n'
    if draw is None:
        yield _paragraph(NO_PLOTS)
    links = [(scenario.name, scenario.name) for scenario in record.scenarios]
    links += [("run", "the run"), ("glossary", "what the figures mean")]
    yield "<nav>" + " ".join(f'<a href="#{escape(to)}">{escape(name)}</a>' for to, name in links) + "</nav>\n"
    yield "</header>\n<main>\n"
    for scenario in record.scenarios:
        yield from _scenario(scenario, draw)
    yield '<section id="run">\n<h2>The run</h2>\n'
    yield _table(facts_table(facts), css_class="facts")
    yield '</section>\n<section id="glossary">\n<h2>What the figures mean</h2>\n<dl>\n'
    for term in terms_for(figure for scenario in record.scenarios for figure in scenario.figures):
        yield f"<dt>{escape(term.term)}</dt><dd>{escape(term.meaning)}</dd>\n"
    yield "</dl>\n</section>\n</main>\n"


def _scenario(scenario: ScenarioRecord, draw: Draw | None) -> Iterator[str]:
    yield f'<section id="{escape(scenario.name)}">\n<h2>{escape(scenario.name)}</h2>\n'
    yield f'<p class="title">{escape(scenario.title)}</p>\n'
    yield f'<p class="how">{escape(how_measured(scenario))}</p>\n'
    remarks = scenario.remarks()
    if remarks:
        yield '<ul class="remarks">\n'
        for remark in remarks:
            css_class = ' class="failed"' if remark.startswith(FAILED) else ""
            yield f"<li{css_class}>{escape(' '.join(remark.split()))}</li>\n"
        yield "</ul>\n"
    if scenario.turns:
        if not scenario.is_swept():
            yield _table(point_table(scenario, scenario.points[0]))
        for plot in scenario.plots:
            yield _plot(scenario, plot, draw)
        if scenario.is_swept():
            for point in scenario.points:
                yield f"<details>\n<summary>All figures at {escape(point.name)}</summary>\n"
                yield _table(point_table(scenario, point))
                yield "</details>\n"
    yield "</section>\n"


def _plot(scenario: ScenarioRecord, plot: Plot, draw: Draw | None) -> str:
    """Return a plot and, beside it, its numbers."""
    drawn = draw(scenario, plot) if draw is not None else None
    figure = f"<div>{drawn}</div>\n" if drawn else ""
    return (
        f'<figure>\n<figcaption>{escape(plot.title)}</figcaption>\n<div class="plot">\n{figure}'
        f"{_table(plot_table(scenario, plot))}</div>\n</figure>\n"
    )


def _table(table: Table, css_class: str = "") -> str:
    attributes = f' class="{css_class}"' if css_class else ""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in table.headings)
    head = f"<thead><tr>{head}</tr></thead>\n" if any(table.headings) else ""
    rows = "".join(
        f"<tr><th>{escape(first)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in rest)}</tr>\n"
        for first, *rest in table.rows
    )
    return f'<div class="scroll"><table{attributes}>\n{head}<tbody>\n{rows}</tbody></table></div>\n'


def _paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>\n"
