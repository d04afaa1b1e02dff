"""Rates, limits and replay windows are the proxy's, whatever `workers` is: here with four of them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastproxy.wire.envelope import build_request_head, service_field
from tests.e2e.client import Answer, Client, request_bytes
from tests.e2e.conftest import Gate, Maker, Start
from tests.e2e.crafted import LIFETIME_MS, Sender
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import (
    Config,
    Pair,
    ProxyProcess,
    endpoint_of,
    in_config,
    key_of,
    merged,
    out_config,
)
from tests.e2e.relay import CONTENT_TYPE, TARGET
from tests.e2e.services import ScriptedService, answering, sized
from tests.e2e.worker_processes import workers_of

WORKERS = 4
FOUR: Config = {"workers": WORKERS}
ONE: Config = {"workers": 1}
"""Enough for an out proxy that shows an in proxy's limits over http: it makes a connection for each call at a
time. Over links each of its workers makes one."""
CONNECTIONS = 40
"""The kernel spreads them at random: that one worker gets none of so many is as likely as 1 in 25,000, and
would only make a test easier to pass."""


def over(transport: str) -> Config:
    return {"defaults": {"transport": transport}}


# --- rates ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["link", "http"])
def test_a_rate_is_that_of_the_proxy(make: Maker, transport: str) -> None:
    """As many calls pass as one number that counts them all would let pass: no more, and no fewer."""
    service = make.service(answering(sized(b"served")))
    rate = {"per_s": 20, "burst": 20}
    privileges = [{"callers": ["*"], "services": ["*"], "rate": rate}]
    pair = make.pair(
        {"api": [service.endpoint]}, out=FOUR | over(transport), inner=FOUR | {"privileges": privileges}
    )
    passed = 0
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pair.address)) for _ in range(CONNECTIONS)]
        begun_s = time.monotonic()
        used_up_s = refused_s = 0.0
        asked_s = overflown = 0.0  # what a burst that was full again could not take
        while time.monotonic() < begun_s + 1.5 or not refused_s:
            for client in clients:
                sent_s = time.monotonic()
                answer = client.request("GET", "/api/")
                if used_up_s:
                    overflown += max(0.0, 20 * (time.monotonic() - asked_s) - 20)
                asked_s = sent_s
                if answer.status == 200:
                    passed += 1
                else:
                    assert (answer.status, answer.cause) == (429, "rate_limited")
                    used_up_s = used_up_s or time.monotonic()  # before, what a full burst gains is lost
                    refused_s = sent_s  # whatever was to be had until then has been had
        ended_s = time.monotonic()
    assert 20 + int(20 * (refused_s - used_up_s) - overflown) <= passed <= 20 + 20 * (ended_s - begun_s)
    assert len(service.requests) == passed


# --- limits -----------------------------------------------------------------------------------------------


def once_there_is_room(pair: Pair, target: str) -> None:
    """Call until a call passes; the test's time limit bounds it."""
    while pair.fetch("GET", target).status != 200:
        pass


@pytest.mark.parametrize(("hop", "transport"), [("out", "link"), ("in", "link"), ("in", "http")])
def test_as_many_exchanges_as_the_limit_allows_and_not_one_more(
    make: Maker, gate: Gate, hop: str, transport: str
) -> None:
    limits = {"limits": {"in_flight": 12}}
    pair = make.pair(
        {"api": [gate.service.endpoint]},
        out=(ONE if transport == "http" else FOUR) | over(transport) | (limits if hop == "out" else {}),
        inner=FOUR | limits if hop == "in" else ONE,
    )
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pair.address)) for _ in range(12)]
        for count, client in enumerate(clients, 1):
            client.send(request_bytes("GET", "/api/"))
            gate.service.wait_for_requests(count)
        for _ in range(CONNECTIONS):
            answer = pair.fetch("GET", "/api/")
            assert (answer.status, answer.cause, answer.problem["hop"]) == (503, "overloaded", hop)
        gate.open.set()
        assert [client.answer().body for client in clients] == [b"at last"] * 12
    assert len(gate.service.requests) == 12
    for _ in range(CONNECTIONS):
        once_there_is_room(pair, "/api/")


