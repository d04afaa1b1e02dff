"""Counters, histograms and gauges of one process.

On the path of a request they are plain ints in a `Series` that is found by one dict lookup; everything that
costs time happens when somebody scrapes, in `exposition`.
The number of series is bounded by construction: callers, services and routes are names from the config,
anything else counts as "unknown"; causes are rows of the error table; and beyond a hard limit all share one
series.
Knows nothing of where the numbers come from: the layers above count here, or are asked at scrape time.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from fastproxy.errors import TABLE
from fastproxy.telemetry.key_uses import OTHER, KeyUses

DURATION_BOUNDS_S = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds of the histogram's buckets, in seconds."""
OWN_BOUNDS_S = (
    0.000_01, 0.000_02, 0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5,
)  # fmt: skip
"""Those of what a proxy itself takes, which is a thousandth of that."""

UNKNOWN = "unknown"
CALLER_GONE = "caller_gone"
"""Cause of an exchange whose caller hung up; nobody is left to be answered."""

# By the first digit of the status. RFC 9110 knows 1 to 5; a service may still send any three digits.
_OUTCOMES = ("aborted", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "7xx", "8xx", "9xx")

GAUGES = {
    "fastproxy_workers": "Processes that carry exchanges, by state: starting, ready or draining",
    "fastproxy_in_flight": "Exchanges that have begun and are not over",
    "fastproxy_tasks": "Tasks of the event loops of the processes that take connections",
    "fastproxy_connections_open": "Connections open at the listener",
    "fastproxy_worker_connections": "Connections open at the listener, links not among them, by process",
    "fastproxy_worker_links": "Links that an in proxy has taken, or is about to, by process",
    "fastproxy_endpoints": "Endpoints known for a service, or for its receiver",
    "fastproxy_discovery_age_seconds": "Seconds since the endpoints were last confirmed",
    "fastproxy_sessions": "Envelope sessions held in memory",
    "fastproxy_rate_keys": "Callers on routes whose rate is being counted",
    "fastproxy_upstream_connections_open": "Connections open to services or receivers",
    "fastproxy_upstream_connections_idle": "Connections open to services or receivers that no exchange uses",
    "fastproxy_upstream_waiting": "Exchanges that wait for a connection to a service or receiver",
    "fastproxy_link_waiting": "Exchanges that wait for a link to a receiver",
    "fastproxy_link_held": "Contents that wait to be sent on links, for credit, a turn or a peer that reads",
    "fastproxy_link_handshakes_open": "Connections whose link isn't proven yet",
    "fastproxy_caller_links": "Links of a caller, of those that have most",
    "fastproxy_limit_allowed": "How many there may be at a time, by limit",
    "fastproxy_rate_used_ratio": "Fraction of the burst that a caller has in use on a route, the fullest",
    "fastproxy_rate_burst_requests": "Requests that this caller may make at once on that route",
    "fastproxy_rate_requests_per_second": "Requests per second that it may make in the long run",
    "fastproxy_loop_lag_max_seconds": "The latest that an event loop came to what was due in the last minute",
    "fastproxy_config_loaded_timestamp_seconds": "When the config that is in force was loaded, in Unix time",
    "fastproxy_links_open": "Links that are open, or being made",
    "fastproxy_link_streams_open": "Exchanges under way on links",
    "fastproxy_key_not_after_seconds": "Seconds until the next key of a name ends, or the own certificate",
    "fastproxy_start_timestamp_seconds": "Since when all this is counted, in Unix time",
    "fastproxy_compat_weaknesses": "Callers over compat whose messages are open to something, by weakness",
    "fastproxy_compat_claimed_callers": "Callers over compat that are taken at their word",
    "fastproxy_taps": "Clients of the admin address that watch exchanges",
    "fastproxy_trace_queue": "Traced exchanges whose spans wait to be sent",
}
"""Values that go up and down and stand in the layers above: name and what it says."""

