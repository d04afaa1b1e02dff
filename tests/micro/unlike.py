"""Requests whose heads are all different, as those of real callers are: a trace id and a request id in each.

By number of fields, and beside them the same request again and again, which is what to compare them with.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from tests.micro.played_pair import PlayedPair
from tests.micro.requests import PARALLEL, hop
from tests.micro.work import Benchmark, Work

FIELD_COUNTS = (6, 12, 25, 50, 97)
"""The out proxy adds three fields to a request, and the in proxy takes 100."""
_DECIDING = b"Content-Length: 11\r\nContent-Type: application/json\r\n"
_USUAL = (
    b"User-Agent: python-requests/2.32.3\r\n",
    b"Accept-Encoding: gzip, deflate, br\r\n",
    b"Accept: application/json\r\n",
    b"Accept-Language: en-US,en;q=0.5\r\n",
    b"Origin: http://shop.internal\r\n",
    b"X-Tenant: 42\r\n",
    *[b"X-Further-%d: value number %d\r\n" % (number, number) for number in range(100)],
)


def unlike_requests(field_count: int) -> Iterator[bytes]:
    """Requests with so many header fields, of which two are different in each."""
    usual = b"".join(_USUAL[: field_count - 5])
    for number in count():
        yield (
            b"POST /search_service/api/service HTTP/1.1\r\nHost: 127.0.0.1:8034\r\n"
            b"traceparent: 00-%032x-%016x-01\r\nx-request-id: 6c1e2c3e-53a1-4b8e-9f5e-%012x\r\n"
            b"%b%b\r\nparam=hello"
        ) % (number, number, number, usual, _DECIDING)


def unlike(field_count: int) -> Callable[[], bytes]:
    """What a caller sends: something new each time."""
    return unlike_requests(field_count).__next__


def alike(field_count: int) -> Callable[[], bytes]:
    """What a caller sends: the same each time."""
    message = next(unlike_requests(field_count))
    return lambda: message


def one_hop(transport: str, role: str, request: Callable[[], bytes]) -> Work:
    """The part of one proxy, "out" or "in", in calls of many callers at a time."""
    return hop(PlayedPair(transport, PARALLEL, request), role)


def benchmarks() -> Iterator[Benchmark]:
    """All of them."""
    for transport in ("link", "http"):
        for role in ("out", "in"):
            for field_count in FIELD_COUNTS:
                for name, request in (("alike", alike), ("unlike", unlike)):
                    yield Benchmark(
                        f"{name}/{transport}/{role}/{field_count} fields",
                        partial(_prepare, transport, role, request, field_count),
                    )


def _prepare(transport: str, role: str, request: Callable[[int], Callable[[], bytes]], fields: int) -> Work:
    return one_hop(transport, role, request(fields))
