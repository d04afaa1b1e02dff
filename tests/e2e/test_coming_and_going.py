"""Connections that come and go leave nothing: descriptors, memory and tasks are back where they were.

Both proxies get callers of plain HTTP in every mood; the in proxy also links and envelopes, of callers and of
strangers, on connections of their own. Memory is what a worker has for itself (`RssAnon`) and shares with
the other workers (`RssShmem`). Pages of files (`RssFile`) are told apart: those of libraries, as far as they
were used, which the kernel can have back at any time.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import NamedTuple

import pytest

from fastproxy.wire.link.handshake import MAGIC
from fastproxy.wire.responses import ResponseOpener
from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.crafted import Sender, open_sealed
from tests.e2e.link_security.hand_made import HandMadeLink, initiator, message_1
from tests.e2e.proxies import Config, ProxyProcess, key_of, memory_bytes
from tests.e2e.relay import CONTENT_TYPE, TARGET
from tests.e2e.services import answering, sized
from tests.e2e.workers import descriptors, worker_pids

MIB = 1 << 20
PER_S = 10
"""Connections to each proxy in a second of real time, over which the long form takes four hours."""
HOURS_4 = 4 * 3600 * PER_S
GROWTH_BYTES = MIB
"""Of a worker's memory. Measured were up to 0.05 MiB after 3,000 connections, 0.2 after 144,000; it was 4 as
long as connections that were given up waited for the garbage collector."""
BACK_S = 30
"""The time that memory has to come back."""
AT_A_TIME = 16
WARM_UP = 600
GAUGES = (
    "fastproxy_connections_open", "fastproxy_in_flight", "fastproxy_upstream_connections_open",
    "fastproxy_link_streams_open",
)  # fmt: skip

Way = Callable[[Client], None]
"""What is done with a connection; whoever opened it closes it."""


# --- callers of plain HTTP, and whoever takes a proxy for one ----------------------------------------------


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


PLAIN: tuple[Way, ...] = (say_nothing, break_off, call, call_and_reset, begin_a_link, half_close)


# --- links -------------------------------------------------------------------------------------------------


def break_off_a_handshake(client: Client) -> None:
    """Leave in the middle of a good first message."""
    client.send(message_1()[:100])


def leave_a_handshake_half_open(client: Client) -> None:
    """Take the answer to a first message, and never prove that it wasn't a recording."""
    client.send(message_1())
    assert client.socket.recv(1)


def leave_a_handshake_unanswered(client: Client) -> None:
    """Don't wait for the answer to a first message."""
    client.send(message_1())
    client.reset()


def knock_as_a_stranger(client: Client) -> None:
    """Begin with a key that nobody knows."""
    client.send(message_1(key=key_of("stranger")))
    assert client.is_closed()


def make_a_link(client: Client) -> None:
    """Make a link, and close it."""
    with HandMadeLink(client.socket, initiator()) as link:
        assert link.is_open()


def call_over_a_link(client: Client) -> None:
    """Make a call over a link of its own."""
    with HandMadeLink(client.socket, initiator()) as link:
        link.call()


def leave_a_call_over_a_link(client: Client) -> None:
    """Cut a link in the middle of a call."""
    link = HandMadeLink(client.socket, initiator())
    link.request()
    client.reset()


LINKS: tuple[Way, ...] = (
    break_off_a_handshake, leave_a_handshake_half_open, leave_a_handshake_unanswered, knock_as_a_stranger,
    make_a_link, call_over_a_link, leave_a_call_over_a_link,
)  # fmt: skip


# --- envelopes ---------------------------------------------------------------------------------------------


