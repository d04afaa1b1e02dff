"""The pages that are made from code say what the code says now."""

from __future__ import annotations

import runpy
from pathlib import Path

from fastproxy.telemetry.exposition import CATALOGUE

ROOT = Path(__file__).parent.parent


def test_every_row_of_the_error_table_has_its_paragraph() -> None:
    page = runpy.run_path(str(ROOT / "scripts" / "errors_page.py"))["page"]()
    assert (ROOT / "docs" / "errors.md").read_text() == page, "run `make docs`"


def test_every_metric_is_documented() -> None:
    text = (ROOT / "docs" / "metrics.md").read_text()
    missing = [f"`{name}`" for name in CATALOGUE if f"`{name}`" not in text]
    assert not missing
