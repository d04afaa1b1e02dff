"""How many megabytes per second pass in bodies of many sizes, to the service and from it."""

from __future__ import annotations

from pathlib import Path

from fastproxy.bench.configs import BODY_BYTES, FILES_PATH, MIB, SERVICE, SINK_PATH
from fastproxy.bench.load import run_wrk
from fastproxy.bench.scenario import Figure, Load, Plot, Point, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import WRK

POST_BODY_SCRIPT = Path(__file__).with_name("post_body.lua")
UP_PATH = f"/{SERVICE}{SINK_PATH}"
DOWN_PATH = f"/{SERVICE}{FILES_PATH}"

ON_THEIR_WAY_BYTES = 32 * MIB
"""Most bytes of bodies at a time: those that the end of a turn cuts count for nothing, and must be few."""


def _named(size_bytes: int) -> str:
    for unit, factor in (("MiB", MIB), ("KiB", 1024)):
        if size_bytes >= factor:
            return f"{size_bytes // factor} {unit}"
    return f"{size_bytes} B"


_POINTS = tuple(Point(_named(size), size) for size in BODY_BYTES)


def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
    """Post bodies for the set time, then get files for as long."""
    size_bytes = round(point.value)
    connections = min(load.connections, max(2, ON_THEIR_WAY_BYTES // size_bytes))
    figures: dict[str, float] = {}
    faults = []
    for direction, path, script, argument in (
        ("up", UP_PATH, POST_BODY_SCRIPT, size_bytes),
        ("down", f"{DOWN_PATH}/{size_bytes}", None, None),
    ):
        before_s = chain.cpu_s()
        found = run_wrk(
            chain.port,
            path,
            connections=connections,
            seconds=load.seconds,
            script=script,
            argument=argument,
        )
        figures[f"{direction}_mb_per_s"] = found.requests_per_s * size_bytes / 1e6
        for place, after_s in chain.cpu_s().items():
            used_ms = 1000 * (after_s - before_s[place])
            figures[f"{direction}_cpu_{place}_ms_per_mib"] = used_ms * MIB / (found.requests * size_bytes)
        faults.append(found.fault())
    return Turn(figures, next(filter(None, faults), None))


BODIES = Scenario(
    name="bodies",
    title="bodies up to the service and down from it, by size; CPU is per hop and MiB",
    measure=measure,
    figures=tuple(
        figure
        for direction in ("up", "down")
        for figure in (
            Figure(f"{direction}_mb_per_s", f"{direction} MB/s", ",.1f", is_compared=True),
            Figure(f"{direction}_cpu_out_ms_per_mib", f"{direction} CPU out", ",.2f", " ms"),
            Figure(f"{direction}_cpu_in_ms_per_mib", f"{direction} CPU in", ",.2f", " ms"),
        )
    ),
    baselines=("nginx-h1",),
    chains=("none", "haproxy-h2", "nginx-h1", "fastproxy-link", "fastproxy-http"),
    tools=(WRK,),
    rounds=3,
    load=Load(connections=16, seconds=1),
    turn_s=lambda load, point: 2 * load.seconds + 0.5,
    points=_POINTS,
    quick_points=(_POINTS[2], _POINTS[-2]),
    axis="body, bytes",
    plots=tuple(
        Plot(name, title, unit, is_log_x=True, is_log_y=True)
        for name, title, unit in (
            ("up_mb_per_s", "To the service, by size of the body", "MB/s"),
            ("down_mb_per_s", "From the service, by size of the body", "MB/s"),
            ("up_cpu_out_ms_per_mib", "CPU of the out proxy, to the service", "ms per MiB"),
            ("down_cpu_in_ms_per_mib", "CPU of the in proxy, from the service", "ms per MiB"),
        )
    ),
    warms_up=False,
)
