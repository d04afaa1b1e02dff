"""What the CPU time of a hop is spent on, for each way between the proxies."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from fastproxy.bench.accounting import cpu_s, family
from fastproxy.bench.configs import CALLER_PATH
from fastproxy.bench.credentials import Place
from fastproxy.bench.load import LoadError, run_wrk
from fastproxy.bench.sampling import COSTS, sampled, shares
from fastproxy.bench.scenario import POST_SCRIPT, Answers, Figure, Load, Plot, Point, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import PERF, WRK

LARGEST = 5
_POINTS: dict[Point, Place] = {Point("out proxy", 0): "out", Point("in proxy", 1): "in"}


def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
    """Ask for as many answers as the chain gives, and sample one of its proxies meanwhile."""
    if not chain.proxies:
        raise LoadError("there is no proxy whose CPU time could be looked at")
    pid = chain.proxies[_POINTS[point]].pid
    with tempfile.TemporaryDirectory(prefix="fastproxy-bench-") as folder:
        file = Path(folder) / "samples"
        with sampled(family(pid), file):
            before_s = cpu_s(pid)
            found = run_wrk(
                chain.port,
                CALLER_PATH,
                connections=load.connections,
                seconds=load.seconds,
                script=POST_SCRIPT,
            )
            cpu_us = 1e6 * (cpu_s(pid) - before_s) / found.requests
        figures = {_spent(cost): cpu_us * share for cost, share in shares(file).items()}
    return Turn({"cpu_us": cpu_us} | figures, found.fault())


def _spent(cost: str) -> str:
    """Return the name of the figure that says how much is spent on it."""
    return f"spent_{cost}_us"


def verdict(answers: Sequence[Answers]) -> list[str]:
    """Tell the largest costs of each hop."""
    return [line for answer in answers for line in _largest(answer)]


def _largest(answer: Answers) -> Iterator[str]:
    for point in answer.points:
        costs_us = {cost: answer.median_of(_spent(cost), point) or 0.0 for cost in COSTS}
        ranked = sorted(costs_us, key=lambda cost: costs_us[cost], reverse=True)[:LARGEST]
        if costs_us[ranked[0]]:
            told = ", ".join(f"{costs_us[cost]:.1f} µs {COSTS[cost]}" for cost in ranked)
            yield f"{answer.chain.name}, {point.name}: {told}"


COSTS_OF_A_HOP = Scenario(
    name="costs",
    title="what the CPU time of a hop and request is spent on",
    measure=measure,
    figures=(
        Figure("cpu_us", "CPU", ".1f", " µs"),
        *(Figure(_spent(cost), cost.replace("_", " "), ".1f", " µs") for cost in COSTS),
    ),
    baselines=(),
    chains=("haproxy-h1", "haproxy-h2", "fastproxy-link", "fastproxy-http", "fastproxy-compat"),
    tools=(WRK, PERF),
    rounds=3,
    load=Load(connections=128, seconds=4),
    turn_s=lambda load, point: 1.5 * load.seconds + 1.0,
    points=tuple(_POINTS),
    quick_points=tuple(_POINTS),
    axis="proxy",
    plots=(Plot("cpu_us", "CPU of a hop", "µs per request"),),
    verdict=verdict,
)
