"""Connections that come and go leave nothing: descriptors, memory and tasks are back where they were."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from fastproxy.wire.link.handshake import MAGIC
from tests.e2e.client import Address, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Pair, ProxyProcess
from tests.e2e.services import answering, sized
from tests.e2e.workers import descriptors, resident_bytes, worker_pids

MIB = 1 << 20
PER_S = 10
"""Connections to each proxy in a second of real time, over which the long form takes four hours."""
HOURS_4 = 4 * 3600 * PER_S
GROWTH_BYTES = 4 * MIB
"""Of a worker's memory. Measured were up to 2.7 MiB, and as much after 9,000 connections as after 12,000."""
AT_A_TIME = 16
GAUGES = ("fastproxy_connections_open", "fastproxy_in_flight", "fastproxy_upstream_connections_open")


def say_nothing(client: Client) -> None:
    """Come and go."""


def break_off(client: Client) -> None:
    """Leave in the middle of a head."""
    client.send(request_bytes("GET", "/api/")[:-2])


def call(client: Client) -> None:
    """Make a call."""
    client.request("POST", "/api/", b"x")


def call_and_reset(client: Client) -> None:
    """Leave without waiting for the answer."""
    client.send(request_bytes("POST", "/api/", b"x"))
    client.reset()


def begin_a_link(client: Client) -> None:
    """Leave in the middle of a handshake, as a scanner would."""
    client.send(MAGIC)


def half_close(client: Client) -> None:
    """Say that nothing more comes, and leave."""
    client.socket.shutdown(socket.SHUT_WR)


WAYS: tuple[Callable[[Client], None], ...] = (
    say_nothing, break_off, call, call_and_reset, begin_a_link, half_close,
)  # fmt: skip


class Held(NamedTuple):
    """What the workers of a proxy hold. tasks: of all of them; the others: of each."""

    tasks: float
    descriptors: list[int]
    resident_bytes: list[int]


def held(proxy: ProxyProcess) -> Held:
    """Wait until nothing is under way; return what is held then."""
    for gauge in GAUGES:
        proxy.wait_for_gauge(gauge, 0)
    pids = worker_pids(proxy)
    tasks = proxy.metrics().total("fastproxy_tasks")
    return Held(tasks, [descriptors(pid) for pid in pids], [resident_bytes(pid) for pid in pids])


def come_and_go(address: Address, count: int) -> None:
    """Open so many connections, and leave each in another way."""

    def visit(number: int) -> None:
        with Client(address, timeout_s=60) as client:
            WAYS[number % len(WAYS)](client)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for _ in pool.map(visit, range(count)):
            pass


@pytest.fixture
def pair(make: Maker) -> Pair:
    """A pair with two workers each, so that connections are handed on as well; its access log is off."""
    service = make.service(answering(sized(b"served")))
    settings = {"workers": 2, "log": {"access": "off"}, "limits": {"endpoint_idle_timeout_s": 0.5}}
    return make.pair({"api": [service.endpoint]}, out=settings, inner=settings)


@pytest.mark.parametrize(
    "count", [3000, pytest.param(HOURS_4, marks=[pytest.mark.long, pytest.mark.timeout(1800)])]
)
def test_connections_that_come_and_go_leave_nothing(pair: Pair, count: int) -> None:
    proxies = (pair.out, pair.inner)
    for proxy in proxies:
        come_and_go(proxy.listen, 600)  # what is loaded and kept once isn't counted
    before = [held(proxy) for proxy in proxies]
    for proxy in proxies:
        come_and_go(proxy.listen, count)
    for proxy, then in zip(proxies, before, strict=True):
        now = held(proxy)
        print(f"{proxy.config['name']}: {count} connections: before {then}, after {now}")
        assert now.tasks == then.tasks
        assert now.descriptors == then.descriptors
        for after, at_first in zip(now.resident_bytes, then.resident_bytes, strict=True):
            assert after - at_first < GROWTH_BYTES
        assert proxy.metrics().total("fastproxy_connections_accepted_total") >= count
