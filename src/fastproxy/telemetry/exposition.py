"""Metrics as text for a scraper, in OpenMetrics.

The client library is imported at the first scrape and not before: it takes 10 MiB, and a process that
nobody scrapes shall not carry it.
Knows nothing of HTTP; the admin listener sends what `render` returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from fastproxy.telemetry.metrics import (
    BOUNDS_S,
    DURATION_BOUNDS_S,
    GAUGES,
    HISTOGRAMS,
    LISTED_BY,
    SPLIT_BY,
    TALLIES,
)
from fastproxy.telemetry.state import SeriesState, State, Values, limits_in_use

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

OPENMETRICS = b"application/openmetrics-text; version=1.0.0; charset=utf-8"
TEXT = b"text/plain; version=0.0.4; charset=utf-8"
"""The older format, which Prometheus's own `promtool` reads."""

COUNTERS = {
    "fastproxy_requests": "Exchanges that are over, by outcome: class of the status, or aborted",
    "fastproxy_refusals": "Exchanges that this proxy refused or broke off, by cause",
    "fastproxy_would_refuse": "Exchanges that passed only because refusals are reported, not enforced",
    "fastproxy_retries": "Attempts beyond the first of an exchange",
    "fastproxy_request_bytes": "Content bytes of requests",
    "fastproxy_response_bytes": "Content bytes of answers",
    "fastproxy_challenges": "Answers by which this receiver told a sender its epoch",
    "fastproxy_process_cpu_seconds": "CPU time that the processes of this proxy have used",
    "fastproxy_key_uses": "Links and sessions that were made by a key, by whose it is and who calls",
    **TALLIES,
}
LIMIT_USED = "fastproxy_limit_used_ratio"
LEVELS = {
    LIMIT_USED: "How much of a limit is in use, 0 to 1; of those for each caller, by the one that has most",
    "fastproxy_process_resident_bytes": "Memory that a process of this proxy holds, by process",
    "fastproxy_key_uses_open": "Links and sessions that there are by a key",
    "fastproxy_key_first_use_timestamp_seconds": "When a link or session was first made by a key",
    "fastproxy_key_last_use_timestamp_seconds": "When a link or session by a key was there last",
    **GAUGES,
}
DURATION = (
    "fastproxy_request_duration_seconds",
    "Time from the request's first byte to the answer's last, by outcome and cause",
)
BUILD = ("fastproxy_build", "Version of this program")

CATALOGUE: dict[str, str] = {
    **COUNTERS, **LEVELS, **HISTOGRAMS, DURATION[0]: DURATION[1], BUILD[0]: BUILD[1],
}  # fmt: skip
"""Every metric family and what it says; counters get `_total` behind their name, the build `_info`."""


def render(state: State, content_type: bytes = OPENMETRICS) -> bytes:
    """Return all metrics as text. Half a millisecond per series in use.

    Args:
        content_type: OPENMETRICS or TEXT.
    """
    from prometheus_client import exposition, openmetrics  # noqa: PLC0415 - see above

    text: bytes
    if content_type == TEXT:
        text = exposition.generate_latest(_Collector(state))
    else:
        text = openmetrics.exposition.generate_latest(_Collector(state))  # type: ignore[no-untyped-call]
    return text


def format_for(accept: bytes) -> bytes:
    """Return the content type for a scraper that says this in its Accept header: OpenMetrics, unless it takes
    the older format only.
    """
    return TEXT if b"text/plain" in accept and b"application/openmetrics-text" not in accept else OPENMETRICS


