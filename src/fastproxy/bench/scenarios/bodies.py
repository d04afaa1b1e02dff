"""How many megabytes per second pass in bodies of 1 MiB, to the service and from it."""

from __future__ import annotations

from pathlib import Path

from fastproxy.bench.configs import FILES_PATH, MIB, SERVICE, SINK_PATH
from fastproxy.bench.load import run_wrk
from fastproxy.bench.scenario import Figure, Load, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import WRK

POST_MIB_SCRIPT = Path(__file__).with_name("post_mib.lua")
UP_PATH = f"/{SERVICE}{SINK_PATH}"
DOWN_PATH = f"/{SERVICE}{FILES_PATH}/mib"


def measure(chain: StandingChain, load: Load) -> Turn:
    """Post bodies for the set time, then get files for as long."""
    figures: dict[str, float] = {}
    faults = []
    for direction, path, script in (("up", UP_PATH, POST_MIB_SCRIPT), ("down", DOWN_PATH, None)):
        before_s = chain.cpu_s()
        found = run_wrk(chain.port, path, connections=load.connections, seconds=load.seconds, script=script)
        figures[f"{direction}_mb_per_s"] = found.requests_per_s * MIB / 1e6
        for place, after_s in chain.cpu_s().items():
            used_ms = 1000 * (after_s - before_s[place])
            figures[f"{direction}_cpu_{place}_ms_per_mb"] = used_ms / (found.requests * MIB / 1e6)
        faults.append(found.fault())
    return Turn(figures, next(filter(None, faults), None))


BODIES = Scenario(
    name="bodies",
    title="bodies of 1 MiB, up to the service and down from it; CPU is per hop and megabyte",
    measure=measure,
    figures=(
        Figure("up_mb_per_s", "up MB/s", is_compared=True),
        Figure("up_cpu_out_ms_per_mb", "CPU out", ".2f", " ms"),
        Figure("up_cpu_in_ms_per_mb", "CPU in", ".2f", " ms"),
        Figure("down_mb_per_s", "down MB/s", is_compared=True),
        Figure("down_cpu_out_ms_per_mb", "CPU out", ".2f", " ms"),
        Figure("down_cpu_in_ms_per_mb", "CPU in", ".2f", " ms"),
    ),
    baselines=("nginx-h1",),
    chains=None,
    tools=(WRK,),
    rounds=5,
    load=Load(connections=16, seconds=3),
)
