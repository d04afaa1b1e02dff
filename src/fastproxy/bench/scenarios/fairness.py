"""What small calls lose to a caller that never reads, and to one that takes all it can get.

Three loads in turn, with the same small calls in each: alone; beside an answer that is asked for and not read
on; beside that one and an answer without end that is read as fast as it comes. The huge one takes CPU from
the small ones outside the proxies as well, at the service and at its reader: the chain without proxies shows
how much.
"""

from __future__ import annotations

from fastproxy.bench.configs import CALLER_PATH, FILES_PATH, SERVICE
from fastproxy.bench.load import Download, WrkResult, run_wrk, stalled_download
from fastproxy.bench.scenario import POST_SCRIPT, Figure, Load, Point, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import CURL, WRK

ENDLESS_PATH = f"/{SERVICE}{FILES_PATH}/endless"


def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
    """Let the small calls run alone, beside a stalled stream, and beside a stalled and a huge one."""
    alone = _small_calls(chain, load)
    with stalled_download(chain.port, ENDLESS_PATH):
        beside_stalled = _small_calls(chain, load)
        with Download(chain.port, ENDLESS_PATH, seconds=load.seconds) as huge:
            beside_huge = _small_calls(chain, load)
            huge_mb_per_s = huge.wait_mb_per_s()
    figures = {
        "stalled_kept": beside_stalled.requests_per_s / alone.requests_per_s,
        "huge_kept": beside_huge.requests_per_s / alone.requests_per_s,
        "huge_mb_per_s": huge_mb_per_s,
    }
    phases = {"alone": alone, "stalled": beside_stalled, "huge": beside_huge}
    for name, found in phases.items():
        figures[f"{name}_requests_per_s"] = found.requests_per_s
        figures[f"{name}_p99_ms"] = found.p99_ms
        figures[f"{name}_max_ms"] = found.max_ms
    return Turn(figures, next(filter(None, (found.fault() for found in phases.values())), None))


def _small_calls(chain: StandingChain, load: Load) -> WrkResult:
    return run_wrk(
        chain.port, CALLER_PATH, connections=load.connections, seconds=load.seconds, script=POST_SCRIPT
    )


FAIRNESS = Scenario(
    name="fairness",
    title="small calls alone (a), beside a stalled stream (s), beside a stalled and a huge one (h)",
    measure=measure,
    figures=(
        Figure("alone_requests_per_s", "a: req/s"),
        Figure("alone_p99_ms", "p99", ".1f", " ms"),
        Figure("alone_max_ms", "longest", ".0f", " ms"),
        Figure("stalled_requests_per_s", "s: req/s"),
        Figure("stalled_kept", "of a", ".2f"),
        Figure("stalled_p99_ms", "p99", ".1f", " ms"),
        Figure("stalled_max_ms", "longest", ".0f", " ms"),
        Figure("huge_requests_per_s", "h: req/s"),
        Figure("huge_kept", "of a", ".2f"),
        Figure("huge_p99_ms", "p99", ".1f", " ms"),
        Figure("huge_max_ms", "longest", ".0f", " ms"),
        Figure("huge_mb_per_s", "huge MB/s"),
    ),
    baselines=(),
    chains=("none", "haproxy-h2", "nginx-h1", "fastproxy-link", "fastproxy-http"),
    tools=(WRK, CURL),
    rounds=3,
    load=Load(connections=100, seconds=3),
    turn_s=lambda load, point: 3 * load.seconds + 1.0,
    warms_up=False,
)
