"""A receiver changes its key over http: out proxies that know several find out which one an endpoint has."""

from __future__ import annotations

import pytest

from tests.e2e.conftest import Maker
from tests.e2e.proxies import Config, Pair, ProxyProcess, key_of, merged, write_key
from tests.e2e.services import ScriptedService, echo


@pytest.fixture(scope="module")
def echo_service(make_shared: Maker) -> ScriptedService:
    """A service that sends back what it gets."""
    return make_shared.service(echo)


def known_by(*names: str) -> Config:
    """Settings of an out proxy that knows its receiver by these keys."""
    return {"receivers": {"in": {"public_keys": [key_of(name).public_key.hex() for name in names]}}}


def change_key(pair: Pair, name: str) -> None:
    """Replace the in proxy by one with another key."""
    pair.inner.stop()
    write_key(pair.folder, name)
    config = merged(
        pair.inner.config,
        {"private_key": {"file": f"{name}.key"}, "listen": {"address": "{}:{}".format(*pair.inner.listen)}},
    )
    pair.inner = ProxyProcess(pair.folder, config).ready()


def test_each_key_is_asked_about_before_anything_is_sent(make: Maker, echo_service: ScriptedService) -> None:
    served = len(echo_service.requests)
    relay = make.relay()
    pair = make.pair({"echo": [echo_service.endpoint]}, relay=relay, out=known_by("newer", "newest", "in"))
    assert pair.fetch("POST", "/echo/", b"content").body == b"content"
    assert len(relay.requests) == 4, "a question by each key, and the request"
    assert not any(b"content" in question or len(question) > 300 for question in relay.requests[:3])
    assert pair.fetch("POST", "/echo/", b"content").body == b"content"
    assert len(relay.requests) == 5
    assert len(echo_service.requests) == served + 2


def test_whom_no_key_fits_is_refused_as_ever(make: Maker, echo_service: ScriptedService) -> None:
    relay = make.relay()
    pair = make.pair({"echo": [echo_service.endpoint]}, relay=relay, out=known_by("newer", "newest"))
    answer = pair.fetch("POST", "/echo/", b"content")
    assert (answer.status, answer.cause) == (502, "response_unsealed")
    assert len(relay.requests) == 2


def test_a_request_is_never_sealed_for_another_key_and_the_next_one_finds_it(
    make: Maker, echo_service: ScriptedService
) -> None:
    """A key that is unknown is refused in the clear, which proves nothing: it may have been processed."""
    pair = make.pair({"echo": [echo_service.endpoint]}, out=known_by("in", "newer"))
    for path in ("/echo/", "/echo/", "/echo/other", "/echo/other"):  # two short ways
        assert pair.fetch("POST", path, b"content").status == 200
    change_key(pair, "newer")
    served = len(echo_service.requests)
    answer = pair.fetch("POST", "/echo/", b"content")
    assert (answer.status, answer.cause) == (502, "response_unsealed")
    assert (refused(pair), challenged(pair)) == (1, 0)
    assert len(echo_service.requests) == served
    assert pair.fetch("POST", "/echo/other", b"content").body == b"content"
    assert (refused(pair), challenged(pair)) == (2, 1), "a question by each key, and the request"
    assert pair.fetch("POST", "/echo/", b"content").status == 200
    assert (refused(pair), challenged(pair)) == (2, 1)


def refused(pair: Pair) -> float:
    return pair.inner.metrics().total("fastproxy_refusals_total", cause="identity_unproven")


def challenged(pair: Pair) -> float:
    return pair.inner.metrics().total("fastproxy_challenges_total")
