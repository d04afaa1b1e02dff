"""A collector that hangs, is slow, refuses or isn't there: no request waits for it, and what is lost is
counted."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from fastproxy.telemetry.otlp import Destination, OtlpExporter
from fastproxy.telemetry.trace_context import TraceContext
from fastproxy.telemetry.tracing import Trace, Traced
from tests.e2e.client import Client
from tests.e2e.collector import SERVER, Collector, closed_endpoint
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Pair, ProxyProcess
from tests.e2e.services import ScriptedService, answering
from tests.e2e.test_tracing import FINE, SAMPLED, tracing

QUEUE, BATCH = 8, 2
CALLS = 200
DROPPED = "fastproxy_trace_spans_dropped_total"
WAIT_S = 60.0


class Hanging:
    """Answers no batch until it is let go; then with `status`."""

    def __init__(self, status: int = 200) -> None:
        self.let_go = threading.Event()
        self._status = status

    def __call__(self, batch: int) -> int:
        self.let_go.wait(WAIT_S)
        return self._status


@pytest.fixture
def service(make: Maker) -> ScriptedService:
    return make.service(answering(FINE))


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    hanging = Hanging()
    yield hanging
    hanging.let_go.set()


def pair_to(make: Maker, service: ScriptedService, endpoint: str, **changes: object) -> Pair:
    settings = tracing(
        endpoint, **{"queue_exchanges": QUEUE, "batch_exchanges": BATCH, "flush_s": 0.2, **changes}
    )
    return make.pair(
        {"web": [service.endpoint]}, out={**settings, "workers": 1}, inner={**settings, "workers": 1}
    )


def make_calls(pair: Pair, count: int = CALLS) -> None:
    with Client(pair.address) as client:
        for _ in range(count):
            assert client.request("GET", "/web/a", headers=[SAMPLED]).status == 200


def wait_for_drops(proxy: ProxyProcess, cause: str) -> float:
    """Wait until spans are counted as dropped for this; the test's time limit bounds it."""
    while not (count := proxy.metrics().total(DROPPED, cause=cause)):
        pass
    return count


def test_while_a_collector_hangs_calls_are_answered_and_memory_is_bounded(
    make: Maker, service: ScriptedService, hanging: Hanging
) -> None:
    with Collector(hanging) as collector:
        pair = pair_to(make, service, collector.endpoint, timeout_s=WAIT_S)
        make_calls(pair, BATCH)
        collector.wait_for_batches(2)  # of each proxy one: both wait for an answer that doesn't come
        make_calls(pair)
        assert collector.batches == 2  # nothing has moved there while all those were answered
        for proxy in (pair.out, pair.inner):
            metrics = proxy.metrics()
            assert metrics.total("fastproxy_trace_queue") == QUEUE
            assert metrics.total("fastproxy_trace_spans_sent_total") == 0
            # each has a span of its own and two at least for its phases
            assert metrics.total(DROPPED, cause="queue_full") >= 3 * (CALLS - QUEUE)
        hanging.let_go.set()
        spans = collector.wait_for(2 * (QUEUE + BATCH), kind=SERVER)
        assert len(spans) == 2 * (QUEUE + BATCH)
        make_calls(pair, 1)
        collector.wait_for(2 * (QUEUE + BATCH + 1), kind=SERVER)


def test_while_a_collector_hangs_a_proxy_ends_in_its_time(
    make: Maker, service: ScriptedService, hanging: Hanging
) -> None:
    with Collector(hanging) as collector:
        pair = pair_to(make, service, collector.endpoint, timeout_s=WAIT_S)
        make_calls(pair, BATCH)
        collector.wait_for_batches(2)
        pair.out.stop()  # with the exit code 0
        pair.inner.stop()
        assert not hanging.let_go.is_set()


def test_while_a_collector_hangs_a_reload_moves_on_to_another(
    make: Maker, service: ScriptedService, hanging: Hanging
) -> None:
    with Collector(hanging) as collector, Collector() as other:
        pair = pair_to(make, service, collector.endpoint, timeout_s=WAIT_S)
        make_calls(pair, BATCH)
        collector.wait_for_batches(2)
        pair.out.reload({"tracing": {"endpoint": other.endpoint}})
        make_calls(pair, 1)
        assert other.wait_for(1, kind=SERVER)[0].service == "out"
        assert wait_for_drops(pair.out, "ended") >= 3 * BATCH


@pytest.mark.parametrize(
    "endpoint_of",
    [
        pytest.param(lambda stack: closed_endpoint(), id="refuses connections"),
        pytest.param(lambda stack: stack(Collector(lambda batch: 503)), id="answers 503"),
        pytest.param(lambda stack: stack(Collector(lambda batch: 400)), id="answers 400"),
        pytest.param(lambda stack: stack(Collector(Hanging())), id="does not answer in time"),
    ],
)
def test_what_a_collector_does_not_take_is_dropped_counted_and_told_once(
    make: Maker, service: ScriptedService, endpoint_of: Callable[[Callable[[Collector], str]], str]
) -> None:
    collectors: list[Collector] = []

    def start(collector: Collector) -> str:
        collectors.append(collector.__enter__())
        return collector.endpoint

    try:
        pair = pair_to(make, service, endpoint_of(start), timeout_s=0.1)
        make_calls(pair)
        for proxy in (pair.out, pair.inner):
            assert wait_for_drops(proxy, "not_taken") >= 3
            line = proxy.log.wait_for(logger="fastproxy.tracing")
            assert (line["level"], line["advice"]) == (
                "warning", "look whether the collector of `tracing.endpoint` takes OTLP",
            )  # fmt: skip
            make_calls(pair, BATCH)
            assert len(proxy.log.find(logger="fastproxy.tracing")) == 1
            assert not [line for line in proxy.log.lines if "opentelemetry" in str(line)]
    finally:
        for collector in collectors:
            collector.__exit__(None, None, None)


def test_what_the_environment_says_of_other_exporters_is_not_for_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-other=token-of-another-collector")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x-traces=token-of-another-collector")
    monkeypatch.setenv("HTTP_PROXY", closed_endpoint())
    trace = Trace(TraceContext("0" * 31 + "1", "0" * 15 + "1", 1), "")
    traced = Traced(
        trace, 1.0, 2.0, (), "x1", "web", "api", "", "GET", "/", 200, "", "", "", 1, "127.0.0.1", 0, 0
    )
    with Collector() as collector:
        to = Destination(collector.endpoint, {"x-own": "own"}, "", WAIT_S, "out", {"service.name": "out"})
        assert OtlpExporter(to).export([traced]) == ""
        sent = {name.lower() for name in collector.headers}
    assert "x-own" in sent
    assert not sent & {"x-other", "x-traces"}
