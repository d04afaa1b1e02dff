"""How cost grows: CPU per request and hop, the time to start, memory; one ladder per quantity.

Of callers, routes and endpoints one is used whatever their number (of a service's endpoints up to a
thousand), so that a request has no reason to cost more among many: where it does, that is a defect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fastproxy.bench.configs import CALLER_PATH, CONNECTIONS_MAX, SMALL, ConfigSize
from fastproxy.bench.credentials import PLACES
from fastproxy.bench.growth import Steps, exponent, grows, in_words
from fastproxy.bench.load import open_connections, run_wrk
from fastproxy.bench.scenario import (
    FAILED,
    POST_SCRIPT,
    Answers,
    Figure,
    Load,
    Plot,
    Point,
    Scenario,
    Turn,
)
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import WRK

FIELDS_SCRIPT = Path(__file__).with_name("post_fields.lua")

CONNECTION_STEPS = (64, 1000, 3000, 10_000)
ENTRY_STEPS = (1, 1000, 10_000, 100_000)
FIELD_STEPS = (5, 10, 25, 50, 100)
"""Header fields of a request in all; no request of the load has fewer than five."""

FREE_RATIO = 1.5
"""Cost at the last step over that at the first, up to which a request counts as costing the same."""

OWN_CHAINS = ("fastproxy-link", "fastproxy-http")

_COSTS = {
    **{f"cpu_{place}_us": f"CPU per request of the {place} proxy" for place in PLACES},
    "start_s": "time to start",
    **{f"resident_{place}_mib": f"memory of the {place} proxy" for place in PLACES},
}
"""Figures whose growth is stated, and what they are."""


def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
    """Put the load of `peak` on a chain whose config is as large as the point says."""
    return _ask(chain, load.connections, load.seconds, POST_SCRIPT, None)


def measure_connections(chain: StandingChain, load: Load, point: Point) -> Turn:
    """The same while so many more connections are open that the point's number is reached."""
    with open_connections(chain.port, round(point.value) - load.connections):
        return _ask(chain, load.connections, load.seconds, POST_SCRIPT, None)


def measure_fields(chain: StandingChain, load: Load, point: Point) -> Turn:
    """The same with as many header fields as the point says."""
    return _ask(chain, load.connections, load.seconds, FIELDS_SCRIPT, round(point.value))


def _ask(chain: StandingChain, connections: int, seconds: int, script: Path, argument: int | None) -> Turn:
    before_s = chain.cpu_s()
    found = run_wrk(
        chain.port, CALLER_PATH, connections=connections, seconds=seconds, script=script, argument=argument
    )
    figures = {"requests_per_s": found.requests_per_s, "p99_ms": found.p99_ms}
    for place, after_s in chain.cpu_s().items():
        figures[f"cpu_{place}_us"] = 1e6 * (after_s - before_s[place]) / found.requests
    figures |= chain.memory_mib()
    if chain.proxies:
        figures["start_s"] = chain.start_s
    return Turn(figures, found.fault())


def verdict_on(quantity: str, *, is_free: bool) -> Callable[[Sequence[Answers]], list[str]]:
    """Return a verdict that states how each cost grows with a quantity.

    Args:
        quantity: its name, in the plural.
        is_free: whether a request of a chain of ours may not cost more among many.
    """

    def verdict(answers: Sequence[Answers]) -> list[str]:
        remarks = []
        for answer in answers:
            grown: list[str] = []
            for figure, cost in _COSTS.items():
                medians = [(point.value, answer.median_of(figure, point)) for point in answer.points]
                steps = [(at, median) for at, median in medians if median]  # a clock tick may round to none
                power = exponent(steps)
                if power is None:
                    continue
                grown.append(f"{cost} {in_words(power)}")
                if is_free and answer.chain.is_own and figure.startswith("cpu_"):
                    remarks += _defect(answer.chain.name, quantity, cost, steps, power)
            if grown:
                remarks.append(f"{answer.chain.name}, by {quantity}: {'; '.join(grown)}")
        return remarks

    return verdict


def _defect(name: str, quantity: str, cost: str, steps: Steps, power: float) -> list[str]:
    """Say that a cost of a request grows that mustn't; nothing when it doesn't.

    The fit of the upper steps finds what goes on growing, the first and the last what grew once.
    """
    (first, least), (last, most) = steps[0], steps[-1]
    if not grows(power) and most <= FREE_RATIO * least:
        return []
    return [
        f"{FAILED}{name}: {cost} {in_words(power)} in {quantity} at the upper steps, and is "
        f"{most / least:.1f} times as much at {last:,.0f} as at {first:,.0f}: "
        "a request should cost the same among many"
    ]


