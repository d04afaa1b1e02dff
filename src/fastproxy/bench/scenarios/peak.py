"""How many requests per second a chain carries, and what each costs: at the record's best, and its sweep."""

from __future__ import annotations

from fastproxy.bench.configs import CALLER_PATH
from fastproxy.bench.load import WRK_THREADS, run_wrk
from fastproxy.bench.scenario import POST_SCRIPT, Figure, Load, Plot, Point, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import WRK

RECORD_RUNS = ((4, 64), (32, 100), (4, 128), (8, 128), (4, 256), (64, 256))
"""Threads and connections of wrk in the record, by connections."""

_POINTS = {Point(f"{threads} × {connections}", connections): threads for threads, connections in RECORD_RUNS}


def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
    """Ask for as many answers as the chain gives, each connection for one at a time."""
    return _ask(chain, WRK_THREADS, load.connections, load.seconds)


def measure_sweep(chain: StandingChain, load: Load, point: Point) -> Turn:
    """The same with the threads and connections of the point."""
    return _ask(chain, _POINTS[point], round(point.value), load.seconds)


def _ask(chain: StandingChain, threads: int, connections: int, seconds: int) -> Turn:
    before_s = chain.cpu_s()
    found = run_wrk(
        chain.port,
        CALLER_PATH,
        connections=connections,
        seconds=seconds,
        script=POST_SCRIPT,
        threads=threads,
    )
    figures = {"requests_per_s": found.requests_per_s, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms}
    for place, after_s in chain.cpu_s().items():
        figures[f"cpu_{place}_us"] = 1e6 * (after_s - before_s[place]) / found.requests
    figures |= chain.memory_mib()
    return Turn(figures, found.fault())


_FIGURES = (
    Figure("requests_per_s", "requests/s", is_compared=True),
    Figure("cpu_out_us", "CPU out", ".1f", " µs"),
    Figure("cpu_in_us", "CPU in", ".1f", " µs"),
    Figure("p50_ms", "p50", ".1f", " ms"),
    Figure("p99_ms", "p99", ".1f", " ms"),
    Figure("resident_out_mib", "RSS out", ".0f", " MiB"),
    Figure("resident_in_mib", "RSS in", ".0f", " MiB"),
    Figure("worker_out_mib", "worker out", ".0f", " MiB"),
    Figure("worker_in_mib", "worker in", ".0f", " MiB"),
)

PEAK = Scenario(
    name="peak",
    title="as many requests as a chain carries; CPU is per hop and request",
    measure=measure,
    figures=_FIGURES,
    baselines=("haproxy-tcp", "haproxy-h1", "haproxy-h2", "envoy-h2"),
    chains=None,
    tools=(WRK,),
    rounds=5,
    load=Load(connections=128, seconds=4),
    turn_s=lambda load, point: load.seconds + 0.5,
    plots=(
        Plot("requests_per_s", "Requests per second", "requests/s"),
        Plot("cpu_out_us", "CPU of the out proxy", "µs per request"),
        Plot("cpu_in_us", "CPU of the in proxy", "µs per request"),
    ),
)

SWEEP = Scenario(
    name="sweep",
    title="as many requests as a chain carries, with the threads and connections of the record's runs",
    measure=measure_sweep,
    figures=_FIGURES,
    baselines=("haproxy-h2",),
    chains=("haproxy-h2", "envoy-h2", "fastproxy-link", "fastproxy-http"),
    tools=(WRK,),
    rounds=3,
    load=Load(connections=128, seconds=3),
    turn_s=lambda load, point: load.seconds + 0.5,
    points=tuple(_POINTS),
    quick_points=tuple(_POINTS)[:1],
    axis="threads × connections",
    plots=(Plot("requests_per_s", "Requests per second by threads and connections", "requests/s"),),
    warms_up=False,
)
