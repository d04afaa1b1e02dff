"""How long an answer takes when requests come at a steady rate, far below what a chain carries."""

from __future__ import annotations

from fastproxy.bench.load import run_steady
from fastproxy.bench.scenario import Figure, Load, Scenario, Turn
from fastproxy.bench.standing import StandingChain

RATE_PER_S = 1000


def measure(chain: StandingChain, load: Load) -> Turn:
    """Ask at the steady rate, whatever the chain does."""
    found = run_steady(chain.port, rate_per_s=RATE_PER_S, connections=load.connections, seconds=load.seconds)
    return Turn({"p50_ms": found.p50_ms, "p99_ms": found.p99_ms, "max_ms": found.max_ms}, found.fault())


LATENCY = Scenario(
    name="latency",
    title=f"latency at a steady {RATE_PER_S:,} requests/s, counted from when each was due",
    measure=measure,
    figures=(
        Figure("p50_ms", "p50", ".2f", " ms", is_compared=True),
        Figure("p99_ms", "p99", ".2f", " ms", is_compared=True),
        Figure("max_ms", "longest", ".1f", " ms"),
    ),
    baselines=("haproxy-h2",),
    chains=None,
    tools=(),
    rounds=5,
    load=Load(connections=20, seconds=5),
)
