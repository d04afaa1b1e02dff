"""All that processes of one proxy have counted, as values: taken from one, sent, and added up.

What a process has counted is added to what its successor counts, so that counters only go up, whatever
becomes of a process. What it measured of itself ends with it.
Knows nothing of processes or how a state gets from one to another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec import Struct, field

from fastproxy.telemetry.key_uses import KeyUse, past_uses, total_uses
from fastproxy.telemetry.metrics import GAUGES, IN_USE, LISTED_BY, Durations, Metrics, Series
from fastproxy.telemetry.process import resident_bytes

_AGREED: dict[str, Callable[[float, float], float]] = {
    "fastproxy_endpoints": max,
    "fastproxy_discovery_age_seconds": max,
    "fastproxy_key_not_after_seconds": min,
    "fastproxy_compat_weaknesses": max,
    "fastproxy_compat_claimed_callers": max,
    "fastproxy_rate_keys": max,
    "fastproxy_sessions": max,
    "fastproxy_limit_allowed": max,
    "fastproxy_rate_used_ratio": max,
    "fastproxy_rate_burst_requests": max,
    "fastproxy_rate_requests_per_second": max,
    "fastproxy_config_loaded_timestamp_seconds": max,
}
"""Levels that every process has of the same thing, and which of theirs is shown; all others are added up."""

Key = tuple[str, ...]
Values = list[tuple[Key, float]]
_K = TypeVar("_K")


class Outcome(Struct, array_like=True):
    """Exchanges of a series that ended in one way: how many by how long they took (see `Durations`)."""

    outcome: str
    cause: str
    counts: list[int]
    sum_s: float


class Histogram(Struct, array_like=True):
    """What `Durations` counts."""

    counts: list[int]
    sum_s: float


class SeriesState(Struct, array_like=True):
    """What `Series` counts."""

    caller: str
    service: str
    retries: int
    bytes_in: int
    bytes_out: int
    refusals: dict[str, int]
    would_refuse: dict[str, int]
    outcomes: list[Outcome]
    route: str = ""


class State(Struct):
    """What some processes have counted.

    role, version: of the proxy. challenges, cpu_s: counters. series: by caller, service and route.
    tallies, levels, histograms: by name and label, "" where there is none; levels end with their process.
    listed: by name, levels that have several labels.
    key_uses: by which keys links and sessions were made. resident_bytes: by process.
    """

    role: str
    version: str
    challenges: int = 0
    cpu_s: float = 0.0
    series: list[SeriesState] = field(default_factory=list)
    tallies: dict[str, dict[str, float]] = field(default_factory=dict)
    levels: dict[str, dict[str, float]] = field(default_factory=dict)
    listed: dict[str, Values] = field(default_factory=dict)
    key_uses: list[KeyUse] = field(default_factory=list)
    resident_bytes: dict[str, float] = field(default_factory=dict)
    histograms: dict[str, dict[str, Histogram]] = field(default_factory=dict)


def state_of(metrics: Metrics, process: str) -> State:
    """Return what this process has counted; `process` is its name among those of the proxy."""
    state = State(metrics.role, metrics.version, metrics.challenges, sum(os.times()[:2]))
    state.series = [_state_of(series) for series in metrics.all_series()]
    state.histograms = {
        name: {label: _histogram_of(durations) for label, durations in by_label.items()}
        for name, by_label in metrics.histograms.items()
    }
    state.tallies = metrics.tallies()
    for name, by_label in metrics.watched.items():
        if name in GAUGES:
            state.levels[name] = {
                label: value for label, read in by_label.items() if (value := read()) is not None
            }
    if (late_s := metrics.loop_lag_s()) is not None:
        state.levels["fastproxy_loop_lag_max_seconds"] = {process: late_s}
    for name, read in metrics.listed.items():
        state.listed[name] = list(read().items())
    state.key_uses = metrics.key_uses.all()
    if (resident := resident_bytes()) is not None:
        state.resident_bytes[process] = resident
    return state


def _histogram_of(durations: Durations) -> Histogram:
    return Histogram(list(durations.counts), durations.sum_s)


def _state_of(series: Series) -> SeriesState:
    return SeriesState(
        series.caller,
        series.service,
        series.retries,
        series.bytes_in,
        series.bytes_out,
        dict(series.refusals),
        dict(series.would_refuse),
        [Outcome(outcome, cause, list(durations.counts), durations.sum_s)
         for outcome, cause, durations in series.outcomes()],
        series.route,
    )  # fmt: skip


def counted(state: State) -> State:
    """Return what stays of a process that has ended: its counters."""
    return State(
        state.role,
        state.version,
        state.challenges,
        state.cpu_s,
        series=state.series,
        tallies=state.tallies,
        key_uses=past_uses(state.key_uses),
        histograms=state.histograms,
    )


def total(states: Iterable[State], role: str, version: str) -> State:
    """Add states up, which stay as they are."""
    states = list(states)
    summed = State(role, version)
    summed.key_uses = total_uses(use for state in states for use in state.key_uses)
    series: dict[Key, SeriesState] = {}
    listed: dict[str, dict[Key, float]] = {}
    for state in states:
        summed.challenges += state.challenges
        summed.cpu_s += state.cpu_s
        summed.resident_bytes |= state.resident_bytes
        for one in state.series:
            key = one.caller, one.service, one.route
            known = series.get(key)
            series[key] = one if known is None else _added(known, one)
        for name, histograms in state.histograms.items():
            _merge(summed.histograms.setdefault(name, {}), histograms)
        for name, values in state.tallies.items():
            _add(summed.tallies.setdefault(name, {}), values.items(), _plus)
        for name, values in state.levels.items():
            _add(summed.levels.setdefault(name, {}), values.items(), _AGREED.get(name, _plus))
        for name, pairs in state.listed.items():
            _add(listed.setdefault(name, {}), pairs, _AGREED.get(name, _plus))
    summed.series = list(series.values())
    summed.listed = {name: list(values.items()) for name, values in listed.items()}
    return summed


def limits_in_use(state: State) -> list[tuple[str, float, float]]:
    """Return the limits of a proxy: name, how many there are, how many there may be.

    Where there is one for each caller, it is of the caller that has most.
    """
    found = []
    for name, allowed in state.levels.get("fastproxy_limit_allowed", {}).items():
        gauge = IN_USE[name]
        if gauge in LISTED_BY:
            used = max((value for _, value in state.listed.get(gauge, ())), default=0.0)
        else:
            used = sum(state.levels.get(gauge, {}).values())
        found.append((name, used, allowed))
    return found


def _plus(one: float, other: float) -> float:
    return one + other


def _add(
    to: dict[_K, float], values: Iterable[tuple[_K, float]], combine: Callable[[float, float], float]
) -> None:
    for key, value in values:
        known = to.get(key)
        to[key] = value if known is None else combine(known, value)


def _merge(to: dict[str, Histogram], histograms: dict[str, Histogram]) -> None:
    for label, one in histograms.items():
        known = to.get(label)
        to[label] = one if known is None else Histogram(
            [count + more for count, more in zip(known.counts, one.counts, strict=True)],
            known.sum_s + one.sum_s,
        )  # fmt: skip


def _added(one: SeriesState, other: SeriesState) -> SeriesState:
    outcomes = {(outcome.outcome, outcome.cause): outcome for outcome in one.outcomes}
    for added in other.outcomes:
        known = outcomes.get((added.outcome, added.cause))
        outcomes[added.outcome, added.cause] = added if known is None else Outcome(
            added.outcome,
            added.cause,
            [count + more for count, more in zip(known.counts, added.counts, strict=True)],
            known.sum_s + added.sum_s,
        )  # fmt: skip
    return SeriesState(
        one.caller,
        one.service,
        one.retries + other.retries,
        one.bytes_in + other.bytes_in,
        one.bytes_out + other.bytes_out,
        _summed(one.refusals, other.refusals),
        _summed(one.would_refuse, other.would_refuse),
        list(outcomes.values()),
        one.route,
    )


def _summed(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {cause: one.get(cause, 0) + other.get(cause, 0) for cause in one | other}
