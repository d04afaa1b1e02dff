"""Links and connections spread over the workers, whatever the kernel's hash makes of them."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.client import Client
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Config, Pair, key_of
from tests.e2e.services import answering, sized
from tests.e2e.workers import spread

WORKERS = 4
LINKS = 8
CONNECTIONS = 400
MAX_TO_MEAN = 1.3
NAMES = [f"caller{number}" for number in range(LINKS)]


def many_callers() -> tuple[Config, Config]:
    """Settings of a pair in which each of several callers has a link of its own."""
    private = {
        name: {"private_key": {"literal": key_of(name).reveal(), "insecure_literal": True}} for name in NAMES
    }
    public = {name: {"public_keys": [key_of(name).public_key.hex()]} for name in NAMES}
    out: Config = {
        "caller": None,
        "private_key": None,
        "callers": {"header": "X-Caller", "names": private},
        "defaults": {"transport": "link"},
    }
    return out, {"callers": public, "workers": WORKERS}


def assert_even(name: str, numbers: list[int], total: int) -> None:
    """Hold the largest against the mean; printed for whoever wants the figures (`pytest -s`)."""
    assert len(numbers) == WORKERS
    assert sum(numbers) == total
    ratio = numbers[0] * WORKERS / total
    print(f"{name}: {total} on {WORKERS} workers: {numbers}, max to mean {ratio:.2f}")
    assert ratio <= MAX_TO_MEAN


@pytest.fixture(scope="module")
def pair(make_shared: Maker) -> Pair:
    """A pair with four workers at the in proxy."""
    service = make_shared.service(answering(sized(b"served")))
    out, inner = many_callers()
    return make_shared.pair({"api": [service.endpoint]}, out=out, inner=inner)


def call_as(pair: Pair, name: str) -> int:
    """Make one call of a caller; return its status."""
    return pair.fetch("GET", "/api/", headers=[f"X-Caller: {name}"]).status


def test_a_handful_of_links_that_are_made_at_a_time_is_spread_evenly(pair: Pair) -> None:
    with ThreadPoolExecutor(LINKS) as pool:
        assert list(pool.map(lambda name: call_as(pair, name), NAMES)) == [200] * LINKS
    assert_even("links", spread(pair.inner, "fastproxy_worker_links"), LINKS)
    assert pair.inner.metrics().total("fastproxy_links_ended_total") == 0  # no one was lost on its way


def test_connections_are_spread_evenly_and_keep_their_address(make: Maker) -> None:
    service = make.service(answering(sized(b"served")))
    out = make.pair({"api": [service.endpoint]}, out={"workers": WORKERS}).out
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(out.listen, source="127.0.0.2")) for _ in range(CONNECTIONS)]
        for client in clients:  # an answer shows that a connection has arrived where it stays
            assert client.request("GET", "/api/").status == 200
        assert_even("connections", spread(out, "fastproxy_worker_connections"), CONNECTIONS)
        while len(out.access.find(peer="127.0.0.2")) < CONNECTIONS:
            pass
    out.wait_for_gauge("fastproxy_connections_open", 0)
    assert out.metrics().total("fastproxy_connections_accepted_total") == CONNECTIONS


def test_connections_to_a_unix_socket_are_spread_evenly(make: Maker, tmp_path: Path) -> None:
    service = make.service(answering(sized(b"served")))
    listen = {"listen": {"address": f"unix:{tmp_path}/in", "allowed_uids": [os.getuid()]}}
    inner = make.in_proxy({"api": [service.endpoint]}, {"workers": WORKERS, **listen})
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(inner.listen)) for _ in range(40)]
        for client in clients:
            assert client.request("GET", "/").status == 404
        assert_even("connections", spread(inner, "fastproxy_worker_connections"), 40)
