"""Where memory goes under load, and whether it comes back: of each proxy, sampled over time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from fastproxy.bench.configs import CALLER_PATH, MIB
from fastproxy.bench.credentials import PLACES, Place
from fastproxy.bench.load import LoadError, run_wrk
from fastproxy.bench.scenario import FAILED, POST_SCRIPT, Answers, Figure, Load, Plot, Point, Scenario, Turn
from fastproxy.bench.standing import StandingChain
from fastproxy.bench.tools import WRK

REST_S = 30.0
"""How long a proxy has, after the load, to give memory back."""

BACK_RATIO = 1.1
"""Memory after over memory before, up to which it counts as given back."""

SAMPLE_S = 0.5

Series = dict[str, list[tuple[float, float]]]


class Sampler:
    """Notes the resident memory of each proxy of a chain, at once and then every `SAMPLE_S`.

    Attributes:
        series: `resident_out_mib` and `resident_in_mib`.
    """

    __slots__ = ("_begun_s", "_chain", "series")

    def __init__(self, chain: StandingChain) -> None:
        self._chain = chain
        self._begun_s = time.monotonic()
        self.series: Series = {_series_name(place): [] for place in PLACES}

    def sample(self) -> dict[Place, float]:
        """Note what is resident now, and return it, in MiB.

        Raises:
            ProcessLookupError: a proxy is gone.
        """
        now_s = time.monotonic() - self._begun_s
        found = {place: resident / MIB for place, resident in self._chain.resident_bytes().items()}
        for place, mib in found.items():
            self.series[_series_name(place)].append((now_s, mib))
        return found

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Sample while something else runs in the `with` block."""
        is_over = Event()

        def go_on() -> None:
            while not is_over.wait(SAMPLE_S):
                try:
                    self.sample()
                except ProcessLookupError:
                    return  # whoever looks next at the proxy finds out as well

        thread = Thread(target=go_on, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def measure(chain: StandingChain, load: Load, point: Point) -> Turn:
    """Put the load of `peak` on a chain that has had none, then wait until its memory is back."""
    if not chain.proxies:
        raise LoadError("there is no proxy whose memory could be looked at")
    sampler = Sampler(chain)
    before = sampler.sample()
    with sampler.beside():
        found = run_wrk(
            chain.port, CALLER_PATH, connections=load.connections, seconds=load.seconds, script=POST_SCRIPT
        )
    under = {place: max(mib for _, mib in sampler.series[_series_name(place)]) for place in before}
    after, rested_s = _rest(sampler, before)
    figures = {"rested_s": rested_s}
    for place in before:
        figures[f"before_{place}_mib"] = before[place]
        figures[f"under_{place}_mib"] = under[place]
        figures[f"after_{place}_mib"] = after[place]
        figures[f"after_to_before_{place}"] = after[place] / before[place]
    return Turn(figures, found.fault(), sampler.series)


def _rest(sampler: Sampler, before: dict[Place, float]) -> tuple[dict[Place, float], float]:
    """Wait until all is back, at most `REST_S`; return the memory then, and how long it took."""
    begun_s = time.monotonic()
    while True:
        after = sampler.sample()
        rested_s = time.monotonic() - begun_s
        if rested_s >= REST_S or all(after[place] <= BACK_RATIO * before[place] for place in before):
            return after, rested_s
        time.sleep(SAMPLE_S)


def _series_name(place: Place) -> str:
    return f"resident_{place}_mib"


def verdict(answers: Sequence[Answers]) -> list[str]:
    """Name each proxy that didn't come back: of this package as a failure, of others as a fact."""
    remarks = []
    for answer in answers:
        for point in answer.points:
            for place in PLACES:
                ratio = answer.median_of(f"after_to_before_{place}", point)
                if ratio is not None and ratio > BACK_RATIO:
                    mark = FAILED if answer.chain.is_own else ""
                    remarks.append(
                        f"{mark}{answer.chain.name}: {REST_S:.0f} s after the load the {place} proxy holds "
                        f"{ratio:.2f} times the memory that it held before"
                    )
    return remarks


SOAK = Scenario(
    name="soak",
    title=f"resident memory before, under and after the load; back within {BACK_RATIO - 1:.0%} in "
    f"{REST_S:.0f} s",
    measure=measure,
    figures=(
        *(
            Figure(f"{stage}_{place}{unit}", f"{heading} {place}", form)
            for stage, heading, unit, form in (
                ("before", "before", "_mib", ".1f"),
                ("under", "under", "_mib", ".1f"),
                ("after", "after", "_mib", ".1f"),
                ("after_to_before", "after ÷ before", "", ".2f"),
            )
            for place in ("out", "in")
        ),
        Figure("rested_s", "back after", ".1f", " s"),
    ),
    baselines=(),
    chains=("haproxy-h2", "nginx-h1", "envoy-h2", "fastproxy-link", "fastproxy-http", "fastproxy-compat"),
    tools=(WRK,),
    rounds=1,
    load=Load(connections=128, seconds=15),
    turn_s=lambda load, point: load.seconds + REST_S / 2,
    plots=tuple(
        Plot(_series_name(place), f"Memory of the {place} proxy over time", "MiB") for place in ("out", "in")
    ),
    verdict=verdict,
    warms_up=False,
)
