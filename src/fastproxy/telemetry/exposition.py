"""Metrics as text for a scraper, in OpenMetrics.

The client library is imported at the first scrape and not before: it takes 10 MiB, and a process that
nobody scrapes shall not carry it.
Knows nothing of HTTP; the admin listener sends what `render` returns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from fastproxy.telemetry.metrics import (
    DURATION_BOUNDS_S,
    GAUGES,
    LISTED_BY,
    SPLIT_BY,
    TALLIES,
    Durations,
    Metrics,
    Read,
    ReadAll,
    Series,
)
from fastproxy.telemetry.process import resident_bytes

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

COUNTERS = {
    "fastproxy_requests": "Exchanges that are over, by outcome: class of the status, or aborted",
    "fastproxy_refusals": "Exchanges that this proxy refused or broke off, by cause",
    "fastproxy_would_refuse": "Exchanges that passed only because refusals are reported, not enforced",
    "fastproxy_retries": "Attempts beyond the first of an exchange",
    "fastproxy_request_bytes": "Content bytes of requests",
    "fastproxy_response_bytes": "Content bytes of answers",
    "fastproxy_challenges": "Answers by which this receiver told a sender its epoch",
    "fastproxy_process_cpu_seconds": "CPU time that this process has used",
    **TALLIES,
}
LEVELS = {
    "fastproxy_process_resident_bytes": "Memory that this process holds",
    **GAUGES,
}
DURATION = (
    "fastproxy_request_duration_seconds",
    "Time from the request's first byte to the answer's last, by outcome and cause",
)
BUILD = ("fastproxy_build", "Version of this program")

CATALOGUE: dict[str, str] = {**COUNTERS, **LEVELS, DURATION[0]: DURATION[1], BUILD[0]: BUILD[1]}
"""Every metric family and what it says; counters get `_total` behind their name, the build `_info`."""

_BUCKETS = (*map(repr, DURATION_BOUNDS_S), "+Inf")


def render(metrics: Metrics) -> bytes:
    """Return all metrics as OpenMetrics text, see `CONTENT_TYPE`. Half a millisecond per series in use."""
    from prometheus_client.openmetrics.exposition import generate_latest  # noqa: PLC0415 - see above

    text: bytes = generate_latest(_Collector(metrics))  # type: ignore[no-untyped-call]
    return text


class _Collector:
    """Hands the client library one family after the other."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        # The role goes with every series, so that both proxies of a pair can be scraped into one place.
        self._names = ("role", "caller", "service")

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.metrics_core import InfoMetricFamily  # noqa: PLC0415

        metrics = self._metrics
        yield InfoMetricFamily(*BUILD, value={"version": metrics.version, "role": metrics.role})
        yield from self._by_series()
        yield self._durations()
        yield self._counter("fastproxy_challenges", {"": lambda: metrics.challenges})
        yield self._counter("fastproxy_process_cpu_seconds", {"": lambda: sum(os.times()[:2])})
        yield self._gauge("fastproxy_process_resident_bytes", {"": resident_bytes})
        for name, by_service in metrics.watched.items():
            yield self._gauge(name, by_service) if name in GAUGES else self._counter(name, by_service)
        for name, counts in metrics.counted.items():
            yield self._counted(name, counts)
        for name, read in metrics.listed.items():
            yield self._listed(name, read)

    def _by_series(self) -> Iterator[Metric]:
        def outcomes(series: Series) -> dict[str, float]:
            found: dict[str, float] = {}
            for outcome, _, durations in series.outcomes():
                found[outcome] = found.get(outcome, 0) + sum(durations.counts)
            return found

        def causes(series: Series) -> dict[str, float]:
            return dict(series.refusals)

        def reported(series: Series) -> dict[str, float]:
            return dict(series.would_refuse)

        yield self._split("fastproxy_requests", "outcome", outcomes)
        yield self._split("fastproxy_refusals", "cause", causes)
        yield self._split("fastproxy_would_refuse", "cause", reported)
        yield self._split("fastproxy_retries", "", lambda series: {"": series.retries})
        yield self._split("fastproxy_request_bytes", "", lambda series: {"": series.bytes_in})
        yield self._split("fastproxy_response_bytes", "", lambda series: {"": series.bytes_out})

    def _split(self, name: str, label: str, read: Callable[[Series], dict[str, float]]) -> Metric:
        """Make a counter per series, split further by what `read` returns when there is a label for it."""
        from prometheus_client.metrics_core import CounterMetricFamily  # noqa: PLC0415

        family = CounterMetricFamily(name, COUNTERS[name], labels=(*self._names, *([label] if label else [])))
        for series in self._metrics.all_series():
            for value, count in read(series).items():
                if count or not label:
                    family.add_metric((*self._values(series), *([value] if label else [])), count)
        return family

    def _durations(self) -> Metric:
        from prometheus_client.metrics_core import HistogramMetricFamily  # noqa: PLC0415

        family = HistogramMetricFamily(*DURATION, labels=(*self._names, "outcome", "cause"))
        for series in self._metrics.all_series():
            for outcome, cause, durations in series.outcomes():
                labels = (*self._values(series), outcome, cause)
                family.add_metric(labels, _cumulated(durations), durations.sum_s)
        return family

    def _gauge(self, name: str, by_service: dict[str, Read]) -> Metric:
        from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415

        family = GaugeMetricFamily(name, LEVELS[name], labels=_labels(name, by_service))
        for labels, value in self._read(name, by_service):
            family.add_metric(labels, value)
        return family

    def _counter(self, name: str, by_service: dict[str, Read]) -> Metric:
        from prometheus_client.metrics_core import CounterMetricFamily  # noqa: PLC0415

        family = CounterMetricFamily(name, COUNTERS[name], labels=_labels(name, by_service))
        for labels, value in self._read(name, by_service):
            family.add_metric(labels, value)
        return family

    def _counted(self, name: str, counts: Mapping[str, int]) -> Metric:
        from prometheus_client.metrics_core import CounterMetricFamily  # noqa: PLC0415

        family = CounterMetricFamily(name, COUNTERS[name], labels=("role", SPLIT_BY[name]))
        for value, count in counts.items():
            family.add_metric((self._metrics.role, value), count)
        return family

    def _listed(self, name: str, read: ReadAll) -> Metric:
        from prometheus_client.metrics_core import GaugeMetricFamily  # noqa: PLC0415

        family = GaugeMetricFamily(name, LEVELS[name], labels=("role", *LISTED_BY[name]))
        for values, value in read().items():
            family.add_metric((self._metrics.role, *values), value)
        return family

    def _read(self, name: str, by_service: dict[str, Read]) -> Iterator[tuple[tuple[str, ...], float]]:
        count = len(_labels(name, by_service))
        for service, read in by_service.items():
            value = read()
            if value is not None:
                yield (self._metrics.role, service)[:count], value

    def _values(self, series: Series) -> tuple[str, str, str]:
        return self._metrics.role, series.caller, series.service


def _labels(name: str, by_service: dict[str, Read]) -> tuple[str, ...]:
    return ("role", SPLIT_BY.get(name, "service")) if any(by_service) else ("role",)


def _cumulated(durations: Durations) -> list[Any]:
    """Buckets as OpenMetrics has them: each counts all that took no longer."""
    return list(zip(_BUCKETS, map(float, accumulate(durations.counts)), strict=True))
