"""The reports of a run, as files: JSON for programs, Markdown and HTML for people."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from fastproxy.bench import html_page, markdown
from fastproxy.bench.record import Record
from fastproxy.bench.store import FILE_NAME, save_for_programs

MARKDOWN_NAME = "bench.md"
HTML_NAME = "bench.html"


def write(record: Record, folder: Path) -> list[Path]:
    """Write all reports and return where they are.

    Raises:
        OSError: the folder can't be written to.
    """
    files = [folder / name for name in (FILE_NAME, MARKDOWN_NAME, HTML_NAME)]
    save_for_programs(record, files[0])
    files[1].write_text(markdown.report(record), encoding="utf-8")
    files[2].write_text(html_page.page(record, _maybe_draw()), encoding="utf-8")
    return files


def _maybe_draw() -> html_page.Draw | None:
    """Return what draws plots, None where matplotlib isn't installed.

    It is imported only here, when all is measured: it is large, and nobody else needs it.
    """
    if find_spec("matplotlib") is None:
        return None
    draw: html_page.Draw = import_module("fastproxy.bench.plots").draw
    return draw
