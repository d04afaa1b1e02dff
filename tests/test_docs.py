"""The pages that are made from code say what the code says now."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from fastproxy.errors import TABLE
from fastproxy.telemetry.exposition import CATALOGUE
from fastproxy.telemetry.failure_words import HANDSHAKES
from fastproxy.telemetry.failures import HANDSHAKE
from fastproxy.telemetry.metrics import CALLER_GONE, UNKNOWN

ROOT = Path(__file__).parent.parent


def test_every_row_of_the_error_table_has_its_paragraph() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "errors_page.py"))["page"]()
    assert (ROOT / "docs" / "errors.md").read_text() == page, "run `make docs`"


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    missing = [f"`{name}`" for name in CATALOGUE if f"`{name}`" not in text]
    assert not missing


_PARAGRAPHS = (ROOT / "docs" / "troubleshooting.md").read_text().split("\n### ")[1:]
TROUBLES = {anchor: text for anchor, _, text in (paragraph.partition("\n") for paragraph in _PARAGRAPHS)}
"""What is said of each cause, by its heading, which is the anchor that others link to."""


@pytest.mark.parametrize("cause", [*TABLE, CALLER_GONE, UNKNOWN])
def test_every_cause_says_what_it_means_how_it_shows_why_it_comes_and_what_to_do(cause: str) -> None:
    text = TROUBLES[cause]
    for part in ("**Means:** ", "**Shows:** ", "**Usual reasons:** ", "**What to do:** "):
        assert part in text


@pytest.mark.parametrize("label", HANDSHAKES)
def test_every_reason_for_a_refused_link_has_its_paragraph(label: str) -> None:
    text = TROUBLES[f"{HANDSHAKE}_{label}"]
    for part in ("**Means:** ", "**Usual reasons:** ", "**What to do:** "):
        assert part in text


def test_nothing_is_explained_that_there_is_not() -> None:
    handshakes = {f"{HANDSHAKE}_{label}" for label in HANDSHAKES}
    assert set(TROUBLES) == {*TABLE, CALLER_GONE, UNKNOWN, *handshakes}
