"""How long an answer takes when requests come at a fixed rate, whatever the chain does.

A rate that a chain doesn't reach is found as such: there its latencies only say how long the load went on,
and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastproxy.bench.load import run_steady
from fastproxy.bench.scenario import Answers, Figure, Load, Plot, Point, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import HDRHISTOGRAM

RATES_PER_S = (500, 1000, 2000, 4000, 8000)
LAG_PART_MAX = 0.5
"""Part of a latency that the generator itself may have made, before that is said."""

_POINTS = tuple(Point(f"{rate:,}/s", rate) for rate in RATES_PER_S)
_PERCENTILES = ("p50_ms", "p90_ms", "p99_ms", "p999_ms", "max_ms")


def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
    """Ask at the rate of the point."""
    rate_per_s = round(point.value)
    found = run_steady(chain.port, rate_per_s=rate_per_s, connections=load.connections, seconds=load.seconds)
    figures = {
        "reached_per_s": found.reached_per_s,
        "saturated": float(found.is_saturated()),
        "lag_p99_ms": found.lag_p99_ms,
        "generator_busy": found.generator_busy,
    }
    if not found.is_saturated():
        figures |= {name: getattr(found, name) for name in _PERCENTILES}
    return Turn(figures, found.fault())


def verdict(answers: Sequence[Answers]) -> list[str]:
    """Name the lowest rate that each chain didn't reach, and where the generator made latencies itself."""
    remarks = []
    for answer in answers:
        name = answer.chain.name
        remarks += [
            f"{name} at {point.name}: the generator itself sent late, p99 {lag_ms:.1f} ms "
            f"of {p99_ms:.1f} ms; the machine had too few cores free"
            for point in answer.points
            if (p99_ms := answer.median_of("p99_ms", point)) is not None
            and (lag_ms := answer.median_of("lag_p99_ms", point) or 0.0) > LAG_PART_MAX * p99_ms
        ]
        for point in answer.points:
            # The median is above 0 where it happened in at least half of the rounds.
            if answer.median_of("saturated", point):
                reached_per_s = answer.median_of("reached_per_s", point)
                remarks.append(f"{name} is saturated at {point.name}: it reaches {reached_per_s:,.0f}/s")
                break
    return remarks


LATENCY = Scenario(
    name="latency",
    title="latency at fixed rates, counted from when each request was due; none where the rate isn't reached",
    measure=measure,
    figures=(
        Figure("p50_ms", "p50", ".2f", " ms", is_compared=True),
        Figure("p90_ms", "p90", ".2f", " ms"),
        Figure("p99_ms", "p99", ".2f", " ms", is_compared=True),
        Figure("p999_ms", "p99.9", ".1f", " ms"),
        Figure("max_ms", "longest", ".1f", " ms"),
        Figure("reached_per_s", "reached/s"),
        Figure("saturated", "saturated"),
        Figure("lag_p99_ms", "generator late, p99", ".2f", " ms"),
        Figure("generator_busy", "generator busy", ".0%"),
    ),
    baselines=("haproxy-h2",),
    chains=("none", "haproxy-h2", "nginx-h1", "envoy-h2", "fastproxy-link", "fastproxy-http"),
    tools=(HDRHISTOGRAM,),
    rounds=3,
    load=Load(connections=100, seconds=3),
    turn_s=lambda load, point: load.seconds + 1.5,
    points=_POINTS,
    quick_points=_POINTS[1:4:2],
    axis="requests/s",
    plots=tuple(
        Plot(name, f"Latency by rate, {heading}", "ms", is_log_x=True, is_log_y=True)
        for name, heading in (("p50_ms", "p50"), ("p99_ms", "p99"), ("p999_ms", "p99.9"))
    ),
    verdict=verdict,
    warms_up=False,
)
