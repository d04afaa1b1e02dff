"""Who scrapes gets the format that it asks for."""

from __future__ import annotations

import pytest

from fastproxy.telemetry.exposition import OPENMETRICS, TEXT, format_for, render
from fastproxy.telemetry.metrics import Metrics
from fastproxy.telemetry.state import state_of


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        (b"", OPENMETRICS),
        (b"*/*", OPENMETRICS),
        (b"text/plain", TEXT),
        (b"text/plain;version=0.0.4;q=0.5,*/*;q=0.1", TEXT),
        (b"application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2", OPENMETRICS),
    ],
)
def test_open_metrics_unless_only_the_older_one_is_taken(accept: bytes, found: bytes) -> None:
    assert format_for(accept) == found


def test_both_formats_say_the_same_numbers() -> None:
    metrics = Metrics("in", "1", ["chat"], ["search"])
    metrics.series("chat", "search", "/a").finish(200, 0.1, 0.001, 5, 7)

    def numbers(content_type: bytes) -> list[str]:
        lines = render(state_of(metrics, "worker 0"), content_type).decode().splitlines()
        return sorted(line for line in lines if line.startswith("fastproxy_requ"))

    assert numbers(OPENMETRICS) == numbers(TEXT)
    assert any('route="/a"' in line for line in numbers(TEXT))
