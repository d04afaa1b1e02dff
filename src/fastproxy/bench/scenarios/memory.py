"""By how much each proxy grows while a gigabyte passes through it, each way."""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.bench.accounting import begin_peak, peak_bytes
from fastproxy.bench.configs import FILES_PATH, MIB, SERVICE, SINK_PATH
from fastproxy.bench.credentials import Place
from fastproxy.bench.load import LoadError, fetch, send
from fastproxy.bench.scenario import Figure, Load, Point, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import CURL

TRANSFER_LIMIT_S = 60
UP_PATH = f"/{SERVICE}{SINK_PATH}"
DOWN_PATH = f"/{SERVICE}{FILES_PATH}/gib"


def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
    """Post a file of 1 GiB in one request, then get it."""
    if not chain.proxies:
        raise LoadError("there is no proxy whose memory could be looked at")
    figures: dict[str, float] = {}
    file = chain.files / "gib"
    ways: dict[str, Callable[[], None]] = {
        "up": lambda: send(chain.port, UP_PATH, file, limit_s=TRANSFER_LIMIT_S),
        "down": lambda: fetch(chain.port, DOWN_PATH, limit_s=TRANSFER_LIMIT_S),
    }
    for way, transfer in ways.items():
        for place, grown_bytes in _growth_bytes(chain, transfer).items():
            figures[f"{way}_growth_{place}_mib"] = grown_bytes / MIB
    return Turn(figures, None)


def _growth_bytes(chain: StandingChain, transfer: Callable[[], None]) -> dict[Place, int]:
    """Return by how much each proxy's memory had grown at its peak while something was transferred."""
    before_bytes = chain.resident_bytes()
    for proxy in chain.proxies.values():
        begin_peak(proxy.pid)
    transfer()
    return {place: peak_bytes(proxy.pid) - before_bytes[place] for place, proxy in chain.proxies.items()}


MEMORY = Scenario(
    name="memory",
    title="growth of each proxy's resident memory while a body of 1 GiB passes, up and down",
    measure=measure,
    figures=tuple(
        Figure(f"{way}_growth_{place}_mib", f"1 GiB {way}, {place}", "+.1f", " MiB")
        for way in ("up", "down")
        for place in ("out", "in")
    ),
    baselines=(),
    # Not compat, which holds bodies whole.
    chains=("haproxy-h2", "nginx-h1", "fastproxy-link", "fastproxy-http"),
    tools=(CURL,),
    rounds=1,
    load=Load(connections=1, seconds=1),
    turn_s=lambda load, point: 12.0,
    warms_up=False,
)
