"""How late a loop comes is counted, and the worst of the last minute shown."""

from __future__ import annotations

import pytest

from fastproxy.telemetry.loop_lag import LoopLag
from fastproxy.telemetry.metrics import LOOP_LAG, Metrics
from fastproxy.telemetry.state import counted, state_of, total


def lag_of(metrics: Metrics) -> dict[str, float]:
    return state_of(metrics, "worker 1").levels.get("fastproxy_loop_lag_max_seconds", {})


def test_the_worst_of_the_last_looks_is_shown() -> None:
    metrics = Metrics("in", "1")
    assert lag_of(metrics) == {}
    lag = LoopLag(metrics)
    for late_s in (0.001, 0.4, 0.002):
        lag.note(late_s)
    assert lag_of(metrics) == {"worker 1": 0.4}
    for _ in range(120):
        lag.note(0.003)
    assert lag_of(metrics) == {"worker 1": 0.003}


def test_all_looks_are_counted_and_early_ones_are_in_time() -> None:
    metrics = Metrics("in", "1")
    lag = LoopLag(metrics)
    lag.note(-0.001)
    lag.note(0.25)
    gone, there = counted(state_of(metrics, "worker 0")), state_of(metrics, "worker 1")
    histogram = total((gone, there), "in", "1").histograms[LOOP_LAG][""]
    assert sum(histogram.counts) == 4
    assert histogram.sum_s == pytest.approx(0.5)
    assert histogram.counts[0] == 2
