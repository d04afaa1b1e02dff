"""Whatever comes to a link's port and is no caller: other protocols, silence, floods, what isn't accepted.

It gets an end, with a counted cause and a line in the log; it takes no more than its bounded place; links
that are there notice nothing, and callers from elsewhere get in.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.client import Client, fetch
from tests.e2e.link_security.hand_made import connected, ending_of, link, message_1
from tests.e2e.link_security.proxies import (
    Parties,
    call,
    failures,
    refusal_of,
    wait_for_failures,
)
from tests.e2e.link_security.wire import Wire
from tests.e2e.proxies import Config, ProxyProcess, key_of
from tests.e2e.services import Conversation, ScriptedService, answering, sized

HANDSHAKES = 8
LINK_BEGINS = b"\xfbfp\x01"
MESSAGE_2_BYTES = 67
MIB = 1 << 20


@pytest.fixture(scope="module")
def service(shared_parties: Parties) -> ScriptedService:
    """The service behind everything here."""
    return shared_parties.service(answering(sized(b"hello")))


@pytest.fixture(scope="module")
def receiver(shared_parties: Parties, service: ScriptedService) -> ProxyProcess:
    """An in proxy that bounds handshakes tightly, and waits for none of them for long."""
    tight = {"handshakes": HANDSHAKES, "handshake_timeout_s": 2}
    return shared_parties.in_proxy(
        {"api": service.endpoint}, {"link": tight, "limits": {"header_timeout_s": 1}}
    )


@pytest.fixture(scope="module")
def out(shared_parties: Parties, receiver: ProxyProcess) -> ProxyProcess:
    """An out proxy with a link to it."""
    return shared_parties.out_proxy(("api",), receiver)


@pytest.fixture(autouse=True)
def unharmed(out: ProxyProcess) -> Iterator[None]:
    """The out proxy's first link goes on carrying calls through all of it."""
    assert call(out).status == 200
    yield
    assert call(out).status == 200
    assert out.metrics().total("fastproxy_links_opened_total") == 1


# --- other protocols ---------------------------------------------------------------------------------------


def test_plain_http_is_told_that_this_is_no_place_for_it(
    receiver: ProxyProcess, service: ScriptedService
) -> None:
    before = len(service.requests)
    answer = fetch(receiver.listen, "GET", "/api/")
    assert (answer.status, answer.cause) == (404, "not_an_envelope")
    assert len(service.requests) == before


def test_a_tls_client_gets_no_tls(receiver: ProxyProcess) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connected(receiver.listen) as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock)


def test_silence_and_handshakes_that_stop_are_given_up(receiver: ProxyProcess) -> None:
    """Also one without a record behind it: until there is one, somebody may have recorded the rest."""
    before = failures(receiver, cause="timeout")
    with ExitStack() as stack:
        begun = []
        for beginning in (b"", b"\xfb", b"\xfbfp", LINK_BEGINS, message_1()[:100], message_1()):
            sock = stack.enter_context(connected(receiver.listen))
            sock.sendall(beginning)
            begun.append(sock)
        said = [ending_of(sock).said for sock in begun]
    assert said[:-1] == [b""] * 5
    assert len(said[-1]) == MESSAGE_2_BYTES
    wait_for_failures(receiver, before + 5, cause="timeout")
    assert "handshake_timeout_s" in refusal_of(receiver, "timeout")


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xfb" + os.urandom(600),
        b"\xfbfp\x02" + bytes(100),  # what is said inside TLS
        LINK_BEGINS + b"\xff\xff",
        LINK_BEGINS + b"\x00\x00",
    ],
)
def test_garbage_that_begins_as_a_link_is_given_up_at_once(receiver: ProxyProcess, garbage: bytes) -> None:
    before = failures(receiver, cause="handshake")
    with connected(receiver.listen) as sock:
        sock.sendall(garbage)
        assert ending_of(sock).said == b""
    wait_for_failures(receiver, before + 1, cause="handshake")


# --- floods ------------------------------------------------------------------------------------------------


def addresses(count: int) -> list[str]:
    """Addresses of this machine, which are as good as others."""
    return [f"127.0.{number // 250}.{2 + number % 250}" for number in range(count)]


