"""What is told apart, what isn't, and that nothing which peers send adds a series."""

from __future__ import annotations

import pytest

from tests.e2e.client import Client, fetch
from tests.e2e.metrics.conftest import BURST, SLOW_S, ask
from tests.e2e.proxies import Pair


def test_the_in_proxy_counts_by_the_route_that_decided_and_the_out_proxy_knows_none(pair: Pair) -> None:
    def count(route: str, **labels: str) -> list[float]:
        return [
            proxy.metrics().total("fastproxy_requests_total", route=route, service="api", **labels)
            for proxy in (pair.out, pair.inner)
        ]

    before = {route: count(route) for route in ("", "/open/**", "GET,HEAD /items/*")}
    for target in ("/api/items/7", "/api/items/8", "/api/open/a/b"):
        assert ask(pair, target).status == 200
    assert ask(pair, "/api/items/7", "POST").cause == "no_privilege"
    growth = {route: [now - then for now, then in zip(count(route), before[route], strict=True)]
              for route in before}  # fmt: skip
    assert growth == {"": [4, 1], "/open/**": [0, 1], "GET,HEAD /items/*": [0, 2]}
    assert count("", outcome="4xx")[1] >= 1, "no route decided on what was refused"


@pytest.mark.parametrize("service", ["api", "old"])
def test_the_own_share_leaves_out_what_the_service_took(pair: Pair, service: str) -> None:
    name = "fastproxy_own_duration_seconds"
    calls = 4  # the first ones go the long way, the others the short one
    before = [proxy.metrics() for proxy in (pair.out, pair.inner)]
    for _ in range(calls):
        assert ask(pair, f"/{service}/open/slow").status == 200
    for proxy, then in zip((pair.out, pair.inner), before, strict=True):
        now = proxy.metrics()
        own, requests, taken_s, own_s = (
            now.total(sample, service=service) - then.total(sample, service=service)
            for sample in (
                f"{name}_count",
                "fastproxy_requests_total",
                "fastproxy_request_duration_seconds_sum",
                f"{name}_sum",
            )
        )
        assert own == requests == calls
        assert 0 < own_s < taken_s
        # A proxy that is put aside between sending and looking at the clock counts that as its own.
        assert taken_s - own_s > calls * SLOW_S / 2


def test_callers_that_come_close_to_their_rate_show_it(pair: Pair) -> None:
    labels = {"caller": "web", "service": "api", "route": "/limited"}

    def used() -> float:
        return pair.inner.metrics().total("fastproxy_rate_used_ratio", **labels)

    assert used() == 0
    for spent in range(1, BURST + 1):
        assert ask(pair, "/api/limited").status == 200
        assert used() == pytest.approx(spent / BURST, abs=0.1), "at 0.001 a second hardly any comes back"
    assert ask(pair, "/api/limited").cause == "rate_limited"
    now = pair.inner.metrics()
    assert now.total("fastproxy_rate_burst_requests", **labels) == BURST
    assert now.total("fastproxy_rate_requests_per_second", **labels) == 0.001
    assert now.total("fastproxy_refusals_total", cause="rate_limited", **labels) == 1


def test_limits_show_how_much_of_them_is_in_use(pair: Pair) -> None:
    assert ask(pair, "/api/open/x").status == 200
    now = pair.inner.metrics()
    allowed = now.by_label("fastproxy_limit_allowed", "limit")
    used = now.by_label("fastproxy_limit_used_ratio", "limit")
    assert used.keys() == allowed.keys()
    assert {"connections", "in_flight", "handshakes", "links_per_caller", "sessions"} <= used.keys()
    assert used["links_per_caller"] == now.total("fastproxy_caller_links", caller="web") / 256 > 0
    with Client(pair.address), Client(pair.address):
        pair.out.wait_for_gauge("fastproxy_connections_open", 2)
        assert pair.out.metrics().by_label("fastproxy_limit_used_ratio", "limit")["connections"] >= 2 / 10_000


def invent(pair: Pair, number: int) -> None:
    """Make requests of all kinds with names, paths, methods, statuses and bytes that nobody else sends."""
    for service in ("api", "old"):
        ask(pair, f"/{service}/open/p{number}?q={number}")
        ask(pair, f"/{service}/open/x", f"M{number}")
        ask(pair, f"/{service}/secret/{number}")
        for first in range(2, 10):
            ask(pair, f"/{service}/open/status/{first}{10 + number % 90}")
        ask(pair, f"/{service}/open/x", caller=f"nobody{number}")
    ask(pair, f"/service{number}/x")
    ask(pair, f"/api/open/%2f{number}")
    for address in (pair.address, pair.inner.listen):
        with Client(address) as client:
            client.send(b"GET /%d\x00 HTTP/1.1\r\nhost: x\r\n\r\n" % number)
            assert client.answer().status == 400
    fetch(pair.inner.listen, "POST", f"/sealed{number}", b"%d" % number)


def test_nothing_that_peers_invent_adds_a_series(pair: Pair) -> None:
    invent(pair, 0)  # each kind once
    before = [proxy.metrics().series() for proxy in (pair.out, pair.inner)]
    for number in range(1, 8):
        invent(pair, number)
    after = [proxy.metrics().series() for proxy in (pair.out, pair.inner)]
    assert [more - less for more, less in zip(after, before, strict=True)] == [set(), set()]
    callers = {labels["caller"] for one in after for _, pairs in one if "caller" in (labels := dict(pairs))}
    assert callers == {"web", "unknown", "other"}
