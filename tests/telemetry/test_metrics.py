"""What is counted comes out at a scrape, and nothing that peers send makes it grow."""

import subprocess
import sys
from math import inf

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from fastproxy.errors import NO_PRIVILEGE, RATE_LIMITED, TABLE
from fastproxy.telemetry.exposition import CATALOGUE, render
from fastproxy.telemetry.metrics import DURATION_BOUNDS_S, GAUGES, OWN_SHARE, TALLIES, Metrics
from fastproxy.telemetry.state import state_of


def metrics_of(series_limit: int = 100) -> Metrics:
    return Metrics("in", "1.2.3", ["chat", "song"], ["search", "token"], series_limit)


def families_of(metrics: Metrics) -> list[Metric]:
    text = render(state_of(metrics, "worker 0")).decode()
    return list(text_string_to_metric_families(text))  # type: ignore[no-untyped-call]


def value(metrics: Metrics, sample_name: str, **labels: str) -> float | None:
    """Read one sample back with the client library's own parser; the role goes without saying."""
    labels["role"] = "in"
    found = [
        sample.value
        for family in families_of(metrics)
        for sample in family.samples
        if sample.name == sample_name and sample.labels == labels
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_exchanges_by_outcome() -> None:
    metrics = metrics_of()
    series = metrics.series("chat", "search")
    for status in (200, 204, 304, 404, 403, 502, 0, 999):
        series.finish(status, 0.001, 0.0, 10, 100)
    labels = {"caller": "chat", "service": "search", "route": ""}
    counts = {
        outcome: value(metrics, "fastproxy_requests_total", outcome=outcome, **labels)
        for outcome in ("2xx", "3xx", "4xx", "5xx", "aborted", "9xx", "1xx")
    }
    assert counts == {"2xx": 2, "3xx": 1, "4xx": 2, "5xx": 1, "aborted": 1, "9xx": 1, "1xx": None}
    assert value(metrics, "fastproxy_request_bytes_total", **labels) == 80
    assert value(metrics, "fastproxy_response_bytes_total", **labels) == 800


def test_durations_fall_into_buckets_up_to_their_bounds() -> None:
    metrics = metrics_of()
    series = metrics.series("chat", "search")
    for duration_s in (0.0, 0.0005, 0.00051, 30.0, 31.0):
        series.finish(200, duration_s, 0.0, 0, 0)
    labels = {"caller": "chat", "service": "search", "route": "", "outcome": "2xx", "cause": ""}
    name = "fastproxy_request_duration_seconds"
    counts = [
        value(metrics, f"{name}_bucket", le=str(bound), **labels) for bound in (0.0005, 0.001, 10.0, 30.0)
    ]
    assert counts == [2, 3, 3, 4]
    assert value(metrics, f"{name}_bucket", le="+Inf", **labels) == 5
    assert value(metrics, f"{name}_count", **labels) == 5
    assert value(metrics, f"{name}_sum", **labels) == pytest.approx(61.00101)
    assert list(DURATION_BOUNDS_S) == sorted(set(DURATION_BOUNDS_S))
    assert inf not in DURATION_BOUNDS_S


def test_durations_and_outcomes_of_what_went_wrong() -> None:
    metrics = metrics_of()
    series = metrics.series("chat", "search")
    series.finish(200, 0.1, 0.0, 0, 0)
    series.finish(429, 0.2, 0.0, 0, 0, RATE_LIMITED.label)
    series.finish(429, 0.3, 0.0, 0, 0)  # the service's own
    series.finish(0, 0.4, 0.0, 0, 0, "caller_gone")
    series.finish(502, 0.5, 0.0, 0, 0, "what a peer made up")
    name = "fastproxy_request_duration_seconds_sum"
    labels = {"caller": "chat", "service": "search", "route": ""}
    found = {
        (outcome, cause): value(metrics, name, outcome=outcome, cause=cause, **labels)
        for outcome, cause in (
            ("2xx", ""),
            ("4xx", ""),
            ("4xx", RATE_LIMITED.label),
            ("aborted", "caller_gone"),
            ("5xx", "unknown"),
        )
    }
    assert list(found.values()) == [0.1, 0.3, 0.2, 0.4, 0.5]
    assert value(metrics, "fastproxy_requests_total", outcome="4xx", **labels) == 2


def test_refusals_by_cause_enforced_and_reported() -> None:
    metrics = metrics_of()
    series = metrics.series("chat", "search")
    series.refuse(NO_PRIVILEGE.label)
    series.report(RATE_LIMITED.label)
    series.report(RATE_LIMITED.label)
    labels = {"caller": "chat", "service": "search", "route": ""}
    assert value(metrics, "fastproxy_refusals_total", cause="no_privilege", **labels) == 1
    assert value(metrics, "fastproxy_refusals_total", cause="rate_limited", **labels) is None
    assert value(metrics, "fastproxy_would_refuse_total", cause="rate_limited", **labels) == 2


def test_causes_that_a_peer_invents_share_one_label() -> None:
    series = metrics_of().series("chat", "search")
    for n in range(1000):
        series.refuse(f"invented{n}")
        series.report(f"invented{n}")
    assert series.refusals == series.would_refuse == {"unknown": 1000}


def test_every_cause_of_the_error_table_can_be_counted() -> None:
    series = metrics_of().series("chat", "search")
    for label in TABLE:
        series.refuse(label)
    assert series.refusals == dict.fromkeys(TABLE, 1)


def test_names_that_the_config_does_not_know_share_one_series() -> None:
    metrics = metrics_of()
    before = {id(metrics.series(f"caller{n}", f"service{n}")) for n in range(100_000)}
    assert len(before) == 1
    assert (metrics.series("x", "y").caller, metrics.series("x", "y").service) == ("unknown", "unknown")
    assert metrics.series("chat", "y").caller == "chat"
    assert len(metrics.all_series()) == 3


def test_routes_are_told_apart() -> None:
    metrics = metrics_of()
    metrics.series("chat", "search", "GET /a/*").finish(200, 0.1, 0.0, 1, 2)
    metrics.series("chat", "search", "/b").finish(200, 0.1, 0.0, 3, 4)
    labels = {"caller": "chat", "service": "search"}
    found = [
        value(metrics, "fastproxy_request_bytes_total", route=route, **labels) for route in ("GET /a/*", "/b")
    ]
    assert found == [1, 3]


def test_what_the_proxy_itself_takes_is_counted_by_service() -> None:
    metrics = metrics_of()
    for caller, service, own_s in (("chat", "search", 0.00001), ("song", "search", 2.0), ("chat", "x", 0.1)):
        metrics.series(caller, service, "/").finish(200, 3.0, own_s, 0, 0)
    name = OWN_SHARE
    counts = [
        value(metrics, f"{name}_bucket", service="search", le=bound) for bound in ("1e-05", "0.5", "+Inf")
    ]
    assert counts == [1, 1, 2]
    assert value(metrics, f"{name}_sum", service="search") == pytest.approx(2.00001)
    assert value(metrics, f"{name}_sum", service="unknown") == pytest.approx(0.1)


def test_series_beyond_the_limit_share_one() -> None:
    metrics = metrics_of(series_limit=2)
    pairs = [(caller, service) for caller in ("chat", "song") for service in ("search", "token")]
    assert [metrics.series(*pair).caller for pair in pairs] == ["chat", "chat", "other", "other"]
    metrics.series("song", "token").finish(200, 0.1, 0.0, 0, 0)
    assert (
        value(metrics, "fastproxy_requests_total", caller="other", service="other", route="", outcome="2xx")
        == 1
    )


def test_gauges_are_read_at_each_scrape() -> None:
    metrics = metrics_of()
    endpoints, age_s = [1], [None, 2.5]
    metrics.watch("fastproxy_endpoints", lambda: len(endpoints), service="search")
    metrics.watch("fastproxy_discovery_age_seconds", lambda: age_s[0], service="search")
    metrics.watch("fastproxy_sessions", lambda: 7)
    assert value(metrics, "fastproxy_discovery_age_seconds", service="search") is None
    endpoints.append(2)
    age_s.reverse()
    assert value(metrics, "fastproxy_endpoints", service="search") == 2
    assert value(metrics, "fastproxy_discovery_age_seconds", service="search") == 2.5
    assert value(metrics, "fastproxy_sessions") == 7


def test_a_gauge_must_be_in_the_catalogue() -> None:
    with pytest.raises(ValueError, match="no gauge or tally named fastproxy_endpionts"):
        metrics_of().watch("fastproxy_endpionts", lambda: 1)


def test_tallies_are_counters() -> None:
    metrics = metrics_of()
    metrics.watch("fastproxy_connections_accepted", lambda: 5)
    metrics.watch("fastproxy_upstream_connections_opened", lambda: 4, service="search")
    assert value(metrics, "fastproxy_connections_accepted_total") == 5
    assert value(metrics, "fastproxy_upstream_connections_opened_total", service="search") == 4


def test_what_the_layers_above_count_and_what_the_process_takes() -> None:
    metrics = metrics_of()
    metrics.series("chat", "search").retries += 1
    metrics.challenges += 2
    assert value(metrics, "fastproxy_retries_total", caller="chat", service="search", route="") == 1
    assert value(metrics, "fastproxy_challenges_total") == 2
    assert (value(metrics, "fastproxy_process_resident_bytes", process="worker 0") or 0) > 1e6
    assert value(metrics, "fastproxy_process_cpu_seconds_total") is not None
    assert value(metrics, "fastproxy_build_info", version="1.2.3") == 1


def test_the_catalogue_names_every_family_and_nothing_else() -> None:
    metrics = metrics_of()
    for name in (*GAUGES, *TALLIES):
        metrics.watch(name, lambda: 1.0, "connections" if name == "fastproxy_limit_allowed" else "")
    assert {family.name: family.documentation for family in families_of(metrics)} == CATALOGUE


def test_numbers_and_labels_are_written_as_the_format_has_them() -> None:
    metrics = Metrics("in", '1 "\\\n', [], [])
    levels: dict[tuple[str, ...], float] = {
        ("own", 'a"b\\c\nd'): inf,
        ("own", "past"): -inf,
        ("own", "small"): 2.5e-07,
        ("own", "one"): 1,
    }
    metrics.show("fastproxy_key_not_after_seconds", lambda: levels)
    (shown,) = [one for one in families_of(metrics) if one.name == "fastproxy_key_not_after_seconds"]
    assert {(one.labels["kind"], one.labels["name"]): one.value for one in shown.samples} == levels
    assert value(metrics, "fastproxy_build_info", version='1 "\\\n') == 1


def test_the_client_library_is_not_imported_before_the_first_scrape() -> None:
    program = (
        "import sys\n"
        "from fastproxy.telemetry.exposition import render\n"
        "from fastproxy.telemetry.metrics import Metrics\n"
        "from fastproxy.telemetry.state import state_of\n"
        "state = state_of(Metrics('in', '1'), '')\n"
        "assert not [name for name in sys.modules if name.startswith('prometheus')]\n"
        "assert render(state).endswith(b'# EOF\\n')\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