TALLIES = {
    "fastproxy_reloads": "Reloads of the config, by outcome",
    "fastproxy_upgrades": "Upgrades to another program, by outcome",
    "fastproxy_tap_lines": "Exchanges for taps: shown, or dropped since a client was too slow",
    "fastproxy_workers_ended": "Processes that took connections and have ended, by how",
    "fastproxy_exchanges_lost": "Exchanges under way in processes that ended without draining",
    "fastproxy_connections_accepted": "Connections accepted by the listener",
    "fastproxy_connections_handed_on": "Connections that one worker gave to another, which had fewer",
    "fastproxy_descriptor_shortages": "Connections refused, or not made, for want of a file descriptor",
    "fastproxy_upstream_connections_opened": "Connections opened to services or receivers",
    "fastproxy_log_lines_dropped": "Log lines that could not be written",
    "fastproxy_links_opened": "Links that were made",
    "fastproxy_links_ended": "Links that ended, by why",
    "fastproxy_link_handshake_failures": "Links that were not made, by why",
    "fastproxy_link_streams": "Exchanges carried over links",
    "fastproxy_link_rekeys": "Changes of the key of one direction of a link",
    "fastproxy_link_window_stalls": "Times that content waited until the other end took more",
    "fastproxy_link_content_bytes": "Content sent over links, before compression",
    "fastproxy_trace_spans_sent": "Spans that the collector has taken",
    "fastproxy_trace_spans_dropped": "Spans that were not sent, by why",
    "fastproxy_link_sent_bytes": "Frames sent over links, with content after compression",
}
"""Values that only go up and stand in the layers above: name and what it says."""

SPLIT_BY = {
    "fastproxy_workers": "state",
    "fastproxy_reloads": "outcome",
    "fastproxy_upgrades": "outcome",
    "fastproxy_workers_ended": "how",
    "fastproxy_tap_lines": "told",
    "fastproxy_process_resident_bytes": "process",
    "fastproxy_worker_connections": "process",
    "fastproxy_worker_links": "process",
    "fastproxy_loop_lag_max_seconds": "process",
    "fastproxy_limit_allowed": "limit",
    "fastproxy_compat_weaknesses": "weakness",
    "fastproxy_links_ended": "cause",
    "fastproxy_link_handshake_failures": "cause",
    "fastproxy_trace_spans_dropped": "cause",
}
"""What the values of one name are told apart by, where that isn't the service."""

_RATE = ("caller", "service", "route")
LISTED_BY = {
    "fastproxy_key_not_after_seconds": ("kind", "name"),
    "fastproxy_caller_links": ("caller",),
    "fastproxy_rate_used_ratio": _RATE,
    "fastproxy_rate_burst_requests": _RATE,
    "fastproxy_rate_requests_per_second": _RATE,
}
"""What the values of one name are told apart by, where which there are changes from scrape to scrape."""

IN_USE = {
    "connections": "fastproxy_connections_open",
    "in_flight": "fastproxy_in_flight",
    "sessions": "fastproxy_sessions",
    "rate_states": "fastproxy_rate_keys",
    "handshakes": "fastproxy_link_handshakes_open",
    "links_per_caller": "fastproxy_caller_links",
}
"""By limit, as the config names it, the gauge that says how many there are."""

OWN_SHARE = "fastproxy_own_duration_seconds"
LOOP_LAG = "fastproxy_loop_lag_seconds"
HISTOGRAMS = {
    OWN_SHARE: "Time that this proxy itself spent on an exchange, without waiting for others",
    LOOP_LAG: "How late the event loop of a worker came to what was due, looked at twice a second",
}
"""Histograms that aren't told apart by caller, and what they say."""
BOUNDS_S = {OWN_SHARE: OWN_BOUNDS_S, LOOP_LAG: DURATION_BOUNDS_S}
"""Upper bounds of their buckets."""

Read = Callable[[], float | None]
"""Reads a value when somebody scrapes; None when there is none now."""
ReadAll = Callable[[], Mapping[tuple[str, ...], float]]
"""Reads all values of one name, by their labels' values, of which there is a bounded number."""


class Durations:
    """A histogram of how long something took.

    counts: how often per bucket, the last one for all beyond the bounds. sum_s: of all durations.

    Args:
        bounds_s: upper bounds of the buckets.
    """

    __slots__ = ("_bounds_s", "counts", "sum_s")

    def __init__(self, bounds_s: tuple[float, ...] = DURATION_BOUNDS_S) -> None:
        self._bounds_s = bounds_s
        self.counts = [0] * (len(bounds_s) + 1)
        self.sum_s = 0.0

    def note(self, duration_s: float) -> None:
        """Count one."""
        self.counts[bisect_left(self._bounds_s, duration_s)] += 1
        self.sum_s += duration_s


