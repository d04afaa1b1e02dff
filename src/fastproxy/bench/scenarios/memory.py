"""How much memory each proxy holds before, under and after load, and what large bodies add to it."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastproxy.bench.accounting import begin_peak, peak_bytes
from fastproxy.bench.configs import CALLER_PATH, FILES_PATH, MIB, SERVICE, SINK_PATH
from fastproxy.bench.credentials import Place
from fastproxy.bench.load import LoadError, fetch, run_wrk, send
from fastproxy.bench.scenario import POST_SCRIPT, Figure, Load, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import CURL, WRK

REST_S = 30
"""How long a proxy has, after the load, to give memory back."""

TRANSFER_LIMIT_S = 120


def measure(chain: StandingChain, load: Load) -> Turn:
    """Look at the proxies before, under and after the load of `peak`, and while 1 GiB passes each way."""
    if not chain.proxies:
        raise LoadError("there is no proxy whose memory could be looked at")
    figures: dict[str, float] = {}

    def note(stage: str, counted_bytes: dict[Place, int]) -> None:
        figures.update({f"{stage}_{place}_mib": counted / MIB for place, counted in counted_bytes.items()})

    before_bytes = chain.resident_bytes()
    note("before", before_bytes)
    _begin_peaks(chain)
    found = run_wrk(
        chain.port, CALLER_PATH, connections=load.connections, seconds=load.seconds, script=POST_SCRIPT
    )
    note("under", _peaks_bytes(chain))
    time.sleep(REST_S)
    after_bytes = chain.resident_bytes()
    note("after", after_bytes)
    for place, after in after_bytes.items():
        figures[f"after_to_before_{place}"] = after / before_bytes[place]

    up, down = f"/{SERVICE}{SINK_PATH}", f"/{SERVICE}{FILES_PATH}/gib"
    note(
        "up_growth",
        _growth_bytes(chain, lambda: send(chain.port, up, chain.files / "gib", limit_s=TRANSFER_LIMIT_S)),
    )
    note("down_growth", _growth_bytes(chain, lambda: fetch(chain.port, down, limit_s=TRANSFER_LIMIT_S)))
    return Turn(figures, found.fault())


def _growth_bytes(chain: StandingChain, transfer: Callable[[], None]) -> dict[Place, int]:
    """Return by how much each proxy's memory had grown at its peak while something was transferred."""
    before_bytes = chain.resident_bytes()
    _begin_peaks(chain)
    transfer()
    return {place: peak - before_bytes[place] for place, peak in _peaks_bytes(chain).items()}


def _begin_peaks(chain: StandingChain) -> None:
    for proxy in chain.proxies.values():
        begin_peak(proxy.pid)


def _peaks_bytes(chain: StandingChain) -> dict[Place, int]:
    return {place: peak_bytes(proxy.pid) for place, proxy in chain.proxies.items()}


MEMORY = Scenario(
    name="memory",
    title=f"resident memory (MiB, out and in proxy) before, at the peak of, and {REST_S} s after the load; "
    "growth while 1 GiB passes",
    measure=measure,
    figures=tuple(
        Figure(f"{stage}_{place}{unit}", f"{heading} {place}", form)
        for stage, heading, unit, form in (
            ("before", "before", "_mib", ".1f"),
            ("under", "under", "_mib", ".1f"),
            ("after", "after", "_mib", ".1f"),
            ("after_to_before", "after ÷ before", "", ".2f"),
            ("up_growth", "1 GiB up", "_mib", "+.1f"),
            ("down_growth", "1 GiB down", "_mib", "+.1f"),
        )
        for place in ("out", "in")
    ),
    baselines=(),
    chains=("fastproxy-link", "fastproxy-http"),
    tools=(WRK, CURL),
    rounds=1,
    load=Load(connections=128, seconds=10),
    warms_up=False,
)
