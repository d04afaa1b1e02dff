"""The receiver's epoch: learned at first contact, and again after each restart; callers don't notice."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack

import pytest

from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import chunked
from tests.e2e.services import ScriptedService, echo

CALLS_AT_ONCE = 20


@pytest.fixture(scope="module")
def echo_service(make_shared: Maker) -> ScriptedService:
    """A service that sends back what it gets."""
    return make_shared.service(echo)


def test_the_first_request_is_challenged_once_and_served_once(
    make: Maker, echo_service: ScriptedService
) -> None:
    before = len(echo_service.requests)
    relay = make.relay()
    pair = make.pair({"echo": [echo_service.endpoint]}, relay=relay)
    for _ in range(3):
        assert pair.fetch("POST", "/echo/", b"content").body == b"content"
    assert len(echo_service.requests) == before + 3
    assert len(relay.requests) == 4, "one of them asked for the epoch"
    assert pair.inner.metrics().total("fastproxy_challenges_total") == 1


def test_even_the_first_request_may_be_a_stream(make: Maker, echo_service: ScriptedService) -> None:
    pair = make.pair({"echo": [echo_service.endpoint]})
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/", headers=["Transfer-Encoding: chunked"]))
        client.send(chunked(b"one", b"two"))
        assert client.answer().body == b"onetwo"


def test_calls_that_come_at_once_to_a_proxy_that_has_just_begun_ask_once(
    make: Maker, echo_service: ScriptedService
) -> None:
    """A question is an envelope of a session that nobody knows yet, of which an in proxy takes few."""
    pair = make.pair(
        {"echo": [echo_service.endpoint]},
        inner={"limits": {"new_sessions_per_peer_per_s": 3}},
        out={"defaults": {"timeout_s": 50}},
    )
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pair.address, timeout_s=50)) for _ in range(CALLS_AT_ONCE)]
        os.kill(pair.inner.worker, signal.SIGSTOP)  # so that all are there before the first is answered
        for client in clients:
            client.send(request_bytes("POST", "/echo/", b"content"))
        while pair.out.metrics().total("fastproxy_in_flight") < CALLS_AT_ONCE:
            pass
        os.kill(pair.inner.worker, signal.SIGCONT)
        assert [client.answer().body for client in clients] == [b"content"] * CALLS_AT_ONCE
    assert pair.inner.metrics().total("fastproxy_challenges_total") == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_restart_of_the_in_proxy_goes_unnoticed(
    make: Maker, echo_service: ScriptedService, method: str
) -> None:
    """A challenge proves that nothing was processed: a POST, too, may be sealed anew."""
    pair = make.pair({"echo": [echo_service.endpoint]})
    body = b"content" if method == "POST" else None
    with Client(pair.address) as client:
        assert client.request(method, "/echo/", body).status == 200
        pair.restart_inner()
        before = len(echo_service.requests)
        answer = client.request(method, "/echo/", body)
        assert (answer.status, answer.body) == (200, body or b"")
        assert len(echo_service.requests) == before + 1
    assert pair.inner.metrics().total("fastproxy_challenges_total") == 1


def test_calls_that_all_meet_a_restart_go_unharmed_as_well(
    make: Maker, echo_service: ScriptedService
) -> None:
    """They come with the former epoch, and are of one session: that counts once as new."""
    pair = make.pair({"echo": [echo_service.endpoint]}, out={"defaults": {"timeout_s": 50}})
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pair.address, timeout_s=50)) for _ in range(CALLS_AT_ONCE)]
        assert clients[0].request("POST", "/echo/", b"content").status == 200
        pair.inner.write({"limits": {"new_sessions_per_peer_per_s": 0.01}})
        pair.restart_inner()
        os.kill(pair.inner.worker, signal.SIGSTOP)  # so that all are there before the first is challenged
        for client in clients:
            client.send(request_bytes("POST", "/echo/", b"content"))
        while pair.out.metrics().total("fastproxy_in_flight") < CALLS_AT_ONCE:
            pass
        os.kill(pair.inner.worker, signal.SIGCONT)
        assert [client.answer().body for client in clients] == [b"content"] * CALLS_AT_ONCE
    assert pair.inner.metrics().total("fastproxy_challenges_total") == CALLS_AT_ONCE


def test_a_stream_that_meets_a_restart_fails_cleanly_and_the_next_one_passes(
    make: Maker, echo_service: ScriptedService
) -> None:
    """Its beginning is gone and can't be sealed anew; the caller is told that nothing was processed."""
    pair = make.pair({"echo": [echo_service.endpoint]})
    assert pair.fetch("GET", "/echo/").status == 200
    pair.restart_inner()
    before = len(echo_service.requests)
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/", headers=["Transfer-Encoding: chunked"]))
        answer = client.answer()
        assert (answer.status, answer.cause) == (503, "epoch_mismatch")
    assert len(echo_service.requests) == before
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/", headers=["Transfer-Encoding: chunked"]))
        client.send(chunked(b"one", b"two"))
        assert client.answer().body == b"onetwo"