@pytest.mark.parametrize("setting", ["connections", "connections_per_peer"])
def test_as_many_connections_as_the_limit_allows_and_not_one_more(
    make: Maker, nginx: Nginx, setting: str
) -> None:
    pair = make.pair({"web": [nginx.endpoint]}, out=FOUR | {"limits": {setting: 12}}, inner=ONE)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pair.address)) for _ in range(12)]
        assert [client.request("GET", "/web/hello").status for client in clients] == [200] * 12
        for _ in range(CONNECTIONS):
            with Client(pair.address) as client:
                answer = client.answer()
                assert (answer.status, answer.cause) == (503, "too_many_connections")
                assert client.is_closed()
        if setting == "connections_per_peer":
            with Client(pair.address, source="127.0.0.9") as other:
                assert other.request("GET", "/web/hello").status == 200
        assert [client.request("GET", "/web/hello").status for client in clients] == [200] * 12
    for _ in range(CONNECTIONS):
        once_there_is_room(pair, "/web/hello")


def test_a_worker_that_is_killed_gives_back_what_it_had(start: Start, nginx: Nginx) -> None:
    limits = {"limits": {"connections": 12, "connections_per_peer": 12, "in_flight": 12}}
    inner = start(merged(in_config({"web": [nginx.endpoint]}, {"web": key_of("web")}), ONE))
    plain = out_config({"web": []}, key_of("in"), endpoint_of(inner.listen))
    out = start(merged(plain, FOUR | limits))
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(out.listen)) for _ in range(12)]
        assert [client.request("GET", "/web/hello").status for client in clients] == [200] * 12
        for worker in workers_of(out.pid):
            os.kill(worker, signal.SIGKILL)
        for client in clients:
            assert client.is_closed()
        held = 0
        while held < 12:  # the test's time limit bounds it
            client = stack.enter_context(Client(out.listen))
            client.send(request_bytes("GET", "/web/hello"))
            held += client.answer().status == 200
        for _ in range(CONNECTIONS):
            with Client(out.listen) as client:
                assert client.answer().cause == "too_many_connections"


def test_a_caller_has_so_many_links_to_the_proxy(make: Maker, nginx: Nginx) -> None:
    pair = make.pair(
        {"web": [nginx.endpoint]},
        out=FOUR | over("link"),
        inner=FOUR | {"link": {"links_per_caller": 2}},
    )
    answers = [pair.fetch("GET", "/web/hello") for _ in range(CONNECTIONS)]
    statuses = {answer.status for answer in answers}
    assert statuses in ({200, 502}, {200, 503}), answers
    metrics = pair.inner.metrics()
    assert metrics.total("fastproxy_links_open") == 2


# --- replays ----------------------------------------------------------------------------------------------


@pytest.fixture
def service(make: Maker) -> ScriptedService:
    return make.service(answering(sized(b"served")))


