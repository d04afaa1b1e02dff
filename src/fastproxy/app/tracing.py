"""Traces of one process, as its config has them: who decides, the queue, and what sends the spans.

The SDK is imported by the thread that sends, when there is something to send; a proxy that traces nothing
carries nothing of it.
"""

from __future__ import annotations

import asyncio
import os
import random

from fastproxy.config.schema_tracing import InTracing, OutTracing
from fastproxy.config.snapshot import InSnapshot, Snapshot
from fastproxy.config.snapshot import Tracing as Configured
from fastproxy.telemetry.metrics import Metrics
from fastproxy.telemetry.span_queue import Exporter, SpanCounts, SpanQueue
from fastproxy.telemetry.tracing import Rule, Tracer


class Tracing:
    """Traces exchanges, for one config after the other as long as it is about traces the same.

    tracer: says what is traced.

    Args:
        settings, configured: what the config says. role: "out" or "in". counts: where spans are counted.
    """

    def __init__(
        self, settings: OutTracing | InTracing, configured: Configured, role: str, counts: SpanCounts
    ) -> None:
        self._about = settings, configured
        self._role = role
        self._users = 1
        self._queue = SpanQueue(
            self._make_exporter,
            settings.queue_exchanges,
            settings.batch_exchanges,
            settings.interval_s,
            counts,
        )
        rules = [Rule(tuple(rule.callers), tuple(rule.services), rule.sample) for rule in settings.rules]
        rules.append(Rule(("*",), ("*",), settings.sample))
        self.tracer = Tracer(rules, self._queue.put, random.random, os.urandom)

    @property
    def counts(self) -> SpanCounts:
        """What became of spans."""
        return self._queue.counts

    def is_about(self, settings: OutTracing | InTracing, configured: Configured) -> bool:
        """Whether a config has traces the same."""
        return self._about == (settings, configured)

    def join(self) -> Tracing:
        """Go on with one more config."""
        self._users += 1
        return self

    async def leave(self) -> None:
        """Go on with one config less; with none, send what is left, as far as that goes in time, and end."""
        self._users -= 1
        if not self._users:
            await asyncio.to_thread(self._queue.end, self._about[0].flush_s)

    def watch(self, metrics: Metrics) -> None:
        """Show what becomes of spans."""
        queue = self._queue
        metrics.watch("fastproxy_trace_queue", lambda: len(queue))
        metrics.watch("fastproxy_trace_spans_sent", lambda: queue.counts.sent)
        metrics.count("fastproxy_trace_spans_dropped", queue.counts.dropped)

    def _make_exporter(self) -> Exporter:
        from fastproxy.telemetry.otlp import Destination, OtlpExporter  # noqa: PLC0415 - an extra, 12 MiB

        settings, configured = self._about
        headers = {name: secret.reveal().decode() for name, secret in configured.headers.items()}
        return OtlpExporter(
            Destination(
                settings.endpoint,
                headers,
                configured.authorities,
                settings.timeout_s,
                self._role,
                configured.resource,
            )
        )


def tracing_of(snapshot: Snapshot, metrics: Metrics, former: Tracing | None) -> Tracing | None:
    """Make what traces exchanges with a config; None where it says nothing of traces.

    Args:
        metrics: shows what becomes of spans.
        former: what did so with the config before; goes on where it is the same.
    """
    settings, configured = snapshot.config.tracing, snapshot.tracing
    if settings is None or configured is None:
        return None
    if former is not None and former.is_about(settings, configured):
        tracing = former.join()
    else:
        role = "in" if isinstance(snapshot, InSnapshot) else "out"
        tracing = Tracing(settings, configured, role, SpanCounts() if former is None else former.counts)
    tracing.watch(metrics)
    return tracing
