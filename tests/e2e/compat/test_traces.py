"""Traces over the original's wire format: passed on unchanged, or continued where both proxies take part."""

from __future__ import annotations

from tests.e2e.client import fetch
from tests.e2e.collector import SERVER, Collector
from tests.e2e.compat.parties import ALL_ON, Party
from tests.e2e.conftest import Maker
from tests.e2e.proxies import endpoint_of
from tests.e2e.services import answering
from tests.e2e.test_tracing import FINE, SAMPLED, STATE, TRACE, tracing

CALLS = 5


def test_without_tracing_a_trace_passes_unchanged(party: Party, make: Maker) -> None:
    service = make.service(answering(FINE))
    out, _ = party.pair({"api": service.endpoint})
    fields = ["TraceParent: cc-" + SAMPLED[16:] + "-more", "tracestate: UP=1,,"]
    for _ in range(CALLS):  # the later ones take the out proxy's short way
        assert fetch(out.listen, "GET", "/api/a", headers=[f"X-Caller: {ALL_ON}", *fields]).status == 200
    for request in service.requests:
        values = {name.lower(): value for name, value in request.fields}
        assert [values["traceparent"], values["tracestate"]] == [field.split(": ")[1] for field in fields]


def test_with_tracing_the_trace_goes_on_over_both_proxies(party: Party, make: Maker) -> None:
    service = make.service(answering(FINE))
    with Collector() as collector:
        inner = party.in_proxy({"api": service.endpoint}, **tracing(collector))
        out = party.out_proxy(["api"], endpoint_of(inner.listen), **tracing(collector))
        for _ in range(CALLS):
            fetch(out.listen, "GET", "/api/a", headers=[f"X-Caller: {ALL_ON}", SAMPLED, STATE])
        spans = collector.wait_for(2 * CALLS, kind=SERVER, trace_id=TRACE)
        ids = {span.span_id: span.service for span in spans}
        assert (
            sorted(ids.get(span.parent_id, "caller") for span in spans)
            == ["caller"] * CALLS + ["out"] * CALLS
        )
        for request in service.requests:
            assert ids[request.get("traceparent")[36:52]] == "in"
            assert request.get("tracestate") == STATE.split(": ")[1]
