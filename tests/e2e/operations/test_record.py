"""docs/operations.md shows what was recorded, and only runs in which nothing was lost that needn't be."""

from __future__ import annotations

from tests.e2e.operations import figures

PAGE = figures.RECORD.with_suffix(".md")


def test_the_page_shows_the_record() -> None:
    assert figures.table(figures.record()) in PAGE.read_text()


def test_nothing_was_lost_in_what_is_shown_but_by_kills() -> None:
    for row in figures.record():
        assert (row["doubled"], row["missing"]) == (0, 0), row
        assert row["failed"] == 0 or row["scenario"].startswith("kills"), row
