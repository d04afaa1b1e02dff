"""Traces through real proxies into a collector: the tree of a caller's span and those of both proxies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.client import Client
from tests.e2e.collector import SERVER, Collector, Span
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Config, Pair
from tests.e2e.services import ScriptedService, answering, resetting, sized

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = f"traceparent: 00-{TRACE}-{PARENT}-01", f"traceparent: 00-{TRACE}-{PARENT}-00"
STATE = "tracestate: rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
FINE = sized(b"fine", "Date: Sun, 22 Nov 2026 20:18:41 GMT")
SHORT = {"wait", "answer"}
CALLS = 20


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


@pytest.fixture
def service(make: Maker) -> ScriptedService:
    return make.service(answering(FINE))


def tracing(collector: Collector | str, **changes: object) -> Config:
    endpoint = collector if isinstance(collector, str) else collector.endpoint
    return {"tracing": {"endpoint": endpoint, "interval_s": 0.05, "sample": 0.0, **changes}}


def traced_pair(
    make: Maker, service: ScriptedService, collector: Collector, transport: str = "link", **changes: object
) -> Pair:
    """A pair that exports to a collector. changes: of both configs."""
    return make.pair(
        {"web": [service.endpoint]},
        out={"defaults": {"transport": transport}, **tracing(collector), **changes},
        inner={**tracing(collector), **changes},
    )


def call(pair: Pair, *headers: str, target: str = "/web/a/b?secret=1") -> str:
    """Make a call that goes well; return its exchange id."""
    answer = pair.fetch("GET", target, headers=list(headers))
    assert answer.status == 200
    return answer.exchange


def hops(collector: Collector, exchanges: int = 1) -> tuple[Span, Span]:
    """The server spans of the out and the in proxy, of the first exchange."""
    spans = collector.wait_for(2 * exchanges, kind=SERVER)
    out = next(span for span in spans if span.service == "out")
    inner = next(span for span in spans if span.service == "in" and span.parent_id == out.span_id)
    return out, inner


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("transport", ["link", "http"])
def test_a_trace_leads_from_the_caller_over_both_proxies_to_the_service(
    make: Maker, service: ScriptedService, collector: Collector, transport: str, workers: int
) -> None:
    pair = traced_pair(make, service, collector, transport, workers=workers)
    exchange = call(pair, SAMPLED, STATE)
    out, inner = hops(collector)
    assert out.trace_id == inner.trace_id == TRACE
    assert out.parent_id == PARENT
    assert inner.parent_id == out.span_id
    request = service.last
    assert request.get("traceparent") == f"00-{TRACE}-{inner.span_id}-01"
    assert request.get("tracestate") == "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    assert len([name for name, _ in request.fields if name.lower().startswith("trace")]) == 2
    assert (out.state, inner.state) == (request.get("tracestate"),) * 2
    assert (out.name, inner.name) == ("GET web", "GET /**")
    for span, role in ((out, "out"), (inner, "in")):
        assert (
            span.attributes.items()
            >= {
                "fastproxy.role": role,
                "fastproxy.exchange_id": exchange,
                "fastproxy.caller": "web",
                "fastproxy.service": "web",
                "http.request.method": "GET",
                "http.response.status_code": 200,
                "fastproxy.attempts": 1,
            }.items()
        )
        assert "secret" not in str(span)
        assert not span.is_error
        phases = [each for each in collector.wait_for(1, parent_id=span.span_id) if each.kind != SERVER]
        assert {"wait", "answer"} <= {phase.name for phase in phases}
        assert all(span.started_ns <= phase.started_ns <= phase.ended_ns <= span.ended_ns for phase in phases)
    assert inner.attributes["fastproxy.endpoint"] == service.endpoint
    assert inner.attributes["http.route"] == "/**"


@pytest.mark.parametrize("transport", ["link", "http"])
def test_what_is_not_sampled_passes_as_it_came_on_the_short_way_with_its_trace_in_both_logs(
    make: Maker, service: ScriptedService, collector: Collector, transport: str
) -> None:
    pair = traced_pair(make, service, collector, transport, workers=1)
    odd = "tracestate: UPPER=is no key"  # what isn't changed passes with its mistakes
    with Client(pair.address) as client:
        for _ in range(CALLS):
            assert client.request("GET", "/web/a", headers=[UNSAMPLED, odd]).status == 200
    for request in service.requests:
        assert request.get("traceparent") == UNSAMPLED.split(": ")[1]
        assert request.get("tracestate") == odd.split(": ")[1]
    for proxy in (pair.out, pair.inner):
        lines = proxy.access.wait_for_lines(CALLS, trace_id=TRACE)
        assert sum(set(line["phases_ms"]) == SHORT for line in lines) > CALLS / 2
        assert proxy.metrics().total("fastproxy_trace_spans_sent_total") == 0
    call(pair, SAMPLED)  # sends what waited before it as well
    hops(collector)
    assert len(collector.find(kind=SERVER)) == 2


def test_sampled_calls_among_others_are_all_recorded(
    make: Maker, service: ScriptedService, collector: Collector
) -> None:
    pair = traced_pair(make, service, collector)
    with Client(pair.address) as client:
        for _ in range(CALLS):
            client.request("GET", "/web/a")
            client.request("GET", "/web/a", headers=[SAMPLED])
    spans = collector.wait_for(2 * CALLS, kind=SERVER)
    assert len(spans) == 2 * CALLS
    assert all(not request.get("traceparent") for request in service.requests[::2])


@pytest.mark.parametrize("transport", ["link", "http"])
def test_a_rule_begins_traces_where_the_request_has_none(
    make: Maker, service: ScriptedService, collector: Collector, transport: str
) -> None:
    rules = [{"services": ["other"], "sample": 0.0}, {"callers": ["w*"], "sample": 1.0}]
    pair = make.pair(
        {"web": [service.endpoint], "other": [service.endpoint]},
        out={"defaults": {"transport": transport}, **tracing(collector, rules=rules)},
        inner=tracing(collector),
    )
    with Client(pair.address) as client:
        for _ in range(CALLS):
            client.request("GET", "/other/a")
            client.request("GET", "/web/a")
    spans = collector.wait_for(2 * CALLS, kind=SERVER)
    assert len(spans) == 2 * CALLS
    assert {span.attributes["fastproxy.service"] for span in spans} == {"web"}
    roots = [span for span in spans if not span.parent_id]
    assert {span.service for span in roots} == {"out"}
    assert len({span.trace_id for span in roots}) == CALLS
    begun = [request.get("traceparent") for request in service.requests[1::2]]
    assert {value[3:35] for value in begun} == {span.trace_id for span in roots}
    assert {value[-2:] for value in begun} == {"03"}  # sampled, and random (Level 2)


def test_a_traceparent_that_breaks_the_rules_makes_way_for_a_new_trace(
    make: Maker, service: ScriptedService, collector: Collector
) -> None:
    pair = traced_pair(make, service, collector)
    call(pair, SAMPLED.upper().replace("TRACEPARENT", "TraceParent"), STATE)
    call(pair, SAMPLED, SAMPLED, STATE)
    for request in service.requests:
        assert request.get("traceparent")[3:35] not in (TRACE, TRACE.upper())
        assert request.get("traceparent")[-2:] == "02"  # not sampled, as no rule has it so
        assert not request.get("tracestate")


def test_a_refusal_names_its_trace_in_answer_log_and_span(
    make: Maker, service: ScriptedService, collector: Collector
) -> None:
    pair = traced_pair(make, service, collector)
    for target, proxy, cause in (
        ("/nobody/a", pair.out, "service_unknown"),
        ("/web//a", pair.inner, "ambiguous_path"),
    ):
        answer = pair.fetch("GET", target, headers=[SAMPLED])
        problem = answer.problem
        assert (problem["cause"], problem["trace_id"]) == (cause, TRACE)
        assert proxy.log.wait_for(cause=cause)["trace_id"] == TRACE
        assert proxy.access.wait_for(cause=cause, hop=proxy.config["name"])["trace_id"] == TRACE
        (span,) = [
            span
            for span in collector.wait_for(1, service=proxy.config["name"], kind=SERVER)
            if span.attributes.get("fastproxy.cause") == cause
        ]
        assert span.attributes["error.type"] == cause
        assert span.attributes["fastproxy.exchange_id"] == answer.exchange
        assert not span.is_error  # the caller's mistake, by the conventions for servers


def test_a_failure_is_an_error_of_its_span(make: Maker, collector: Collector) -> None:
    service = make.service(resetting)
    pair = traced_pair(make, service, collector)
    answer = pair.fetch("POST", "/web/a", b"x", headers=[SAMPLED])
    assert answer.status == 502
    out, inner = hops(collector)
    for span in (out, inner):
        assert span.is_error
        assert span.reason == span.attributes["fastproxy.cause"] == answer.cause
        assert span.attributes["http.response.status_code"] == 502


@pytest.mark.parametrize("transport", ["link", "http"])
def test_without_tracing_traces_pass_unchanged_on_both_ways_and_errors_name_them(
    make: Maker, service: ScriptedService, transport: str
) -> None:
    pair = make.pair(
        {"web": [service.endpoint]},
        out={"defaults": {"transport": transport}, "workers": 1},
        inner={"workers": 1},
    )
    fields = ["traceparent: cc-" + SAMPLED[16:] + "-what-comes", "TraceState: a=1", "tracestate: UP=2,,"]
    with Client(pair.address) as client:
        for _ in range(CALLS):
            assert client.request("GET", "/web/a", headers=fields).status == 200
    for request in service.requests:
        sent = [f"{name}: {value}" for name, value in request.fields if name.lower().startswith("trace")]
        assert sent == fields
    for proxy in (pair.out, pair.inner):
        lines = proxy.access.wait_for_lines(CALLS, status=200)
        assert CALLS > sum(set(line["phases_ms"]) == SHORT for line in lines) > CALLS / 2
    assert pair.fetch("GET", "/nobody/a", headers=[SAMPLED]).problem["trace_id"] == TRACE
    assert pair.fetch("GET", "/web//a", headers=[SAMPLED]).problem["trace_id"] == TRACE


def test_a_reload_turns_traces_on_and_off_and_sends_what_is_left(
    make: Maker, service: ScriptedService, collector: Collector
) -> None:
    pair = make.pair({"web": [service.endpoint]}, out={"workers": 1})
    call(pair, SAMPLED)
    pair.out.reload(tracing(collector, interval_s=3600.0))
    call(pair, SAMPLED)
    pair.out.reload({"tracing": None})
    assert len(collector.wait_for(1, kind=SERVER)) == 1
    call(pair, SAMPLED)
    assert service.last.get("traceparent") == SAMPLED.split(": ")[1]


def test_a_proxy_that_ends_sends_what_is_left(
    make: Maker, service: ScriptedService, collector: Collector
) -> None:
    pair = make.pair({"web": [service.endpoint]}, out=tracing(collector, interval_s=3600.0))
    call(pair, SAMPLED)
    pair.out.stop()
    collector.wait_for(1, kind=SERVER)


def test_a_collector_gets_the_headers_that_it_asks_for(
    make: Maker, service: ScriptedService, collector: Collector
) -> None:
    token = {"literal": "Bearer a-token", "insecure_literal": True}
    pair = make.pair({"web": [service.endpoint]}, out=tracing(collector, headers={"authorization": token}))
    call(pair, SAMPLED)
    collector.wait_for(1, kind=SERVER)
    assert {name.lower(): value for name, value in collector.headers.items()}[
        "authorization"
    ] == "Bearer a-token"