class Envelopes:
    """Envelopes of as many sessions as there are connections at a time.

    Args:
        proxy: the in proxy that they are for.
    """

    def __init__(self, proxy: ProxyProcess) -> None:
        self._senders: SimpleQueue[Sender] = SimpleQueue()
        for _ in range(AT_A_TIME):
            sender = Sender(proxy)
            sender.learn_epoch()
            self._senders.put(sender)

    def ways(self) -> tuple[Way, ...]:
        """What is done with a connection."""
        return self.call, self.call_and_reset

    def call(self, client: Client) -> None:
        """Make a call."""
        message, opener = self._sealed()
        answer = client.request("POST", TARGET, message, [CONTENT_TYPE])
        open_sealed(answer, opener)

    def call_and_reset(self, client: Client) -> None:
        """Leave without waiting for the answer."""
        message, _ = self._sealed()
        client.send(request_bytes("POST", TARGET, message, [CONTENT_TYPE]))
        client.reset()

    def _sealed(self) -> tuple[bytes, ResponseOpener]:
        sender = self._senders.get()
        try:
            return sender.sealed(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n")
        finally:
            self._senders.put(sender)


# --- what is held before and after -------------------------------------------------------------------------


class Held(NamedTuple):
    """What the workers of a proxy hold. tasks: of all of them; the others: of each.

    files_bytes: pages of files.
    """

    tasks: float
    descriptors: list[int]
    memory_bytes: list[int]
    files_bytes: list[int]


def held(proxy: ProxyProcess) -> Held:
    """Wait until nothing is under way; return what is held then."""
    for gauge in GAUGES:
        proxy.wait_for_gauge(gauge, 0)
    pids = worker_pids(proxy)
    tasks = proxy.metrics().total("fastproxy_tasks")
    memory = [memory_bytes(pid, "RssAnon") + memory_bytes(pid, "RssShmem") for pid in pids]
    files = [memory_bytes(pid, "RssFile") for pid in pids]
    return Held(tasks, [descriptors(pid) for pid in pids], memory, files)


def come_and_go(proxy: ProxyProcess, ways: Sequence[Way], count: int) -> None:
    """Open so many connections, and leave each in another way."""

    def visit(number: int) -> None:
        with Client(proxy.listen, timeout_s=60) as client:
            ways[number % len(ways)](client)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        for _ in pool.map(visit, range(count)):
            pass


def has_grown(now: Held, then: Held) -> bool:
    """Whether a worker has more memory than it may."""
    growth = (after - before for after, before in zip(now.memory_bytes, then.memory_bytes, strict=True))
    return max(growth) >= GROWTH_BYTES


def assert_back(proxy: ProxyProcess, then: Held) -> None:
    """Whatever the proxy has more than then is no more than may be, once it has had time to give it back."""
    now, deadline_s = held(proxy), time.monotonic() + BACK_S
    while has_grown(now, then) and time.monotonic() < deadline_s:
        time.sleep(0.1)
        now = held(proxy)
    print(f"{proxy.config['name']}: before {then}, after {now}")
    assert now.tasks == then.tasks
    assert now.descriptors == then.descriptors
    assert not has_grown(now, then)


def settings(**changes: Config) -> Config:
    """Of a proxy with two workers, so that connections are handed on as well, and without an access log."""
    limits = {"endpoint_idle_timeout_s": 0.5, **changes.pop("limits", {})}
    return {"workers": 2, "log": {"access": "off"}, "limits": limits, **changes}


counts = pytest.mark.parametrize(
    "count", [3000, pytest.param(HOURS_4, marks=[pytest.mark.long, pytest.mark.timeout(3600)])]
)


@counts
def test_connections_that_come_and_go_leave_nothing(make: Maker, count: int) -> None:
    service = make.service(answering(sized(b"served")))
    pair = make.pair({"api": [service.endpoint]}, out=settings(), inner=settings())
    proxies = (pair.out, pair.inner)
    for proxy in proxies:
        come_and_go(proxy, PLAIN, WARM_UP)  # what is loaded and kept once isn't counted
    before = [held(proxy) for proxy in proxies]
    for proxy in proxies:
        come_and_go(proxy, PLAIN, count)
    for proxy, then in zip(proxies, before, strict=True):
        assert_back(proxy, then)
        assert proxy.metrics().total("fastproxy_connections_accepted_total") >= count


@counts
def test_links_and_envelopes_that_come_and_go_leave_nothing(make: Maker, count: int) -> None:
    service = make.service(answering(sized(b"served")))
    patient = settings(
        link={"new_links_per_peer_per_s": 100_000}, limits={"new_sessions_per_peer_per_s": 100_000}
    )
    proxy = make.in_proxy({"api": [service.endpoint]}, patient)
    visit = partial(come_and_go, proxy, LINKS + Envelopes(proxy).ways())
    visit(WARM_UP)
    proxy.wait_for_gauge("fastproxy_links_open", 0)
    before = held(proxy)
    visit(count)
    proxy.wait_for_gauge("fastproxy_links_open", 0)
    assert_back(proxy, before)
    samples = proxy.metrics()
    assert samples.total("fastproxy_connections_accepted_total") >= count
    assert samples.total("fastproxy_links_opened_total") >= count // 4
    assert samples.total("fastproxy_link_handshake_failures_total", cause="unknown_caller") >= count // 9
    assert samples.total("fastproxy_requests_total", outcome="2xx") >= count // 9  # if not each of 2 in 9
