"""Medians, ratios with their spread, and what is said of failures."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from fastproxy.bench.record import ChainRecord, Spread, TurnRecord, summary
from tests.bench import records


def test_figures_are_medians_over_rounds_with_their_spread() -> None:
    peak = records.peak()
    assert peak.spread_of("fastproxy-link", "", "requests_per_s") == Spread(2000, 1000, 3000)
    assert peak.spread_of("none", "", "cpu_out_us") is None
    assert peak.spread_of("envoy-h2", "", "requests_per_s") is None


def test_ratios_are_made_within_each_round() -> None:
    # 1.5, 2 and 0.5 in the three rounds; the ratio of the medians would be 1.
    assert records.peak().ratio_of("fastproxy-link", "haproxy-h1", "", "requests_per_s") == Spread(
        1.5, 0.5, 2.0
    )


def test_rounds_that_one_side_lacks_make_no_ratio() -> None:
    peak = records.peak()
    del peak.turns[3:5]  # the first two rounds of haproxy-h1
    assert peak.ratio_of("fastproxy-link", "haproxy-h1", "", "requests_per_s") == Spread(0.5, 0.5, 0.5)
    assert peak.ratio_of("fastproxy-link", "envoy-h2", "", "requests_per_s") is None


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.floats(0.1, 1e6)), min_size=1, max_size=9))
def test_a_median_of_ratios_lies_within_its_spread(rounds: list[tuple[float, float]]) -> None:
    peak = records.peak()
    peak.turns = [
        TurnRecord(name, "", number, {"requests_per_s": value})
        for number, pair in enumerate(rounds)
        for name, value in zip(("fastproxy-link", "haproxy-h1"), pair, strict=True)
    ]
    ratio = peak.ratio_of("fastproxy-link", "haproxy-h1", "", "requests_per_s")
    assert ratio is not None
    assert ratio.low <= ratio.median <= ratio.high


def test_only_what_was_measured_is_a_baseline() -> None:
    assert records.peak().measured_baselines() == ["haproxy-h1"]


def test_failures_come_first_and_nothing_is_left_out() -> None:
    sweep = records.sweep()
    sweep.chains.append(ChainRecord("nginx-h1", "nginx", failure="at 500/s: a process ended"))
    sweep.chains.append(ChainRecord("envoy-h2", "Envoy", missing="envoy is not installed"))
    sweep.broken_off = "its time was over"
    assert sweep.remarks() == [
        "FAILED fastproxy-link at 1,000/s: a connection <was> lost\nnow",
        "FAILED nginx-h1: at 500/s: a process ended",
        "FAILED link: grows with callers",
        "link is fast",
        "left out envoy-h2: envoy is not installed",
        "broken off: its time was over",
    ]


def test_a_fault_says_in_how_many_rounds_it_was() -> None:
    peak = records.peak()
    peak.turns.append(TurnRecord("none", "", 4, {"requests_per_s": 1.0}, "3 answers other than 2xx"))
    assert peak.remarks()[0] == "FAILED none: 3 answers other than 2xx (in 1 of 3 rounds)"


def test_what_is_only_missing_is_no_failure() -> None:
    peak = records.peak()
    assert not peak.has_failed()
    assert peak.remarks() == ["left out envoy-h2: envoy is not installed; install it with: pip install it"]
    peak.broken_off = "its time was over"
    assert peak.has_failed()


def test_a_series_is_that_of_the_last_turn() -> None:
    sweep = records.sweep()
    assert sweep.series_of("fastproxy-link", "resident_out_mib")[-1] == (1.0, 41.0)
    again: dict[str, list[tuple[float, float]]] = {"resident_out_mib": [(0.0, 50.0)]}
    sweep.turns.append(TurnRecord("fastproxy-link", "500/s", 2, {}, series=again))
    assert sweep.series_of("fastproxy-link", "resident_out_mib") == [(0.0, 50.0)]
    assert sweep.series_of("haproxy-h1", "resident_out_mib") == []


def test_the_summary_is_for_programs() -> None:
    found = json.loads(json.dumps(summary(records.peak())))
    assert found["fastproxy-link"][""]["requests_per_s"] == {
        "median": 2000,
        "low": 1000,
        "high": 3000,
        "ratios": {"haproxy-h1": {"median": 1.5, "low": 0.5, "high": 2.0}},
    }
    assert found["fastproxy-link"][""]["cpu_out_us"] == {"median": 20, "low": 10, "high": 30}
    assert found["none"][""]["cpu_out_us"] is None
    assert "envoy-h2" not in found
