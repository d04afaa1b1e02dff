"""A proxy that ends loses no request: not on idle connections, not on new ones, not between the proxies."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from tests.e2e.client import Client, fetch
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Config, ProxyProcess, endpoint_of
from tests.e2e.services import answering, sized

IDLE = 8
PATIENT: Config = {"drain": {"grace_s": 60, "idle_s": 30}}
"""Longer than a test takes on any machine; a proxy in which nothing is left ends before."""


def post_until_told(client: Client, target: str) -> None:
    """Make requests that nobody repeats, on one connection, until an answer ends it."""
    while (answer := client.request("POST", target, b"x")).get("connection") != "close":
        assert answer.status == 200
    assert (answer.status, answer.body) == (200, b"served")
    assert client.is_closed()


def until_it_drains(proxy: ProxyProcess) -> None:
    """Have it drain, and connect until an answer shows that it does."""
    proxy.signal()
    while fetch(proxy.listen, "GET", "/").get("connection") != "close":
        pass


@pytest.mark.parametrize("transport", ["http", "link"])
def test_a_post_on_an_idle_connection_or_a_new_one_is_answered(make: Maker, transport: str) -> None:
    service = make.service(answering(sized(b"served")))
    pair = make.pair(
        {"api": [service.endpoint]}, out={"workers": 2, "defaults": {"transport": transport}} | PATIENT
    )
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pair.address)) for _ in range(IDLE)]
        for client in clients:
            assert client.request("GET", "/api/").get("connection") == ""
        pair.out.signal()
        pair.out.log.wait_for(message="draining")
        assert pair.out.probe("/readyz").status == 503
        late = stack.enter_context(Client(pair.address))
        for client in (*clients, late):
            post_until_told(client, "/api/")
    assert pair.out.wait() == 0


def test_a_post_on_an_idle_connection_between_the_proxies_is_answered(make: Maker) -> None:
    service = make.service(answering(sized(b"served")))
    pair = make.pair({"api": [service.endpoint]}, inner={"workers": 1} | PATIENT)
    with Client(pair.inner.listen), Client(pair.address) as client:  # the first keeps it from its end
        assert client.request("POST", "/api/", b"x").status == 200
        until_it_drains(pair.inner)
        for _ in range(5):
            assert client.request("POST", "/api/", b"x").status == 200
    assert pair.inner.wait() == 0


def test_an_in_proxy_that_drains_is_left_alone_where_there_is_another(make: Maker) -> None:
    """Each call on a connection of its own would keep somebody waiting there until it closes."""
    service = make.service(answering(sized(b"served")))
    pair = make.pair({"api": [service.endpoint]}, inner=PATIENT, out={"discovery": {"failing_s": 600}})
    beside = make.in_proxy({"api": [service.endpoint]}, {})
    endpoints = [endpoint_of(inner.listen) for inner in (pair.inner, beside)]
    pair.out.reload({"receivers": {"in": {"endpoints": endpoints}}})
    with Client(pair.inner.listen), Client(pair.address) as client:  # the first keeps it from its end
        for _ in range(4):
            assert client.request("POST", "/api/", b"x").status == 200
        until_it_drains(pair.inner)
        before = pair.inner.metrics().total("fastproxy_connections_accepted_total")
        for _ in range(20):
            assert client.request("POST", "/api/", b"x").status == 200
        came = pair.inner.metrics().total("fastproxy_connections_accepted_total") - before
        assert came <= 1, "one by which the out proxy has learnt it"
    assert pair.inner.wait() == 0


def test_connections_that_stay_idle_are_closed_in_time(make: Maker) -> None:
    service = make.service(answering(sized(b"served")))
    pair = make.pair({"api": [service.endpoint]}, out={"drain": {"grace_s": 60, "idle_s": 0.2}})
    with Client(pair.address) as silent, Client(pair.address) as client:
        assert client.request("GET", "/api/").status == 200
        pair.out.signal()
        assert client.is_closed()
        assert silent.is_closed()
    assert pair.out.wait() == 0
    assert not pair.out.log.find(message="grace period over")
