"""What is known of traced exchanges, on its way to a collector: a bounded queue and a thread that empties it.

Whoever puts something in never waits: what finds the queue full is dropped and counted. The thread begins
with the first exchange, so that a proxy that traces nothing carries nothing of it; it waits for the collector
instead of the event loop, however long that takes. It holds no lock while it does.
The SDK's own processor is not used for this: it logs each span that it drops on the thread that ends it,
which is the event loop's, and tells nobody how many there were.
Knows nothing of what an exporter does with them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from fastproxy.telemetry.tracing import Traced

_LOG = logging.getLogger("fastproxy.tracing")

SENT = "sent"
QUEUE_FULL, NOT_TAKEN, ENDED = "queue_full", "not_taken", "ended"
"""Why spans are dropped: more came than leave; the collector didn't take them; the proxy ended first."""


class Exporter(Protocol):
    """Sends spans; used by one thread, but for `stop`."""

    def export(self, batch: Sequence[Traced]) -> str:
        """Send what is known of some exchanges; return why that failed, "" when it didn't. May take its
        time."""
        ...

    def stop(self) -> None:
        """Wait for nothing any more. From any thread."""
        ...


class SpanCounts:
    """Spans by what became of them. sent: taken by the collector. dropped: by why."""

    __slots__ = ("dropped", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.dropped = {QUEUE_FULL: 0, NOT_TAKEN: 0, ENDED: 0}


class SpanQueue:
    """Takes what is known of traced exchanges, and has it sent.

    Args:
        make_exporter: called by the thread, since it may import a lot.
        limit: exchanges that wait at most; bounds memory.
        batch_limit: exchanges that are sent at a time.
        interval_s: how long the first of them waits for others.
        counts: where spans are counted; nobody else does while this is used.
    """

    def __init__(
        self,
        make_exporter: Callable[[], Exporter],
        limit: int,
        batch_limit: int,
        interval_s: float,
        counts: SpanCounts,
    ) -> None:
        self._make_exporter = make_exporter
        self._limit = limit
        self._batch_limit = batch_limit
        self._interval_s = interval_s
        self._waiting: deque[Traced] = deque()
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._exporter: Exporter | None = None
        self._sending: Sequence[Traced] = ()
        self._is_ending = False
        self._is_over = False
        self._is_failing = False
        self.counts = counts

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, traced: Traced) -> None:
        """Have an exchange sent, or drop it. From one thread only."""
        if self._is_ending or len(self._waiting) >= self._limit:
            self.counts.dropped[ENDED if self._is_ending else QUEUE_FULL] += traced.spans
            return
        self._waiting.append(traced)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="span export", daemon=True)
            self._thread.start()
        if len(self._waiting) >= self._batch_limit and not self._wake.is_set():
            self._wake.set()

    def end(self, timeout_s: float) -> None:
        """Send what waits, as far as that goes in time; whatever is left is dropped. Blocks."""
        until_s = time.monotonic() + timeout_s
        self._is_ending = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(max(0.0, until_s - time.monotonic()))
        self._is_over = True
        left = [*self._sending, *self._waiting]
        self._waiting.clear()
        self.counts.dropped[ENDED] += sum(traced.spans for traced in left)
        if self._exporter is not None:
            self._exporter.stop()

    def _run(self) -> None:
        """What the thread does."""
        exporter = self._exporter = self._make_exporter()
        while not self._is_over:
            if not self._is_ending:
                self._wake.wait(self._interval_s)
                self._wake.clear()
            while self._waiting and not self._is_over:
                self._send(exporter)
            if self._is_ending:
                return

    def _send(self, exporter: Exporter) -> None:
        batch: list[Traced] = []
        while self._waiting and len(batch) < self._batch_limit:
            batch.append(self._waiting.popleft())
        self._sending = batch
        try:
            failure = exporter.export(batch)
        except Exception as error:  # whatever it is, exchanges go on, and so do the next spans
            _LOG.exception("a mistake in sending spans")
            failure = type(error).__name__
        self._sending = ()
        spans = sum(traced.spans for traced in batch)
        if self._is_over:  # counted as dropped by then
            return
        if failure:
            self.counts.dropped[NOT_TAKEN] += spans
        else:
            self.counts.sent += spans
        self._tell(failure)

    def _tell(self, failure: str) -> None:
        """Log when sending begins to fail, and when it works again; nothing in between."""
        if failure and not self._is_failing:
            _LOG.warning(
                "spans can't be sent; they are dropped until it works again, exchanges go on",
                extra={
                    "reason": failure,
                    "advice": "look whether the collector of `tracing.endpoint` takes OTLP",
                },
            )
        elif self._is_failing and not failure:
            _LOG.warning("spans are sent again")
        self._is_failing = bool(failure)
