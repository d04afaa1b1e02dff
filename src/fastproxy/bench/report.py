"""What came out: medians per chain, as a table for people and as JSON for programs.

Ratios are made of medians of one run. Figures of different runs aren't comparable: machines are noisy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from rich.table import Table

from fastproxy.bench.credentials import Place
from fastproxy.bench.load import WrkResult
from fastproxy.bench.peers import Chain

MIB = 1024 * 1024
BLANK = "–"


@dataclass(frozen=True, slots=True)
class Round:
    """One round of load on one chain.

    cpu_us: CPU time per request of each proxy, in microseconds; empty when none stands between.
    """

    wrk: WrkResult
    cpu_us: dict[Place, float]


@dataclass(slots=True)
class Outcome:
    """All that was found about one chain.

    resident_bytes: of each proxy, after the last round.
    failure: why the chain can't be relied upon, or None.
    skipped: why it wasn't measured, or None.
    """

    chain: Chain
    rounds: list[Round] = field(default_factory=list)
    resident_bytes: dict[Place, int] = field(default_factory=dict)
    failure: str | None = None
    skipped: str | None = None

    def judge(self, wrk: WrkResult) -> None:
        """Fail the chain when there was an answer other than 2xx, or a socket error."""
        if wrk.non_2xx or wrk.socket_errors:
            self.failure = (
                f"{wrk.non_2xx} answers other than 2xx and {wrk.socket_errors} socket errors "
                f"in {wrk.requests} requests"
            )

    def median_of(self, figure: Callable[[Round], float]) -> float | None:
        """Return the median of a figure over the rounds, None when there were none."""
        return median(map(figure, self.rounds)) if self.rounds else None

    @property
    def requests_per_s(self) -> float | None:
        """Median requests per second."""
        return self.median_of(lambda measured: measured.wrk.requests_per_s)

    def cpu_us(self, place: Place) -> float | None:
        """Return the median CPU time per request of one proxy, in microseconds."""
        if self.chain.prepare is None:
            return None
        return self.median_of(lambda measured: measured.cpu_us[place])


def ratio(outcome: Outcome, baseline: Outcome) -> float | None:
    """Return the requests per second of a chain over those of another, None when one has none."""
    over, under = outcome.requests_per_s, baseline.requests_per_s
    return over / under if over is not None and under else None


def table(outcomes: Sequence[Outcome]) -> Table:
    """Return the figures of all chains, one row each."""
    baselines = _baselines(outcomes)
    shown = Table(title="medians of all rounds; CPU is per hop and request")
    shown.add_column("chain", no_wrap=True)
    shown.add_column("requests/s", justify="right")
    for baseline in baselines:
        shown.add_column(f"× {baseline.chain.name}", justify="right")
    for heading in ("CPU out", "CPU in", "p50", "p99", "RSS out", "RSS in"):
        shown.add_column(heading, justify="right")
    for outcome in outcomes:
        if outcome.rounds:
            # What failed did other work than the rest: its figures stand, but marked.
            style = "red" if outcome.failure else None
            shown.add_row(outcome.chain.title, *_cells(outcome, baselines), style=style)
    return shown


def remarks(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line per chain that failed or was left out, with the reason."""
    lines = [f"FAILED {outcome.chain.name}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    return lines + [f"left out {o.chain.name}: {o.skipped}" for o in outcomes if o.skipped]


def as_json(outcomes: Sequence[Outcome], run: dict[str, Any]) -> dict[str, Any]:
    """Return everything that was measured, rounds included.

    Args:
        run: settings and surroundings of the run, to stand beside the figures.
    """
    baselines = _baselines(outcomes)
    chains = [
        {
            "name": outcome.chain.name,
            "title": outcome.chain.title,
            "failure": outcome.failure,
            "skipped": outcome.skipped,
            "median": {
                "requests_per_s": outcome.requests_per_s,
                "cpu_us": {"out": outcome.cpu_us("out"), "in": outcome.cpu_us("in")},
                "p50_ms": outcome.median_of(lambda measured: measured.wrk.p50_ms),
                "p99_ms": outcome.median_of(lambda measured: measured.wrk.p99_ms),
            },
            "ratio": {baseline.chain.name: ratio(outcome, baseline) for baseline in baselines},
            "resident_bytes": outcome.resident_bytes,
            "rounds": [asdict(measured) for measured in outcome.rounds],
        }
        for outcome in outcomes
    ]
    return {"run": run, "chains": chains}


def _baselines(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [outcome for outcome in outcomes if outcome.chain.baseline and outcome.rounds]


def _cells(outcome: Outcome, baselines: Sequence[Outcome]) -> list[str]:
    resident = outcome.resident_bytes
    return [
        _number(outcome.requests_per_s, ",.0f"),
        *(_number(ratio(outcome, baseline), ".2f") for baseline in baselines),
        _number(outcome.cpu_us("out"), ".1f", " µs"),
        _number(outcome.cpu_us("in"), ".1f", " µs"),
        _number(outcome.median_of(lambda measured: measured.wrk.p50_ms), ".1f", " ms"),
        _number(outcome.median_of(lambda measured: measured.wrk.p99_ms), ".1f", " ms"),
        _number(resident["out"] / MIB if "out" in resident else None, ".0f", " MiB"),
        _number(resident["in"] / MIB if "in" in resident else None, ".0f", " MiB"),
    ]


def _number(value: float | None, form: str, unit: str = "") -> str:
    return BLANK if value is None else f"{value:{form}}{unit}"
