"""What people and programs are shown: every figure, every failure, and nothing that a page has to fetch."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from fastproxy.bench import html_page, plots, reports
from fastproxy.bench.markdown import page, report
from fastproxy.bench.record import Record
from fastproxy.bench.store import load
from fastproxy.bench.tables import plot_table, point_table
from tests.bench import records

ROOT = Path(__file__).parents[2]


def a_record() -> Record:
    return records.record(records.peak(), records.sweep())


def html(*, has_plots: bool = True) -> str:
    return html_page.page(a_record(), plots.draw if has_plots else None)


def parsed(text: str) -> ET.Element:
    """The page is written so that it is XML as well: a tag that isn't closed fails here."""
    return ET.fromstring(text.removeprefix("<!DOCTYPE html>"))


def test_a_table_has_every_chain_with_its_ratios() -> None:
    peak = records.peak()
    table = point_table(peak, peak.points[0])
    assert table.headings == ["chain", "requests/s", "× haproxy-h1", "CPU out"]
    assert table.rows == [
        ["title of none", "4,200", "2.10 (2.00–4.40)", "–"],
        ["title of haproxy-h1", "2,000", "1.00", "20.0 µs"],
        ["title of fastproxy-link", "2,000", "1.50 (0.50–2.00)", "20.0 µs"],
        ["Envoy (not installed)", "–", "–", "–"],
    ]


def test_beside_a_plot_stand_its_numbers() -> None:
    peak, sweep = records.peak(), records.sweep()
    assert plot_table(peak, peak.plots[0]).rows[2] == ["fastproxy-link", "2,000", "1,000–3,000"]
    by_rate, over_time = (plot_table(sweep, plot) for plot in sweep.plots)
    assert by_rate.headings == ["chain", "500/s", "1,000/s"]
    assert by_rate.rows == [
        ["haproxy-h1", "2.00 ms", "4.00 ms"],
        ["fastproxy-link (failed)", "1.00 ms", "–"],
    ]
    assert over_time.rows[1] == ["fastproxy-link (failed)", "40.0", "44.0", "41.0"]


def test_failures_stand_in_every_report(tmp_path: Path) -> None:
    files = reports.write(a_record(), tmp_path)
    assert [file.name for file in files] == ["bench.json", "bench.md", "bench.html"]
    assert load(files[0]) == a_record()
    for file, lost in zip(files, ("<was>", "&lt;was>", "&lt;was&gt;"), strict=True):
        text = file.read_text()
        assert f"a connection {lost} lost" in text
        assert "envoy is not installed; install it with: pip install it" in text
        assert "grows with callers" in text


def test_markdown_has_tables_on_one_line_each() -> None:
    text = report(a_record())
    assert "| title of fastproxy-link | 2,000 | 1.50 (0.50–2.00) | 20.0 µs |" in text
    assert "- FAILED fastproxy-link at 1,000/s: a connection &lt;was> lost now\n" in text
    assert "<summary>latency: all figures at 1,000/s</summary>\n\n| chain |" in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_the_page_is_well_formed_and_has_every_figure() -> None:
    root = parsed(html())
    text = "".join(root.itertext())
    for words in ("4,200", "1.50 (0.50–2.00)", "link <ours>", "44.0", "A processor", "1.22.1", "median"):
        assert words in text
    assert "Something failed in: latency." in text
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("has_plots", [True, False])
def test_the_page_needs_nothing_beside_itself(*, has_plots: bool) -> None:
    text = html(has_plots=has_plots)
    for element in parsed(text).iter():
        name = element.tag.rpartition("}")[2]
        assert name not in {"script", "link", "img", "iframe", "object", "embed", "image", "base"}
        for attribute, value in element.items():
            if attribute.rpartition("}")[2] in {"src", "href", "srcset", "action"}:
                assert value.startswith("#")
    assert "url(" not in text.replace("url(#", "")
    assert "@import" not in text


def test_plots_are_drawn_in_the_colour_of_the_text() -> None:
    root = parsed(html())
    drawn = [element for element in root.iter() if element.tag.endswith("}svg")]
    assert len(drawn) == 3
    for svg in drawn:
        written = ET.tostring(svg, encoding="unicode")
        assert "currentColor" in written
        assert plots.INK not in written
        assert "#000000" not in written
        assert "#ffffff" not in written
        labels = "".join(svg.itertext())
        assert "fastproxy-link" in labels


def test_a_plot_is_the_same_each_time() -> None:
    peak = records.peak()
    assert plots.draw(peak, peak.plots[0]) == plots.draw(peak, peak.plots[0])


def test_what_nobody_measured_is_not_drawn() -> None:
    for scenario in (records.peak(), records.sweep()):
        scenario.turns = []
        assert [plots.draw(scenario, plot) for plot in scenario.plots] == [None] * len(scenario.plots)


def test_without_plots_the_page_says_how_to_get_them() -> None:
    text = html(has_plots=False)
    assert "<svg" not in text
    assert "pip install &#x27;fastproxy-link[bench]&#x27;" in text
    assert "pip install" not in html().replace("pip install it", "")


def test_a_run_that_was_interrupted_says_how_far_it_came() -> None:
    record = a_record()
    record.state = "interrupted"
    for text in (report(record), html_page.page(record, None)):
        assert "Interrupted after 13 of 16 turns; --resume goes on." in text


def test_the_page_of_the_documentation_shows_its_record() -> None:
    docs = ROOT / "docs"
    assert page(load(docs / "performance.json")) == (docs / "performance.md").read_text(), "run `make docs`"
