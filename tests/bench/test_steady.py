"""The steady load: nothing is sent before it is due, and a stall counts for all that it holds up."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import floor
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.bench.load import LoadError, run_steady
from fastproxy.bench.steady import SteadyError, percentile, request_bytes, run

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
        latencies_s, non_2xx = run(port, rate_per_s=200, connections=1, seconds=1)
    assert (len(latencies_s), non_2xx) == (200, 0)
    # 40 requests were due in the 200 ms; a load that waits with the rest would have found one that is slow.
    assert sum(latency_s > STALL_S / 4 for latency_s in latencies_s) >= 29


def test_nothing_is_sent_before_it_is_due() -> None:
    came_s: list[float] = []

    def note(connection: socket.socket, number: int) -> None:
        came_s.append(time.perf_counter())
        connection.sendall(ANSWER)

    with service(note) as port:
        latencies_s, _ = run(port, rate_per_s=100, connections=1, seconds=1)
    assert len(came_s) == 1 + 100
    assert min(latencies_s) > 0
    due_span_s = 99 / 100
    # The first may have come late, but by no more than it took to be answered.
    assert came_s[-1] - came_s[1] > due_span_s - latencies_s[0]


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
    with service(answer) as port, pytest.raises(SteadyError, match=cause):
        run(port, rate_per_s=100, connections=1, seconds=1)


def test_the_program_tells_why_it_failed() -> None:
    with service(close_at_the_third) as port, pytest.raises(LoadError, match="a connection was closed"):
        run_steady(port, rate_per_s=100, connections=1, seconds=1)


@given(
    values=st.lists(st.integers(0, 1000), min_size=1, max_size=300),
    percent=st.integers(1, 100),
)
def test_percentiles_are_nearest_ranks(values: list[int], percent: int) -> None:
    found = percentile(sorted(values), percent)
    below = sum(value < found for value in values)
    up_to = sum(value <= found for value in values)
    assert found in values
    assert below * 100 < percent * len(values) <= up_to * 100


def test_percentiles_of_a_hundred() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [floor(percentile(values, percent)) for percent in (50, 99, 100)] == [50, 99, 100]