class Series:
    """What is counted for one caller, service and route.

    route: as the config spells it, "" where none was decided on.
    retries: attempts beyond the first of an exchange.
    bytes_in, bytes_out: content of requests and of answers. refusals: by cause, of the proxy itself.
    would_refuse: by cause, what passed only because refusals are reported, not enforced.

    Args:
        own: what this proxy itself took, for all series of the service.
    """

    __slots__ = (
        "_by_cause",
        "_by_class",
        "_own",
        "bytes_in",
        "bytes_out",
        "caller",
        "refusals",
        "retries",
        "route",
        "service",
        "would_refuse",
    )

    def __init__(self, caller: str, service: str, route: str, own: Durations) -> None:
        self.caller = caller
        self.service = service
        self.route = route
        self._own = own
        self.retries = 0
        self.bytes_in = 0
        self.bytes_out = 0
        self.refusals: dict[str, int] = {}
        self.would_refuse: dict[str, int] = {}
        self._by_class: list[Durations | None] = [None] * len(_OUTCOMES)
        self._by_cause: dict[tuple[int, str], Durations] = {}

    def finish(
        self, status: int, duration_s: float, own_s: float, bytes_in: int, bytes_out: int, cause: str = ""
    ) -> None:
        """Count an exchange that is over.

        Args:
            status: of the answer, three digits; 0 when whoever asked went away before there was one.
            duration_s: from the first byte of the request to the last of the answer.
            own_s: how much of it this proxy spent itself.
            bytes_in: content bytes of the request.
            bytes_out: content bytes of the answer.
            cause: why it didn't go well, "" when it did; what no proxy here knows counts as "unknown".
        """
        durations = self._by_class[status // 100]
        if cause or durations is None:
            durations = self._first(status // 100, cause)
        durations.counts[bisect_left(DURATION_BOUNDS_S, duration_s)] += 1
        durations.sum_s += duration_s
        own = self._own  # not `note`: a call costs as much as the rest
        own.counts[bisect_left(OWN_BOUNDS_S, own_s)] += 1
        own.sum_s += own_s
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out

    def _first(self, status_class: int, cause: str) -> Durations:
        if not cause:
            durations = self._by_class[status_class] = Durations()
            return durations
        cause = cause if cause in TABLE or cause == CALLER_GONE else UNKNOWN
        return self._by_cause.setdefault((status_class, cause), Durations())

    def refuse(self, cause: str) -> None:
        """Count an exchange that this proxy answered by itself, or broke off.

        Args:
            cause: label of a row of the error table; what another hop made up counts as "unknown".
        """
        cause = cause if cause in TABLE else UNKNOWN
        self.refusals[cause] = self.refusals.get(cause, 0) + 1

    def report(self, cause: str) -> None:
        """Count a refusal that is reported instead of enforced. Arguments as for `refuse`."""
        cause = cause if cause in TABLE else UNKNOWN
        self.would_refuse[cause] = self.would_refuse.get(cause, 0) + 1

    def outcomes(self) -> Iterable[tuple[str, str, Durations]]:
        """Yield the outcomes that occurred with their causes, each with its durations."""
        for outcome, durations in zip(_OUTCOMES, self._by_class, strict=True):
            if durations is not None:
                yield outcome, "", durations
        for (status_class, cause), durations in self._by_cause.items():
            yield _OUTCOMES[status_class], cause, durations


class Metrics:
    """All that one proxy process counts.

    known: series by caller, service and route, as the config names them.
    histograms: by metric (see `HISTOGRAMS`) and label.
    challenges: answers by which this receiver told a sender its epoch; counted up by who sends them.
    watched: by metric and service (see `SPLIT_BY`), what is read at each scrape.
    counted: by metric, counts by the label's value that somebody else keeps.
    listed: by metric (see `LISTED_BY`), what reads all its values at each scrape.
    before: by metric and label, what was counted with former configs.
    key_uses: by which keys links and sessions were made.
    loop_lag_s: reads how late the event loop was lately.

    Args:
        role: "out" or "in". version: of this program.
        callers, services: names that the config knows.
        series_limit: callers on routes that are counted apart; protects memory.
    """

    __slots__ = (
        "_already",
        "_callers",
        "_other",
        "_series_limit",
        "_services",
        "before",
        "challenges",
        "counted",
        "histograms",
        "key_uses",
        "known",
        "listed",
        "loop_lag_s",
        "role",
        "version",
        "watched",
    )

    def __init__(
        self,
        role: str,
        version: str,
        callers: Iterable[str] = (),
        services: Iterable[str] = (),
        series_limit: int = 10_000,
    ) -> None:
        self.role = role
        self.version = version
        self._callers = frozenset(callers)
        self._services = frozenset(services)
        self._series_limit = series_limit
        self.known: dict[tuple[str, str, str], Series] = {}
        self.histograms: dict[str, dict[str, Durations]] = {}
        self._other = Series(OTHER, OTHER, "", self.durations(OWN_SHARE, OTHER))
        self.challenges = 0
        self.before: dict[str, dict[str, float]] = {}
        # What is in `before` of those who go on counting.
        self._already: dict[str, dict[str, float]] = {}
        self.watched: dict[str, dict[str, Read]] = {}
        self.counted: dict[str, Mapping[str, int]] = {}
        self.listed: dict[str, ReadAll] = {}
        self.key_uses = KeyUses(time.time)
        self.loop_lag_s: Read = lambda: None

    def begin(self, callers: Iterable[str], services: Iterable[str]) -> None:
        """Count with another config from now on; what was counted stays.

        Args:
            callers, services: names that it knows.
        """
        self._callers = frozenset(callers)
        self._services = frozenset(services)
        self.before = self.tallies()
        self._already = {}
        self.watched = {}
        self.counted = {}
        self.listed = {}

    def tallies(self) -> dict[str, dict[str, float]]:
        """Return, by metric and label, all that others have counted so far."""
        found = {name: dict(counts) for name, counts in self.before.items()}
        for name, by_label in self.watched.items():
            if name in TALLIES:
                values = {label: value for label, read in by_label.items() if (value := read()) is not None}
                _add(found.setdefault(name, {}), values)
        for name, counts in self.counted.items():
            _add(found.setdefault(name, {}), counts)
        for name, counted in self._already.items():
            _add(found[name], {label: -value for label, value in counted.items()})
        return found

    def know_callers(self, callers: Iterable[str]) -> None:
        """Count these callers by their names from now on; what was counted stays."""
        self._callers = frozenset(callers)

    def series(self, caller: str, service: str, route: str = "") -> Series:
        """Find the series of a caller, service and route.

        Args:
            caller, service: a name that the config doesn't know counts as "unknown".
            route: as the config spells it, "" for none.
        """
        return self.known.get((caller, service, route)) or self._first_time(caller, service, route)

    def durations(self, metric: str, label: str = "") -> Durations:
        """Find a histogram.

        Args:
            metric: a name from `HISTOGRAMS`. label: what it is told apart by, of which there are few values.
        """
        by_label = self.histograms.setdefault(metric, {})
        if label not in by_label:
            by_label[label] = Durations(BOUNDS_S[metric])
        return by_label[label]

    def all_series(self) -> list[Series]:
        """Return every series that exists."""
        return [*self.known.values(), self._other]

    def watch(self, metric: str, read: Read, service: str = "") -> None:
        """Ask for a value that stands elsewhere at each scrape.

        Args:
            metric: a name from `GAUGES` or `TALLIES`.
            read: returns the value.
            service: whose value it is, for what each service has; another label's value as `SPLIT_BY` says.
        """
        if metric not in GAUGES and metric not in TALLIES:
            raise ValueError(f"there is no gauge or tally named {metric}")
        self.watched.setdefault(metric, {})[service] = read
        if metric in TALLIES and service in self.before.get(metric, {}):
            self._already.setdefault(metric, {})[service] = read() or 0

    def count(self, metric: str, counts: Mapping[str, int]) -> None:
        """Show what somebody else counts by a label of few values.

        Args:
            metric: a name from `TALLIES` that stands in `SPLIT_BY`. counts: by the label's value.
        """
        if metric not in TALLIES or metric not in SPLIT_BY:
            raise ValueError(f"there is no split tally named {metric}")
        self.counted[metric] = counts
        if metric in self.before:
            self._already[metric] = dict(counts)

    def show(self, metric: str, read: ReadAll) -> None:
        """Ask at each scrape which values there are.

        Args:
            metric: a name from `GAUGES` that stands in `LISTED_BY`. read: returns them.
        """
        if metric not in GAUGES or metric not in LISTED_BY:
            raise ValueError(f"there is no listed gauge named {metric}")
        self.listed[metric] = read

    def _first_time(self, caller: str, service: str, route: str) -> Series:
        key = (
            caller if caller in self._callers else UNKNOWN,
            service if service in self._services else UNKNOWN,
            route,
        )
        series = self.known.get(key)
        if series is None:
            if len(self.known) >= self._series_limit:
                return self._other
            series = self.known[key] = Series(*key, self.durations(OWN_SHARE, key[1]))
        return series


def _add(to: dict[str, float], values: Mapping[str, float]) -> None:
    for label, value in values.items():
        to[label] = to.get(label, 0) + value
