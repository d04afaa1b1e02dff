"""Records of runs that never were, for tests of what is made of them."""

from __future__ import annotations

from fastproxy.bench.record import ChainRecord, Facts, Record, ScenarioRecord, TurnRecord
from fastproxy.bench.scenario import Figure, Load, Plot, Point

FACTS = Facts(
    started="2025-01-31T12:00:00+00:00",
    command="fastproxy bench --rounds 3",
    cpu="A processor",
    cores=2,
    memory_mib=4096,
    kernel="6.1.0",
    versions={"python": "3.11.2", "fastproxy": "0.1.0", "nginx": "1.22.1"},
)

RATE = Figure("requests_per_s", "requests/s", is_compared=True)
CPU = Figure("cpu_out_us", "CPU out", ".1f", " µs")


def peak() -> ScenarioRecord:
    """Three rounds of three chains at the one point that there is; a fourth one isn't installed."""
    rates = {
        "none": (4000, 4400, 4200),
        "haproxy-h1": (2000, 1000, 2000),
        "fastproxy-link": (3000, 2000, 1000),
    }
    chains = [ChainRecord(name, f"title of {name}") for name in rates]
    chains.append(
        ChainRecord("envoy-h2", "Envoy", missing="envoy is not installed; install it with: pip install it")
    )
    scenario = ScenarioRecord(
        name="peak",
        title="as much as a chain carries",
        axis="",
        figures=(RATE, CPU),
        plots=(Plot("requests_per_s", "Requests per second", "requests/s"),),
        baselines=("haproxy-h1", "envoy-h2"),
        points=(Point("", 0.0),),
        rounds=3,
        load=Load(128, 5),
        chains=chains,
    )
    for name, values in rates.items():
        for number, rate in enumerate(values, 1):
            cpu = {} if name == "none" else {"cpu_out_us": 10.0 * number}
            scenario.turns.append(TurnRecord(name, "", number, {"requests_per_s": float(rate), **cpu}))
    return scenario


def sweep() -> ScenarioRecord:
    """One round of two chains at two points, with a series; one of them failed at the second."""
    scenario = ScenarioRecord(
        name="latency",
        title="latency by rate",
        axis="requests/s",
        figures=(Figure("p50_ms", "p50", ".2f", " ms", is_compared=True),),
        plots=(
            Plot("p50_ms", "half came within", "ms", is_log_x=True, is_log_y=True),
            Plot("resident_out_mib", "memory over time", "MiB"),
        ),
        baselines=("haproxy-h1",),
        points=(Point("500/s", 500.0), Point("1,000/s", 1000.0)),
        rounds=1,
        load=Load(20, 3),
        chains=[ChainRecord("haproxy-h1", "HAProxy"), ChainRecord("fastproxy-link", "link <ours>")],
    )
    memory = {"resident_out_mib": [(0.0, 40.0), (0.5, 44.0), (1.0, 41.0)]}
    scenario.turns += [
        TurnRecord("haproxy-h1", "500/s", 1, {"p50_ms": 2.0}),
        TurnRecord("fastproxy-link", "500/s", 1, {"p50_ms": 1.0}, series=memory),
        TurnRecord("haproxy-h1", "1,000/s", 1, {"p50_ms": 4.0}),
        TurnRecord("fastproxy-link", "1,000/s", 1, {}, "a connection <was> lost\nnow"),
    ]
    scenario.verdict = ["link is fast", "FAILED link: grows with callers"]
    return scenario


def record(*scenarios: ScenarioRecord) -> Record:
    return Record(FACTS, is_quick=False, scenarios=list(scenarios), state="complete")