class _Collector:
    """Hands the client library one family after the other."""

    def __init__(self, state: State) -> None:
        self._state = state
        # The role goes with every series, so that both proxies of a pair can be scraped into one place.
        self._names = ("role", "caller", "service", "route")

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import InfoMetricFamily  # noqa: PLC0415

        state = self._state
        yield InfoMetricFamily(*BUILD, value={"version": state.version, "role": state.role})
        yield from self._by_series()
        yield self._durations()
        for name in HISTOGRAMS:
            yield self._histogram(name)
        yield self._counter("fastproxy_challenges", {"": state.challenges})
        yield self._counter("fastproxy_process_cpu_seconds", {"": state.cpu_s})
        yield self._gauge("fastproxy_process_resident_bytes", state.resident_bytes)
        for name, by_label in state.tallies.items():
            yield self._counter(name, by_label)
        for name, by_label in state.levels.items():
            yield self._gauge(name, by_label)
        for name, values in state.listed.items():
            yield self._listed(name, values)
        yield self._limits()
        yield from self._key_uses()

    def _limits(self) -> Metric:
        from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415

        family = GaugeMetricFamily(LIMIT_USED, LEVELS[LIMIT_USED], labels=("role", "limit"))
        for name, used, allowed in limits_in_use(self._state):
            family.add_metric((self._state.role, name), used / allowed)
        return family

    def _by_series(self) -> Iterator[Metric]:
        def outcomes(series: SeriesState) -> dict[str, int]:
            found: dict[str, int] = {}
            for one in series.outcomes:
                found[one.outcome] = found.get(one.outcome, 0) + sum(one.counts)
            return found

        yield self._split("fastproxy_requests", "outcome", outcomes)
        yield self._split("fastproxy_refusals", "cause", lambda series: series.refusals)
        yield self._split("fastproxy_would_refuse", "cause", lambda series: series.would_refuse)
        yield self._split("fastproxy_retries", "", lambda series: {"": series.retries})
        yield self._split("fastproxy_request_bytes", "", lambda series: {"": series.bytes_in})
        yield self._split("fastproxy_response_bytes", "", lambda series: {"": series.bytes_out})

    def _split(self, name: str, label: str, read: Callable[[SeriesState], dict[str, int]]) -> Metric:
        """Make a counter per series, split further by what `read` returns when there is a label for it."""
        from prometheus_client.metrics_core import CounterMetricFamily  # noqa: PLC0415

        family = CounterMetricFamily(name, COUNTERS[name], labels=(*self._names, *([label] if label else [])))
        for series in self._state.series:
            for value, count in read(series).items():
                if count or not label:
                    family.add_metric((*self._values(series), *([value] if label else [])), count)
        return family

    def _durations(self) -> Metric:
        from prometheus_client.metrics_core import HistogramMetricFamily  # noqa: PLC0415

        family = HistogramMetricFamily(*DURATION, labels=(*self._names, "outcome", "cause"))
        for series in self._state.series:
            for one in series.outcomes:
                labels = (*self._values(series), one.outcome, one.cause)
                family.add_metric(labels, _cumulated(one.counts, DURATION_BOUNDS_S), one.sum_s)
        return family

    def _histogram(self, name: str) -> Metric:
        from prometheus_client.metrics_core import HistogramMetricFamily  # noqa: PLC0415

        by_label = self._state.histograms.get(name, {})
        labels = _labels(name, by_label)
        family = HistogramMetricFamily(name, HISTOGRAMS[name], labels=labels)
        for value, one in by_label.items():
            values = (self._state.role, value)[: len(labels)]
            family.add_metric(values, _cumulated(one.counts, BOUNDS_S[name]), one.sum_s)
        return family

    def _gauge(self, name: str, by_label: Mapping[str, float]) -> Metric:
        from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415

        labels = _labels(name, by_label)
        family = GaugeMetricFamily(name, LEVELS[name], labels=labels)
        for value, level in by_label.items():
            family.add_metric((self._state.role, value)[: len(labels)], level)
        return family

    def _counter(self, name: str, by_label: Mapping[str, float]) -> Metric:
        from prometheus_client.metrics_core import CounterMetricFamily  # noqa: PLC0415

        labels = _labels(name, by_label)
        family = CounterMetricFamily(name, COUNTERS[name], labels=labels)
        for value, count in by_label.items():
            family.add_metric((self._state.role, value)[: len(labels)], count)
        return family

    def _listed(self, name: str, values: Values) -> Metric:
        from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415

        family = GaugeMetricFamily(name, LEVELS[name], labels=("role", *LISTED_BY[name]))
        for key, value in values:
            family.add_metric((self._state.role, *key), value)
        return family

    def _key_uses(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily  # noqa: PLC0415

        name, labels = "fastproxy_key_uses", ("role", "kind", "name", "key_id")
        made = CounterMetricFamily(name, COUNTERS[name], labels=labels)
        name = "fastproxy_key_uses_open"
        is_open = GaugeMetricFamily(name, LEVELS[name], labels=labels)
        name = "fastproxy_key_last_use_timestamp_seconds"
        last = GaugeMetricFamily(name, LEVELS[name], labels=labels)
        name = "fastproxy_key_first_use_timestamp_seconds"
        first = GaugeMetricFamily(name, LEVELS[name], labels=labels)
        for use in self._state.key_uses:
            values = (self._state.role, *use.row)
            made.add_metric(values, use.made)
            is_open.add_metric(values, use.open)
            last.add_metric(values, use.last_unix_s)
            if use.first_unix_s:
                first.add_metric(values, use.first_unix_s)
        yield from (made, is_open, first, last)

    def _values(self, series: SeriesState) -> tuple[str, ...]:
        return self._state.role, series.caller, series.service, series.route


def _labels(name: str, by_label: Iterable[str]) -> tuple[str, ...]:
    split = name in SPLIT_BY or any(by_label)
    return ("role", SPLIT_BY.get(name, "service")) if split else ("role",)


def _cumulated(counts: list[int], bounds_s: tuple[float, ...]) -> list[Any]:
    """Buckets as OpenMetrics has them: each counts all that took no longer."""
    names = (*map(repr, bounds_s), "+Inf")
    return list(zip(names, map(float, accumulate(counts)), strict=True))
