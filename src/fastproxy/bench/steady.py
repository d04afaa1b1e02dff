"""An open loop at a steady rate: `python -m fastproxy.bench.steady PORT RATE CONNECTIONS SECONDS`.

When each request is due is fixed in advance, and nothing that the proxies do moves it. A request that is due
while all connections wait for answers is sent as soon as one is free, and its latency counts from when it
was due. So the requests that a stall holds up count as well, and not only the one that it hit: the figures
are free of coordinated omission. That rules out hey (`-q` lets what couldn't be sent fall away) and h2load
(`--rps` counts from when it sent); wrk2 and vegeta, which would do, aren't packaged where this runs.

Prints one JSON object, the fields of `load.SteadyResult`. Sleeps in select(2), whose grain is microseconds:
epoll from Python, and so asyncio, has one of a millisecond, which is more than some chains take.
"""

from __future__ import annotations

import gc
import json
import select
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from math import ceil
from typing import Any

import httptools

from fastproxy.bench.configs import CALLER_PATH

BODY = b"param=hello"
LEAD_S = 0.05
"""From the end of the preparations to when the first request is due."""

ANSWER_LIMIT_S = 10.0
"""How long nothing may be answered, before all counts as hung."""

RECEIVE_BYTES = 65_536


class SteadyError(Exception):
    """A connection was lost, or answers stayed out: the rate can't be kept."""


def request_bytes(port: int) -> bytes:
    """Return the request of the record, as `post.lua` makes wrk send it."""
    head = (
        f"POST {CALLER_PATH} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Content-Length: {len(BODY)}",
        "Content-Type: application/x-www-form-urlencoded",
        "C_ServiceName: chat_service",
        "Accept: */*",
    )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + BODY


class Line:
    """One kept connection, with at most one request on its way.

    Attributes:
        due_s: when that request was due.
        status: of the answer, once it is here whole; 0 before.
    """

    __slots__ = ("_parser", "_socket", "due_s", "status")

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=ANSWER_LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._parser: Any = httptools.HttpResponseParser(self)
        self.due_s = 0.0
        self.status = 0

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select`."""
        return self._socket.fileno()

    def ask(self, request: bytes, due_s: float) -> None:
        """Send a request."""
        self.due_s = due_s
        self.status = 0
        self._socket.sendall(request)

    def receive(self) -> None:
        """Read what is here, or wait for it.

        Raises:
            SteadyError: the connection was closed, or what came is no answer.
        """
        data = self._socket.recv(RECEIVE_BYTES)
        if not data:
            raise SteadyError("a connection was closed")
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            raise SteadyError(f"no HTTP answer: {exc}") from exc

    def on_message_complete(self) -> None:
        """Note the end of an answer; called by the parser."""
        self.status = self._parser.get_status_code()

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


def run(port: int, *, rate_per_s: int, connections: int, seconds: int) -> tuple[list[float], int]:
    """Send all requests and take all answers.

    Returns:
        The latency of each request in seconds, from when it was due; and how many answers weren't 2xx.

    Raises:
        SteadyError: a connection was lost, or nothing was answered for `ANSWER_LIMIT_S`.
    """
    request = request_bytes(port)
    lines = [Line(port) for _ in range(connections)]
    try:
        for line in lines:
            # What a proxy does once per connection isn't part of what is measured.
            line.ask(request, 0.0)
            while not line.status:
                line.receive()
        return _keep_rate(lines, request, rate_per_s, rate_per_s * seconds)
    except OSError as exc:
        raise SteadyError(f"{type(exc).__name__}: {exc}") from exc
    finally:
        for line in lines:
            line.close()


def _keep_rate(lines: Sequence[Line], request: bytes, rate_per_s: int, total: int) -> tuple[list[float], int]:
    idle = deque(lines)
    busy: set[Line] = set()
    latencies_s: list[float] = []
    non_2xx = 0
    sent = 0
    start_s = time.perf_counter() + LEAD_S
    while len(latencies_s) < total:
        now_s = time.perf_counter()
        while idle and sent < total and (due_s := start_s + sent / rate_per_s) <= now_s:
            line = idle.popleft()
            line.ask(request, due_s)
            busy.add(line)
            sent += 1
        may_send = bool(idle) and sent < total
        wait_s = max(0.0, start_s + sent / rate_per_s - time.perf_counter()) if may_send else ANSWER_LIMIT_S
        readable, _, _ = select.select(busy, (), (), wait_s)
        if not readable and not may_send:
            raise SteadyError(f"nothing was answered for {ANSWER_LIMIT_S:.0f} s")
        for line in readable:
            line.receive()
            if line.status:
                latencies_s.append(time.perf_counter() - line.due_s)
                non_2xx += line.status // 100 != 2
                busy.remove(line)
                idle.append(line)
    return latencies_s, non_2xx


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return the smallest value that so many percent of the values don't exceed (nearest rank)."""
    return ascending[max(0, ceil(len(ascending) * percent / 100) - 1)]


def main(arguments: Sequence[str]) -> None:
    """Run with the arguments of the command line, and print what was found."""
    port, rate_per_s, connections, seconds = map(int, arguments)
    gc.disable()  # a collection would make requests late; a run leaves no cycles and ends soon
    try:
        latencies_s, non_2xx = run(port, rate_per_s=rate_per_s, connections=connections, seconds=seconds)
    except SteadyError as exc:
        sys.exit(str(exc))
    latencies_s.sort()
    found = {
        "requests": len(latencies_s),
        "p50_ms": 1000 * percentile(latencies_s, 50),
        "p99_ms": 1000 * percentile(latencies_s, 99),
        "max_ms": 1000 * latencies_s[-1],
        "non_2xx": non_2xx,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
