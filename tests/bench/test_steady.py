"""The steady load: nothing is sent before it is due, and a stall counts for all that it holds up."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.bench import steady
from fastproxy.bench.line import LineError, request_bytes
from fastproxy.bench.load import LoadError, run_steady
from fastproxy.bench.steady import LONGEST_US, Tally, figures, run

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
REFUSAL = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"

Answering = Callable[[socket.socket, int], None]
"""Answers the request with this number, from 0, on this connection."""


@contextmanager
def service(answer: Answering) -> Iterator[int]:
    """Serve one connection; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        arguments = (listener, len(request_bytes(port)), answer)
        thread = Thread(target=_serve, args=arguments, daemon=True)  # must not outlive a test that fails
        thread.start()
        yield port
        thread.join()


def _serve(listener: socket.socket, request_length: int, answer: Answering) -> None:
    connection, _ = listener.accept()
    with connection, connection.makefile("rb") as stream:
        number = 0
        while len(stream.read(request_length)) == request_length:
            answer(connection, number)
            number += 1


STALL_S = 0.2


def stall_once(connection: socket.socket, number: int) -> None:
    """Answers at once but for the first request that counts: number 0 prepares the connection."""
    if number == 1:
        time.sleep(STALL_S)
    connection.sendall(ANSWER)


def test_a_stall_counts_for_all_that_were_due_meanwhile() -> None:
    with service(stall_once) as port:
        tally = run(port, rate_per_s=200, connections=1, seconds=1)
    latencies = tally.latencies_us
    assert (latencies.get_total_count() + tally.unsent, tally.non_2xx) == (200, 0)
    # 40 requests were due in the 200 ms; a load that waits with the rest would have found one that is slow,
    # and the 85th of a hundred quick.
    assert latencies.get_value_at_percentile(85.5) > STALL_S / 4 * 1e6


def test_nothing_is_sent_before_it_is_due() -> None:
    came_s: list[float] = []

    def note(connection: socket.socket, number: int) -> None:
        came_s.append(time.perf_counter())
        connection.sendall(ANSWER)

    with service(note) as port:
        tally = run(port, rate_per_s=50, connections=1, seconds=1)
    assert len(came_s) == 1 + 50 - tally.unsent
    for number, at_s in enumerate(came_s[1:]):
        assert at_s >= tally.start_s + number / 50


def test_what_cannot_be_sent_in_time_is_counted_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "OVERTIME_S", 0.05)

    def dawdle(connection: socket.socket, number: int) -> None:
        time.sleep(0.02)  # 50 answers in a second at most
        connection.sendall(ANSWER)

    with service(dawdle) as port:
        tally = run(port, rate_per_s=1000, connections=1, seconds=1)
    found = figures(tally, 1000, 0.1)
    assert tally.unsent > 900
    assert found["requests"] + tally.unsent == 1000
    assert found["reached_per_s"] < 60
    # The generator itself wasn't late: no connection was free.
    assert found["lag_p99_ms"] < found["p50_ms"]


def refuse_the_third(connection: socket.socket, number: int) -> None:
    connection.sendall(REFUSAL if number == 3 else ANSWER)


def test_refusals_are_counted() -> None:
    with service(refuse_the_third) as port:
        found = run_steady(port, rate_per_s=10, connections=1, seconds=1)
    assert (found.requests, found.non_2xx) == (10, 1)
    assert found.fault() == "1 answers other than 2xx in 10 requests"
    assert 0 < found.p50_ms <= found.p99_ms <= found.max_ms


def close_at_the_third(connection: socket.socket, number: int) -> None:
    if number == 3:
        connection.shutdown(socket.SHUT_RDWR)
    else:
        connection.sendall(ANSWER)


def talk_nonsense(connection: socket.socket, number: int) -> None:
    connection.sendall(b"nonsense\r\n\r\n")


@pytest.mark.parametrize(("answer", "cause"), [(close_at_the_third, "closed"), (talk_nonsense, "no HTTP")])
def test_what_breaks_the_rate_ends_the_run(answer: Answering, cause: str) -> None:
    with service(answer) as port, pytest.raises(LineError, match=cause):
        run(port, rate_per_s=100, connections=1, seconds=1)


def test_the_program_tells_why_it_failed() -> None:
    with service(close_at_the_third) as port, pytest.raises(LoadError, match="a connection was closed"):
        run_steady(port, rate_per_s=100, connections=1, seconds=1)


@given(st.lists(st.integers(1, LONGEST_US), min_size=1, max_size=300))
def test_percentiles_are_those_of_what_was_recorded(values_us: list[int]) -> None:
    tally = Tally()
    tally.end_s = 2.0
    for value in values_us:
        tally.latencies_us.record_value(value)
    tally.lags_us.record_value(1)
    found = figures(tally, 10, 0.5)
    assert found["requests"] == len(values_us)
    assert found["reached_per_s"] == len(values_us) / 2
    assert found["max_ms"] == pytest.approx(max(values_us) / 1000, rel=0.002)
    middle_us = sorted(values_us)[(len(values_us) - 1) // 2]
    assert found["p50_ms"] == pytest.approx(middle_us / 1000, rel=0.002)
    assert found["p50_ms"] <= found["p90_ms"] <= found["p99_ms"] <= found["p999_ms"] <= found["max_ms"]
