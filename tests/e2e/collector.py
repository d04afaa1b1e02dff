"""A collector of spans: takes OTLP over HTTP as the OpenTelemetry project defines it, or refuses to.

A real HTTP server, and the messages are read by that project's own protobuf classes; but what it does with a
batch is the test's to say, which no real collector would let it.
"""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

_WAIT_S = 30.0
SERVER = SpanMessage.SPAN_KIND_SERVER


class Span(NamedTuple):
    """One span. service: of its resource. is_error: its status says so. duration_s: of it."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    state: str
    attributes: dict[str, Any]
    service: str
    is_error: bool
    reason: str
    started_ns: int
    ended_ns: int


Respond = Callable[[int], int]
"""Returns the status for the n-th batch, from 1, when it is time to; 200 takes it."""


class Collector:
    """Runs for as long as it is entered. endpoint: its URL. headers: of the last batch.

    Args:
        respond: answers batches; by default it takes all.
    """

    def __init__(self, respond: Respond = lambda batch: 200) -> None:
        self._changed = threading.Condition()
        self._spans: list[Span] = []
        self.batches = 0
        self.headers: dict[str, str] = {}
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["content-length"]))
                status = respond(collector.arrived(dict(self.headers.items())))
                if status == 200:
                    collector.take(gzip.decompress(content))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}/v1/traces"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def arrived(self, headers: dict[str, str]) -> int:
        """A batch is here; return which one it is."""
        with self._changed:
            self.batches += 1
            self.headers = headers
            self._changed.notify_all()
            return self.batches

    def take(self, content: bytes) -> None:
        """Keep the spans of a batch."""
        message = ExportTraceServiceRequest.FromString(content)
        with self._changed:
            for resource in message.resource_spans:
                service = _attributes(resource.resource.attributes)["service.name"]
                for scope in resource.scope_spans:
                    self._spans += [_span(span, service) for span in scope.spans]
            self._changed.notify_all()

    def wait_for(self, count: int, **wanted: Any) -> list[Span]:
        """Wait until there are so many spans with these fields; return them."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.find(**wanted)) >= count, _WAIT_S)
            found = self.find(**wanted)
        assert len(found) >= count, f"{len(found)} of {count} spans with {wanted}; there are {self._spans}"
        return found

    def wait_for_batches(self, count: int) -> None:
        """Wait until so many batches have come, taken or not."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.batches >= count, _WAIT_S)

    def find(self, **wanted: Any) -> list[Span]:
        """Return the spans with these fields so far."""
        return [span for span in self._spans if wanted.items() <= span._asdict().items()]


def _span(span: SpanMessage, service: str) -> Span:
    return Span(
        span.name,
        span.kind,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.trace_state,
        _attributes(span.attributes),
        service,
        span.status.code == 2,
        span.status.message,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


def closed_endpoint() -> str:
    """The URL of a collector that isn't there."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return f"http://127.0.0.1:{sock.getsockname()[1]}/v1/traces"
