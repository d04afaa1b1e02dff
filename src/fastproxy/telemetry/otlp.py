"""Spans over OTLP/HTTP, by OpenTelemetry's SDK: made of what is known of exchanges that are over.

Imported by the thread that sends them, once there is one to be sent. What the SDK would read from the
environment is given to it, or left out, so that the config says it all.
Attributes follow OpenTelemetry's semantic conventions for HTTP servers; those of this program begin with
"fastproxy.".
Source: https://opentelemetry.io/docs/specs/semconv/http/http-spans/
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from fastproxy.telemetry.trace_context import TraceContext
from fastproxy.telemetry.tracing import Traced

_METHODS = frozenset(
    ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")
)
"""Methods that a span's name may have; any other is a peer's invention, of which there may be any number."""
_NANOSECONDS = 1_000_000_000
_NOT_TAKEN = "the collector did not take them, or did not answer in time"
Attributes = dict[str, str | int]


class Destination(NamedTuple):
    """Where spans go, and as whose.

    endpoint: a URL. headers: to be sent with them. authorities: file of the CA certificates that may vouch
    for the collector, "" for those of the system. timeout_s: for one batch, repeats included.
    role: "out" or "in". resource: attributes of all spans.
    """

    endpoint: str
    headers: Mapping[str, str]
    authorities: str
    timeout_s: float
    role: str
    resource: Mapping[str, str]


class OtlpExporter:
    """Sends spans to a collector; see `span_queue.Exporter`.

    Args:
        destination: where they go.
    """

    def __init__(self, destination: Destination) -> None:
        # What it has to say of each batch, `SpanQueue` says once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        for name in [name for name in os.environ if name.startswith("OTEL_")]:
            del os.environ[name]  # meant for another program, such as a token of another collector
        session = requests.Session()
        session.trust_env = False  # nor are its proxies and its netrc meant for this
        self._exporter = OTLPSpanExporter(
            session=session,
            endpoint=destination.endpoint,
            headers=dict(destination.headers),
            certificate_file=destination.authorities or None,
            timeout=destination.timeout_s,
            compression=Compression.Gzip,
        )
        self._ids = _GivenIds()
        self._finished = _Finished()
        provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource(dict(destination.resource)),
            shutdown_on_exit=False,
            id_generator=self._ids,
        )
        provider.add_span_processor(self._finished)
        self._tracer = provider.get_tracer("fastproxy")
        self._role = destination.role

    def export(self, batch: Sequence[Traced]) -> str:
        """Send what is known of some exchanges; return why that failed, "" when it didn't."""
        for traced in batch:
            self._make_spans(traced)
        spans, self._finished.spans = self._finished.spans, []
        return "" if self._exporter.export(spans) is SpanExportResult.SUCCESS else _NOT_TAKEN

    def stop(self) -> None:
        """Wait for nothing any more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _make_spans(self, traced: Traced) -> None:
        own, parent_id = traced.trace
        self._ids.next = int(own.trace_id, 16), int(own.span_id, 16)
        span = self._tracer.start_span(
            _name(traced),
            _context(own._replace(span_id=parent_id), is_remote=True) if parent_id else Context(),
            SpanKind.SERVER,
            dict(_attributes(traced, self._role)),
            start_time=_ns(traced.started_unix_s),
        )
        inside = _context(own, is_remote=False)
        for phase, started_unix_s, ended_unix_s in traced.phases:
            part = self._tracer.start_span(phase, inside, start_time=_ns(started_unix_s))
            if phase == traced.failed_phase:
                part.set_attribute("fastproxy.cause", traced.cause)
            part.end(_ns(ended_unix_s))
        if traced.status >= 500 or (traced.cause and traced.status < 400):
            span.set_status(Status(StatusCode.ERROR, traced.cause or None))
        span.end(_ns(traced.ended_unix_s))


class _GivenIds(IdGenerator):
    """Gives out ids that were told to peers already. next: trace and span id of the next span, 0 once
    used."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()
        self.next = 0, 0

    def generate_trace_id(self) -> int:
        return self.next[0]

    def is_trace_id_random(self) -> bool:
        return True  # one that begins here is

    def generate_span_id(self) -> int:
        span_id, self.next = self.next[1], (self.next[0], 0)
        return span_id or self._random.generate_span_id()


class _Finished(SpanProcessor):
    """Keeps spans that are over, until they are sent."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.append(span)


def _context(of: TraceContext, *, is_remote: bool) -> Context:
    state = TraceState.from_header([of.state.decode("latin-1")]) if of.state else None
    span = SpanContext(int(of.trace_id, 16), int(of.span_id, 16), is_remote, TraceFlags(of.flags), state)
    return set_span_in_context(NonRecordingSpan(span), Context())


def _name(traced: Traced) -> str:
    """Method and route, or service where no route is known; each from the config, or one of few."""
    method = traced.method if traced.method in _METHODS else "HTTP"
    return f"{method} {traced.route or traced.service}".rstrip()


def _attributes(traced: Traced, role: str) -> Iterator[tuple[str, str | int]]:
    """What is known of the exchange; nothing stands for what isn't."""
    is_usual = traced.method in _METHODS
    found: Attributes = {
        "http.request.method": traced.method if is_usual else "_OTHER",
        "http.request.method_original": "" if is_usual else traced.method,
        "http.response.status_code": traced.status,
        "http.route": traced.route,
        "url.path": traced.path,
        "url.scheme": "http",
        "client.address": traced.peer,
        "network.peer.address": traced.peer,
        "network.protocol.version": "1.1",
        "error.type": traced.cause or (str(traced.status) if traced.status >= 500 else ""),
        "fastproxy.role": role,
        "fastproxy.exchange_id": traced.exchange,
        "fastproxy.caller": traced.caller,
        "fastproxy.service": traced.service,
        "fastproxy.route": traced.route,
        "fastproxy.cause": traced.cause,
        "fastproxy.phase": traced.failed_phase,
        "fastproxy.endpoint": traced.endpoint,
        "fastproxy.attempts": traced.attempts,
    }
    yield from ((name, value) for name, value in found.items() if value)
    if role == "out":  # the in proxy knows the sizes of envelopes
        yield "http.request.body.size", traced.bytes_in
        yield "http.response.body.size", traced.bytes_out


def _ns(unix_s: float) -> int:
    return int(unix_s * _NANOSECONDS)
