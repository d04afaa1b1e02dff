"""How far a run is, as it is told where there is no terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from fastproxy.bench.progress import Progress, duration


def test_without_a_terminal_there_is_a_line_for_each_thing() -> None:
    written = io.StringIO()
    with Progress(Console(file=written, width=80), expected_s=1000.0) as progress:
        progress.begin("peak, round 1 of 2: [none]")
        progress.end(10.0)
        progress.leave_out(390.0)
        progress.begin("peak, round 2 of 2: none")
    assert written.getvalue().splitlines() == [
        "peak, round 1 of 2: [none] (about 17 min left)",
        "peak, round 2 of 2: none (about 10 min left)",
    ]


def test_on_a_terminal_there_is_a_bar() -> None:
    written = io.StringIO()
    console = Console(file=written, width=80, force_terminal=True)
    with Progress(console, expected_s=100.0) as progress:
        progress.begin("peak, round 1 of 2: none")
    assert "peak, round 1 of 2: none" in written.getvalue()
    assert " left" in written.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (89.0, "89 s"), (150.0, "2.5 min"), (2400.0, "40 min")]
)
def test_durations_are_in_words(seconds: float, words: str) -> None:
    assert duration(seconds) == words