_FIGURES = (
    Figure("cpu_out_us", "CPU out", ".1f", " µs"),
    Figure("cpu_in_us", "CPU in", ".1f", " µs"),
    Figure("requests_per_s", "requests/s"),
    Figure("p99_ms", "p99", ".1f", " ms"),
    Figure("resident_out_mib", "RSS out", ".0f", " MiB"),
    Figure("resident_in_mib", "RSS in", ".0f", " MiB"),
    Figure("worker_out_mib", "worker out", ".0f", " MiB"),
    Figure("worker_in_mib", "worker in", ".0f", " MiB"),
    Figure("start_s", "start", ".1f", " s"),
)


def _plots(quantity: str) -> tuple[Plot, ...]:
    shown = (
        ("cpu_out_us", "CPU of the out proxy", "µs per request"),
        ("cpu_in_us", "CPU of the in proxy", "µs per request"),
        ("resident_in_mib", "Memory of the in proxy", "MiB"),
        ("start_s", "Time to start", "s"),
    )
    return tuple(
        Plot(name, f"{title}, by {quantity}", unit, is_log_x=True, is_log_y=True)
        for name, title, unit in shown
    )


def _ladder(
    quantity: str,
    title: str,
    measured: Callable[[StandingChain, Load, Point], Turn],
    steps: Sequence[int],
    *,
    chains: tuple[str, ...],
    size_at: Callable[[int], ConfigSize] | None = None,
    is_free: bool = False,
) -> Scenario:
    """Return the ladder of one quantity.

    Args:
        size_at: the size of the configs at a step; None where they don't depend on it.
        is_free: see `verdict_on`.
    """
    points = tuple(Point(f"{step:,}", step, size_at(step) if size_at else SMALL) for step in steps)
    return Scenario(
        name=f"ladder-{quantity}",
        title=title,
        measure=measured,
        figures=_FIGURES,
        baselines=(),
        chains=chains,
        tools=(WRK,),
        rounds=1,
        load=Load(connections=64, seconds=2),
        turn_s=lambda load, point: load.seconds + 0.5 + point.size.connections / OPENED_PER_S,
        points=points,
        quick_points=points[:3],
        axis=quantity,
        stands_anew=size_at is not None,
        stand_s=lambda point: 1.0 + point.size.entries * START_S_PER_ENTRY,
        plots=_plots(quantity),
        verdict=verdict_on(quantity, is_free=is_free),
        warms_up=False,
    )


START_S_PER_ENTRY = 0.00012
"""Roughly what an entry of a config adds to the start of a chain."""

OPENED_PER_S = 2500
"""Roughly how many connections are opened in a second."""

LADDERS = (
    _ladder(
        "connections",
        "cost by open connections, a few of them with requests on their way; CPU is per hop and request",
        measure_connections,
        CONNECTION_STEPS,
        chains=("none", "haproxy-h2", "fastproxy-link"),
        size_at=lambda step: ConfigSize(connections=max(step, CONNECTIONS_MAX)),
    ),
    _ladder(
        "headers",
        "cost by header fields of a request, the same in each; CPU is per hop and request",
        measure_fields,
        FIELD_STEPS,
        chains=("haproxy-h2", *OWN_CHAINS),
    ),
    _ladder(
        "callers",
        "cost by callers in the in proxy's config, of which one calls; CPU is per hop and request",
        measure,
        ENTRY_STEPS,
        chains=OWN_CHAINS,
        size_at=lambda step: ConfigSize(callers=step),
        is_free=True,
    ),
    _ladder(
        "routes",
        "cost by the caller's routes, of which one is called; CPU is per hop and request",
        measure,
        ENTRY_STEPS,
        chains=OWN_CHAINS,
        size_at=lambda step: ConfigSize(routes=step),
        is_free=True,
    ),
    _ladder(
        "endpoints",
        "cost by endpoints of services, at most a thousand of the one that is called; CPU is per hop and "
        "request",
        measure,
        ENTRY_STEPS,
        chains=OWN_CHAINS,
        size_at=lambda step: ConfigSize(endpoints=step),
        is_free=True,
    ),
)
