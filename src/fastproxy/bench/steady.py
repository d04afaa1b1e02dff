"""An open loop at a steady rate: `python -m fastproxy.bench.steady PORT RATE CONNECTIONS SECONDS`.

When each request is due is fixed in advance, and nothing that the proxies do moves it. A request that is due
while all connections wait for answers is sent as soon as one is free, and its latency counts from when it
was due. So the requests that a stall holds up count as well, and not only the one that it hit: the figures
are free of coordinated omission. That rules out hey (`-q` lets what couldn't be sent fall away) and h2load
(`--rps` counts from when it sent); wrk2 and vegeta, which would do, aren't packaged where this runs.

A rate that the chain can't carry ends all the same: what is still unsent `OVERTIME_S` after the last request
was due is counted and left. How late the generator itself was, and how busy, is told beside the figures, so
that its limits are never taken for those of a chain.

Prints one JSON object, the fields of `load.SteadyResult`. Sleeps in select(2), whose grain is microseconds:
epoll from Python, and so asyncio, has one of a millisecond, which is more than some chains take.
"""

from __future__ import annotations

import gc
import json
import select
import sys
import time
from collections import deque
from collections.abc import Sequence

from hdrh.histogram import HdrHistogram

from fastproxy.bench.line import ANSWER_LIMIT_S, Line, LineError, request_bytes

LEAD_S = 0.05
"""From the end of the preparations to when the first request is due."""

OVERTIME_S = 1.0
"""How long after the last request was due it may still be sent."""

LONGEST_US = 60_000_000
DIGITS = 3
"""What the histograms hold: up to a minute, to a part in a thousand."""


class Tally:
    """What a run has found so far, in bounded memory.

    latencies_us: from when each request was due to its answer. lags_us: from when each could be sent, being
    due and a connection free, to when it was.
    """

    __slots__ = ("end_s", "lags_us", "latencies_us", "non_2xx", "start_s", "unsent")

    def __init__(self) -> None:
        self.latencies_us = HdrHistogram(1, LONGEST_US, DIGITS)
        self.lags_us = HdrHistogram(1, LONGEST_US, DIGITS)
        self.non_2xx = 0
        self.unsent = 0
        self.start_s = self.end_s = 0.0


def run(port: int, *, rate_per_s: int, connections: int, seconds: int) -> Tally:
    """Send the requests that are due, and take all answers.

    Raises:
        LineError: a connection was lost, or nothing was answered for `ANSWER_LIMIT_S`.
    """
    request = request_bytes(port)
    lines: list[Line] = []
    try:
        for _ in range(connections):
            line = Line(port)
            lines.append(line)
            # What a proxy does once per connection isn't part of what is measured.
            line.ask(request, 0.0)
            line.wait()
        return _keep_rate(lines, request, rate_per_s, rate_per_s * seconds)
    except OSError as exc:
        raise LineError(f"{type(exc).__name__}: {exc}") from exc
    finally:
        for line in lines:
            line.close()


def _keep_rate(lines: Sequence[Line], request: bytes, rate_per_s: int, total: int) -> Tally:
    idle = deque(lines)
    busy: set[Line] = set()
    tally = Tally()
    sent = 0
    free_s = 0.0  # when the connection that is used next became free
    tally.start_s = tally.end_s = start_s = time.perf_counter() + LEAD_S
    give_up_s = start_s + total / rate_per_s + OVERTIME_S
    while sent < total or busy:
        now_s = time.perf_counter()
        if now_s > give_up_s and sent < total:
            tally.unsent = total - sent
            total = sent
            continue
        while idle and sent < total and (due_s := start_s + sent / rate_per_s) <= now_s:
            line = idle.popleft()
            tally.lags_us.record_value(_us(now_s - max(due_s, free_s)))
            line.ask(request, due_s)
            busy.add(line)
            sent += 1
        may_send = bool(idle) and sent < total
        wait_s = max(0.0, start_s + sent / rate_per_s - time.perf_counter()) if may_send else ANSWER_LIMIT_S
        readable, _, _ = select.select(busy, (), (), wait_s)
        if not readable and busy and not may_send:
            raise LineError(f"nothing was answered for {ANSWER_LIMIT_S:.0f} s")
        was_full = not idle
        for line in readable:
            line.receive()
            if line.status:
                tally.end_s = time.perf_counter()
                tally.latencies_us.record_value(_us(tally.end_s - line.due_s))
                tally.non_2xx += line.status // 100 != 2
                busy.remove(line)
                idle.append(line)
        if was_full and idle:
            free_s = tally.end_s
    return tally


def _us(span_s: float) -> int:
    """Return a time in whole microseconds, within what the histograms hold."""
    return min(max(1, round(1e6 * span_s)), LONGEST_US)


def figures(tally: Tally, rate_per_s: int, generator_busy: float) -> dict[str, float]:
    """Return the fields of `load.SteadyResult`."""
    latencies, answers = tally.latencies_us, tally.latencies_us.get_total_count()
    percentiles = {"p50_ms": 50, "p90_ms": 90, "p99_ms": 99, "p999_ms": 99.9, "max_ms": 100}
    return {
        "requests": answers,
        "asked_per_s": rate_per_s,
        "reached_per_s": answers / (tally.end_s - tally.start_s),
        "unsent": tally.unsent,
        **{name: latencies.get_value_at_percentile(part) / 1000 for name, part in percentiles.items()},
        "lag_p99_ms": tally.lags_us.get_value_at_percentile(99) / 1000,
        "generator_busy": generator_busy,
        "non_2xx": tally.non_2xx,
    }


def main(arguments: Sequence[str]) -> None:
    """Run with the arguments of the command line, and print what was found."""
    port, rate_per_s, connections, seconds = map(int, arguments)
    gc.disable()  # a collection would make requests late; a run leaves no cycles and ends soon
    began_s, used_s = time.perf_counter(), time.process_time()
    try:
        tally = run(port, rate_per_s=rate_per_s, connections=connections, seconds=seconds)
    except LineError as exc:
        sys.exit(str(exc))
    busy = (time.process_time() - used_s) / (time.perf_counter() - began_s)
    print(json.dumps(figures(tally, rate_per_s, busy)))


if __name__ == "__main__":
    main(sys.argv[1:])