def envelope(sender: Sender) -> bytes:
    """Seal a request that lasts for a while."""
    meta = build_request_head(5000, "recorded", service_field("api"), b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    sealer = sender.session.seal(sender.epoch, int(time.time() * 1000) + LIFETIME_MS)
    return sealer.record(meta, b"", last=True)


def deliver(proxy: ProxyProcess, message: bytes) -> Answer:
    with Client(proxy.listen) as client:
        return client.request("POST", TARGET, message, [CONTENT_TYPE])


def replayed(proxy: ProxyProcess, service: ScriptedService, message: bytes) -> None:
    """Deliver a recording to all workers: none of them takes it."""
    calls, refusals = len(service.requests), proxy.metrics().refusals("envelope_replayed")
    for _ in range(CONNECTIONS):
        deliver(proxy, message)
    assert len(service.requests) == calls
    assert proxy.metrics().refusals("envelope_replayed") == refusals + CONNECTIONS


def kill_all_workers(proxy: ProxyProcess) -> None:
    """Have all workers replaced, one after the other."""
    for worker in workers_of(proxy.pid):
        os.kill(worker, signal.SIGKILL)
        while worker in workers_of(proxy.pid):
            pass
    while proxy.metrics().total("fastproxy_workers") != proxy.config["workers"]:
        pass


@pytest.mark.parametrize("workers", [WORKERS, 1])
def test_what_one_worker_has_accepted_no_worker_takes_again(
    start: Start, service: ScriptedService, workers: int
) -> None:
    plain = in_config({"api": [service.endpoint]}, {"web": key_of("web")})
    limits = {"limits": {"new_sessions_per_peer_per_s": 10_000}}
    proxy = start(merged(plain, {"workers": workers} | limits))
    sender = Sender(proxy)
    sender.learn_epoch()
    messages = [envelope(sender) for _ in range(3)]
    for message in messages[:2]:
        deliver(proxy, message)
    assert len(service.requests) == 2
    for message in messages[:2]:
        replayed(proxy, service, message)
    kill_all_workers(proxy)
    replayed(proxy, service, messages[0])
    # one epoch for all, before and after: who has it needn't be challenged
    deliver(proxy, messages[2])
    assert len(service.requests) == 3
    replayed(proxy, service, messages[2])


@pytest.mark.parametrize(
    ("changes", "how"),
    [({"workers": 2}, "new workers"), ({"max_clock_skew_s": 11}, "in place")],
    ids=["new workers", "in place"],
)
def test_a_reload_opens_nothing_and_costs_no_challenge(
    start: Start, service: ScriptedService, changes: Config, how: str
) -> None:
    plain = in_config({"api": [service.endpoint]}, {"web": key_of("web")})
    limits = {"limits": {"new_sessions_per_peer_per_s": 10_000}}
    proxy = start(merged(plain, ONE | limits))
    sender = Sender(proxy)
    sender.learn_epoch()
    messages = [envelope(sender) for _ in range(3)]
    for message in messages[:2]:
        deliver(proxy, message)
    assert proxy.reload(changes)["how"] == how
    replayed(proxy, service, messages[0])
    deliver(proxy, messages[2])
    assert len(service.requests) == 3
    replayed(proxy, service, messages[2])


def have_all_locks() -> set[int]:
    """Return the processes that hold whole files locked, as a worker does that is alone (proc(5))."""
    lines = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return {int(line[4]) for line in lines if line[1] == "POSIX" and line[6:8] == ["0", "EOF"]}


def test_a_worker_that_is_alone_pays_for_no_lock_until_it_has_company(
    start: Start, service: ScriptedService
) -> None:
    proxy = start(merged(in_config({"api": [service.endpoint]}, {"web": key_of("web")}), ONE))
    (alone,) = workers_of(proxy.pid)
    while alone not in have_all_locks():  # the test's time limit bounds it, here and below
        pass
    proxy.reload({"workers": 2})
    assert not have_all_locks() & {alone, *workers_of(proxy.pid)}
    proxy.reload({"workers": 1})
    while have_all_locks().isdisjoint(workers_of(proxy.pid)):
        pass


def test_sessions_are_counted_for_the_proxy(make: Maker, service: ScriptedService) -> None:
    limits = {"limits": {"sessions_per_caller": 3, "new_sessions_per_peer_per_s": 10_000}}
    proxy = make.in_proxy({"api": [service.endpoint]}, FOUR | limits)
    first = Sender(proxy)
    first.learn_epoch()
    senders = [first, *(Sender(proxy) for _ in range(9))]
    for sender in senders:
        sender.epoch = first.epoch
    for _ in range(4):
        for sender in senders:
            deliver(proxy, envelope(sender))
    assert len(service.requests) == 4 * 3
    metrics = proxy.metrics()
    assert metrics.total("fastproxy_sessions") == 3
    assert metrics.refusals("sessions_exhausted") == 4 * 7
