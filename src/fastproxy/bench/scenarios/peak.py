"""How many requests per second a chain carries, and what each costs."""

from __future__ import annotations

from fastproxy.bench.configs import CALLER_PATH, MIB
from fastproxy.bench.load import run_wrk
from fastproxy.bench.scenario import POST_SCRIPT, Figure, Load, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import WRK


def measure(chain: StandingChain, load: Load) -> Turn:
    """Ask for as many answers as the chain gives, each connection for one at a time."""
    before_s = chain.cpu_s()
    found = run_wrk(
        chain.port, CALLER_PATH, connections=load.connections, seconds=load.seconds, script=POST_SCRIPT
    )
    figures = {"requests_per_s": found.requests_per_s, "p50_ms": found.p50_ms, "p99_ms": found.p99_ms}
    for place, after_s in chain.cpu_s().items():
        figures[f"cpu_{place}_us"] = 1e6 * (after_s - before_s[place]) / found.requests
    for place, resident_bytes in chain.resident_bytes().items():
        figures[f"resident_{place}_mib"] = resident_bytes / MIB
    return Turn(figures, found.fault())


PEAK = Scenario(
    name="peak",
    title="as many requests as a chain carries; CPU is per hop and request",
    measure=measure,
    figures=(
        Figure("requests_per_s", "requests/s", is_compared=True),
        Figure("cpu_out_us", "CPU out", ".1f", " µs"),
        Figure("cpu_in_us", "CPU in", ".1f", " µs"),
        Figure("p50_ms", "p50", ".1f", " ms"),
        Figure("p99_ms", "p99", ".1f", " ms"),
        Figure("resident_out_mib", "RSS out", ".0f", " MiB"),
        Figure("resident_in_mib", "RSS in", ".0f", " MiB"),
    ),
    baselines=("haproxy-tcp", "haproxy-h1", "haproxy-h2", "envoy-h2"),
    chains=None,
    tools=(WRK,),
    rounds=5,
    load=Load(connections=128, seconds=5),
)
