"""Spans on their way to a collector that takes them, refuses them, or never answers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence

import pytest

from fastproxy.telemetry.span_queue import ENDED, NOT_TAKEN, QUEUE_FULL, SpanCounts, SpanQueue
from fastproxy.telemetry.trace_context import TraceContext
from fastproxy.telemetry.tracing import Trace, Traced

LIMIT, BATCH = 10, 4
WAIT_S = 20.0


def traced(number: int) -> Traced:
    """An exchange with two spans."""
    trace = Trace(TraceContext(f"{number:032x}", f"{number:016x}", 1), "")
    phases = (("wait", 0.0, 1.0),)
    return Traced(
        trace, 0.0, 1.0, phases, f"x{number}", "web", "api", "", "GET", "/", 200, "", "", "", 1, "",
        0, 0,
    )  # fmt: skip


class Gate:
    """An exporter whose collector answers when it is told to. failure: what it answers."""

    def __init__(self) -> None:
        self.failure = ""
        self.open = threading.Event()
        self.batches: list[Sequence[Traced]] = []
        self.begun = threading.Semaphore(0)
        self.done = threading.Semaphore(0)

    def export(self, batch: Sequence[Traced]) -> str:
        self.batches.append(batch)
        self.begun.release()
        assert self.open.wait(WAIT_S)
        self.done.release()
        return self.failure

    def stop(self) -> None:
        self.open.set()

    def wait_until_begun(self, batches: int = 1) -> None:
        for _ in range(batches):
            assert self.begun.acquire(timeout=WAIT_S)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def queue_to(gate: Gate, *, interval_s: float = 0.01) -> SpanQueue:
    return SpanQueue(lambda: gate, LIMIT, BATCH, interval_s, SpanCounts())


def test_what_is_put_is_sent_in_order_and_counted(gate: Gate) -> None:
    gate.open.set()
    queue = queue_to(gate)
    for number in range(9):
        queue.put(traced(number))
    queue.end(WAIT_S)
    assert [each.exchange for batch in gate.batches for each in batch] == [
        f"x{number}" for number in range(9)
    ]
    assert max(map(len, gate.batches)) <= BATCH
    assert queue.counts.sent == 18
    assert not any(queue.counts.dropped.values())


def test_a_batch_that_is_full_does_not_wait(gate: Gate) -> None:
    queue = queue_to(gate, interval_s=3600.0)
    for number in range(BATCH):
        queue.put(traced(number))
    gate.wait_until_begun()


def test_a_collector_that_hangs_costs_memory_up_to_the_limit_and_the_rest_is_counted(gate: Gate) -> None:
    queue = queue_to(gate)
    queue.put(traced(0))
    gate.wait_until_begun()
    for number in range(100):
        queue.put(traced(number))
    assert len(queue) == LIMIT
    assert queue.counts.dropped[QUEUE_FULL] == 2 * 90
    queue.end(0)  # nobody waits for it at the end either
    assert queue.counts.dropped[ENDED] == 2 * 11
    assert gate.open.is_set()
    queue.put(traced(0))
    assert queue.counts.dropped[ENDED] == 2 * 12
    assert (len(queue), queue.counts.sent) == (0, 0)


def test_what_a_collector_does_not_take_is_counted_and_told_once(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastproxy.tracing")
    gate.failure = "503"
    gate.open.set()
    queue = queue_to(gate)
    for number in range(3):
        queue.put(traced(number))
        gate.wait_until_begun()
    gate.failure = ""
    queue.put(traced(3))
    queue.end(WAIT_S)
    assert queue.counts.dropped == {QUEUE_FULL: 0, NOT_TAKEN: 6, ENDED: 0}
    assert queue.counts.sent == 2
    assert [record.getMessage().partition(";")[0] for record in caplog.records] == [
        "spans can't be sent", "spans are sent again",
    ]  # fmt: skip


def test_a_mistake_in_sending_ends_nothing(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Gate):
        def export(self, batch: Sequence[Traced]) -> str:
            super().export(batch)
            raise RuntimeError("a mistake")

    broken = Broken()
    broken.open.set()
    queue = queue_to(broken)
    for number in range(2):
        queue.put(traced(number))
        broken.wait_until_begun()
    queue.end(WAIT_S)
    assert queue.counts.dropped[NOT_TAKEN] == 4


def test_who_traces_nothing_starts_no_thread(gate: Gate) -> None:
    before = threading.active_count()
    queue = queue_to(gate)
    assert threading.active_count() == before
    queue.end(WAIT_S)
