"""Trailers that come sealed are held to the in proxy's own limits on headers, whichever way they come."""

from __future__ import annotations

import pytest

from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import chunked
from tests.e2e.proxies import Pair
from tests.e2e.services import ScriptedService, answering, sized

FIELDS = 16


@pytest.fixture(scope="module")
def service(make_shared: Maker) -> ScriptedService:
    """A service that reads all of a request before it answers."""
    return make_shared.service(answering(sized(b"content")))


@pytest.fixture(scope="module", params=["link", "http"])
def pair(request: pytest.FixtureRequest, make_shared: Maker, service: ScriptedService) -> Pair:
    """An in proxy that takes fewer fields than its out proxy."""
    return make_shared.pair(
        {"echo": [service.endpoint]},
        out={"defaults": {"transport": request.param}},
        inner={"limits": {"header_count": FIELDS}},
    )


@pytest.mark.parametrize(
    ("count", "outcome"), [(FIELDS, (200, "")), (FIELDS + 1, (431, "headers_too_large"))]
)
def test_trailers_of_a_request_are_bounded(pair: Pair, count: int, outcome: tuple[int, str]) -> None:
    trailers = b"".join(b"x-%d: y\r\n" % number for number in range(count))
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/", headers=["Transfer-Encoding: chunked"]))
        client.send(chunked(b"content", trailers=trailers + b"\r\n"))
        answer = client.answer()
    assert answer.status == outcome[0]
    if outcome[1]:
        assert answer.cause == outcome[1]
        assert pair.inner.metrics().total("fastproxy_refusals_total", cause=outcome[1]) == 1
    else:
        assert answer.body == b"content"
