"""One request through either proxy, by transport: one at a time, and 25 at a time as under load.

What counts for a hop is what it does with the request and with its answer; sockets are played, and cost
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count

from tests.micro.played_pair import TRANSPORTS, PlayedPair
from tests.micro.work import Benchmark, Work
from tests.net.chain import REQUEST

PARALLEL = 25
"""As many arrive in one read of a link under the peak load."""


def traced_requests() -> Iterator[bytes]:
    """Requests with heads that were never seen before: each has a trace id of its own."""
    for number in count(1):
        yield REQUEST.replace(b"Accept: */*", b"traceparent: 00-%032x-00f067aa0ba902b7-01" % number)


def hop(pair: PlayedPair, role: str) -> Work:
    """The part of one proxy, "out" or "in", in a call of each caller."""
    is_out = role == "out"
    steps = (
        (pair.read, False),
        (pair.ask, is_out),
        (pair.reach_service, not is_out),
        (pair.answer, not is_out),
        (pair.reach_callers, is_out),
    )
    return Work(steps, len(pair.callers), pair.close)


def _known(transport: str, role: str, calls: int) -> Work:
    return hop(PlayedPair(transport, calls), role)


def _logged(transport: str, role: str, calls: int) -> Work:
    return hop(PlayedPair(transport, calls, is_logged=True), role)


def _unknown(transport: str, role: str) -> Work:
    return hop(PlayedPair(transport, request=traced_requests().__next__), role)


def benchmarks() -> Iterator[Benchmark]:
    """All of them."""
    for transport in TRANSPORTS:
        for role in ("out", "in"):
            name = f"request/{transport}/{role}"
            yield Benchmark(f"{name}/single", partial(_known, transport, role, 1))
            yield Benchmark(f"{name}/parallel", partial(_known, transport, role, PARALLEL))
            yield Benchmark(f"{name}/parallel, logged", partial(_logged, transport, role, PARALLEL))
            yield Benchmark(f"{name}/new head", partial(_unknown, transport, role))