@pytest.mark.parametrize("sources", [1, 100])
def test_hanging_handshakes_keep_nobody_out(receiver: ProxyProcess, sources: int) -> None:
    """Far more of them than may be under way, from one address or many: honest ones go through at once."""
    before = failures(receiver)
    with ExitStack() as stack:
        for source in addresses(sources) * (200 // sources):
            sock = stack.enter_context(connected(receiver.listen, source))
            sock.sendall(message_1()[:50])
        wait_for_failures(receiver, before + 200 - HANDSHAKES)
        for number in range(5):
            with link(receiver.listen, source=f"127.0.9.{number + 1}", key=key_of("guest")) as guest:
                assert guest.call().status == 200
    assert "link.handshakes" in refusal_of(receiver, "half_open")


def test_a_flood_of_handshakes_from_one_address_is_limited_there_alone(
    parties: Parties, service: ScriptedService
) -> None:
    """They carry the right check, which whoever knows the receiver's public key can make, and no more."""
    limited = parties.in_proxy({"api": service.endpoint}, {"link": {"new_links_per_peer_per_s": 5}})
    message = message_1(key=key_of("stranger"))
    for _ in range(100):
        with connected(limited.listen, "127.0.0.2") as sock:
            sock.sendall(message)
            assert ending_of(sock).said == b""
    samples = limited.metrics()
    unknown = samples.total("fastproxy_link_handshake_failures_total", cause="unknown_caller")
    assert unknown + samples.total("fastproxy_link_handshake_failures_total", cause="rate") == 100
    assert unknown < 100
    assert "new_links_per_peer_per_s" in refusal_of(limited, "rate", peer="127.0.0.2")
    with link(limited.listen, source="127.0.0.3") as honest:
        assert honest.call().status == 200
    lines = limited.log.find(message="a link was refused", cause="rate")
    assert len(lines) < 100 - unknown  # not one for each


def test_floods_leave_no_memory_behind(receiver: ProxyProcess) -> None:
    def flood() -> None:
        for number in range(1000):
            with connected(receiver.listen, f"127.0.{number % 200}.{1 + number // 200}") as sock:
                sock.sendall(
                    message_1(key=key_of("stranger")) if number % 2 else LINK_BEGINS + os.urandom(40)
                )

    flood()
    before = receiver.memory_bytes("VmRSS")
    for _ in range(2):
        flood()
    assert receiver.memory_bytes("VmRSS") < before + 4 * MIB
    assert receiver.metrics().total("fastproxy_links_open") <= 1 + HANDSHAKES


# --- what isn't accepted -----------------------------------------------------------------------------------


TWO_WAYS: Config = {"services": {"http": {"transport": "http"}}}


def test_a_port_that_takes_no_links_says_so(parties: Parties, service: ScriptedService) -> None:
    only = {"listen": {"accept": ["http"]}}
    envelopes_only = parties.in_proxy({"api": service.endpoint, "http": service.endpoint}, only)
    out = parties.out_proxy(("api", "http"), envelopes_only, TWO_WAYS)
    before = len(service.requests)
    answer = call(out)
    assert (answer.status, answer.cause) == (502, "link_refused")
    assert "accept" in answer.problem["detail"]
    assert failures(out, cause="handshake") == 1
    assert len(service.requests) == before
    assert call(out, target="/http/").status == 200


def test_a_port_that_takes_links_only_says_so(
    parties: Parties, receiver: ProxyProcess, service: ScriptedService
) -> None:
    out = parties.out_proxy(("http",), receiver, TWO_WAYS)
    before, refused = len(service.requests), receiver.metrics().refusals("not_an_envelope")
    answer = call(out, target="/http/")
    assert (answer.status, answer.cause) == (502, "response_unsealed")
    assert len(service.requests) == before
    assert receiver.metrics().refusals("not_an_envelope") == refused + 1
    said = fetch(receiver.listen, "POST", "/fastproxy/v2", b"x").problem
    assert "links" in said["detail"]


@pytest.fixture(scope="module")
def both(shared_parties: Parties, service: ScriptedService) -> ProxyProcess:
    """An in proxy that takes both on one port."""
    services = {"api": service.endpoint, "http": service.endpoint}
    return shared_parties.in_proxy(services, {"listen": {"accept": ["link", "http"]}})


def test_a_middlebox_that_blocks_links_makes_no_out_proxy_speak_http(
    parties: Parties, both: ProxyProcess
) -> None:
    """The in proxy behind it takes envelopes as well, and they would get through."""
    heard: list[bytes] = []

    def let_http_through(conversation: Conversation) -> None:
        beginning = conversation.stream.read1(65536)  # type: ignore[attr-defined]
        heard.append(beginning)
        if not beginning.startswith(b"\xfb"):
            with Client(both.listen) as inner:
                inner.send(beginning)
                conversation.send(inner.stream.read1(65536))

    middlebox = parties.service(let_http_through)
    before = both.metrics().total("fastproxy_connections_accepted_total")
    out = parties.out_proxy(("api",), middlebox.endpoint)
    for _ in range(5):
        answer = call(out)
        assert answer.cause in ("link_refused", "connect_refused"), answer
    assert heard
    assert all(beginning.startswith(LINK_BEGINS) for beginning in heard)
    assert both.metrics().total("fastproxy_connections_accepted_total") == before


def test_links_and_envelopes_share_a_port(parties: Parties, both: ProxyProcess) -> None:
    out = parties.out_proxy(("api", "http"), both, TWO_WAYS)
    for target in ("/api/", "/http/") * 3:
        assert call(out, target=target).status == 200
    samples = both.metrics()
    assert samples.total("fastproxy_links_opened_total") == 1
    assert samples.total("fastproxy_sessions") == 1


# --- a blocked path ----------------------------------------------------------------------------------------


def test_a_closed_link_port_is_503_and_nothing_else_is_tried(parties: Parties) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        out = parties.out_proxy(("api",), f"127.0.0.1:{closed.getsockname()[1]}")
        answer = call(out)
    assert (answer.status, answer.cause) == (503, "connect_refused")


def test_a_path_that_says_nothing_is_given_up(parties: Parties, wire: Wire, receiver: ProxyProcess) -> None:
    out = parties.out_proxy(("api",), wire.lead_to(receiver.listen), {"link": {"handshake_timeout_s": 0.2}})
    with wire.changing(answered=lambda passage, number, message: ()):
        answer = call(out)
    assert (answer.status, answer.cause) == (502, "link_refused")
    assert failures(out, cause="timeout") == 1
