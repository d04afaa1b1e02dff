"""Upgrades through both proxies: a connection that has left HTTP, as a WebSocket does, and how it ends."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.e2e.client import Client, Uploader, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import Head, Message, read_head
from tests.e2e.proxies import Config, Pair
from tests.e2e.services import Conversation, Script, ScriptedService, sized

Services = dict[str, ScriptedService]

MIB = 1 << 20
SHORT_S = 0.5
GRACE: Config = {"drain": {"grace_s": 8}}
BRIEF: Config = {"drain": {"grace_s": 0.1}}
NO_BODIES: Config = {"body_bytes": 1}
"""What is said in a tunnel is no body."""

ASK = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Protocol: chat",
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def asked(conversation: Conversation) -> Head:
    """Read a request for another protocol, and note it."""
    head = read_head(conversation.stream)
    conversation.service.note(Message(head.start, head.fields))
    return head


def talk(conversation: Conversation) -> None:
    """Goes over to the other protocol and says what is said to it, until the other side ends."""
    asked(conversation)
    conversation.send(SWITCH)
    while said := conversation.stream.read1(65_536):  # type: ignore[attr-defined]
        conversation.send(said)
    conversation.socket.shutdown(socket.SHUT_WR)
    conversation.until_gone()


def greet(conversation: Conversation) -> None:
    """Has something to say at once, in the same write as the 101, and ends its side first."""
    asked(conversation)
    conversation.send(SWITCH + b"hello")
    conversation.socket.shutdown(socket.SHUT_WR)
    heard = conversation.stream.read()
    conversation.service.note(Message("heard", body=heard))


def hush(conversation: Conversation) -> None:
    """Goes over, ends its side, and resets the connection at the first word."""
    asked(conversation)
    conversation.send(SWITCH)
    conversation.socket.shutdown(socket.SHUT_WR)
    conversation.stream.read1(1)  # type: ignore[attr-defined]
    conversation.reset()


def reset(conversation: Conversation) -> None:
    """Goes over, and resets the connection at the first word."""
    asked(conversation)
    conversation.send(SWITCH)
    conversation.stream.read1(1)  # type: ignore[attr-defined]
    conversation.reset()


def decline(conversation: Conversation) -> None:
    """Stays with HTTP."""
    while True:
        asked(conversation)
        conversation.send(sized(b"not here", status="426 Upgrade Required"))


def answering_with(answer: bytes) -> Script:
    """A script that answers one request with these bytes."""

    def script(conversation: Conversation) -> None:
        asked(conversation)
        conversation.send(answer)
        conversation.until_gone()

    return script


ODD_SWITCHES = {
    "another protocol": SWITCH.replace(b"websocket", b"irc"),
    "no protocol": SWITCH.replace(b"Upgrade: websocket\r\n", b""),
    "not in Connection": SWITCH.replace(b"Connection: Upgrade\r\n", b""),
    "with a length": SWITCH.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc"),
}


@pytest.fixture(scope="module")
def services(make_shared: Maker) -> Services:
    """Services by name."""
    scripts: dict[str, Script] = {
        "talk": talk,
        "secret": talk,
        "greet": greet,
        "reset": reset,
        "hush": hush,
        "decline": decline,
        "silent": lambda conversation: conversation.until_gone(),
    }
    scripts |= {f"odd-{at}": answering_with(answer) for at, answer in enumerate(ODD_SWITCHES.values())}
    return {name: make_shared.service(script) for name, script in scripts.items()}


@pytest.fixture(scope="module")
def pair(make_shared: Maker, services: Services) -> Pair:
    """A pair in front of all of them. `talk` may be called with GET under /open, and has little time."""
    privileges = [
        {"callers": ["web"], "services": ["talk"], "methods": ["GET"], "paths": ["/open/**"]},
        {"callers": ["web"], "services": sorted(set(services) - {"talk", "secret"})},
    ]
    return make_shared.pair(
        {name: [service.endpoint] for name, service in services.items()},
        out={
            "services": {"talk": {"timeout_s": SHORT_S}, "silent": {"timeout_s": SHORT_S}},
            "limits": NO_BODIES,
        },
        inner={"privileges": privileges, "limits": NO_BODIES},
    )


def ask(client: Client, target: str) -> Head:
    """Ask to go over to the other protocol; returns the head of the answer."""
    client.send(request_bytes("GET", target, headers=ASK))
    return read_head(client.stream)


@contextmanager
def tunnel(pair: Pair, target: str = "/talk/open/") -> Iterator[Client]:
    """A connection that has left HTTP."""
    with Client(pair.address) as client:
        assert ask(client, target).start.startswith("HTTP/1.1 101 ")
        yield client


def said_back(client: Client, said: bytes) -> None:
    """Say something and hear it."""
    client.send(said)
    assert client.stream.read(len(said)) == said


def wait_for_nothing_under_way(pair: Pair) -> None:
    """No exchange, and no stream on the link."""
    for proxy in (pair.out, pair.inner):
        proxy.wait_for_gauge("fastproxy_in_flight", 0)
        proxy.wait_for_gauge("fastproxy_link_streams_open", 0)


# --- going over -------------------------------------------------------------------------------------------


def test_the_handshake_passes_as_it_is(pair: Pair, services: Services) -> None:
    with Client(pair.address) as client:
        head = ask(client, "/talk/open/chat?room=1")
        got = services["talk"].last
        assert got.start == "GET /open/chat?room=1 HTTP/1.1"
        assert (got.get("connection").lower(), got.get("upgrade")) == ("upgrade", "websocket")
        assert got.get("sec-websocket-key") == "dGhlIHNhbXBsZSBub25jZQ=="
        assert got.get("sec-websocket-protocol") == "chat"
        assert got.get("fastproxy-caller") == "web"
        assert head.start.startswith("HTTP/1.1 101 ")
        assert (head.get("connection").lower(), head.get("upgrade")) == ("upgrade", "websocket")
        assert head.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert (head.all("content-length"), head.all("transfer-encoding")) == ([], [])
        for said in (b"\x00", b"GET /secret/ HTTP/1.1\r\n\r\n", b"0\r\n\r\n", b"\xff" * 70_000):
            said_back(client, said)


def test_an_upgrade_needs_the_privilege_of_its_route(pair: Pair, services: Services) -> None:
    for target in ("/talk/shut/", "/secret/"):
        with Client(pair.address) as client:
            client.send(request_bytes("GET", target, headers=ASK))
            answer = client.answer()
            assert (answer.status, answer.cause, answer.problem["hop"]) == (403, "no_privilege", "in")
    assert services["secret"].requests == []


def test_what_is_said_early_is_not_lost(pair: Pair) -> None:
    """The caller doesn't wait for the 101, the service speaks together with it."""
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/talk/open/", headers=ASK) + b"early")
        assert read_head(client.stream).start.startswith("HTTP/1.1 101 ")
        assert client.stream.read(5) == b"early"
    with tunnel(pair, "/greet/") as client:
        assert client.stream.read(5) == b"hello"


def test_a_service_may_stay_with_http_and_so_does_the_connection(pair: Pair) -> None:
    with Client(pair.address) as client:
        for _ in range(3):
            answer = client.request("GET", "/decline/", headers=ASK)
            assert (answer.status, answer.body) == (426, b"not here")
    wait_for_nothing_under_way(pair)


@pytest.mark.parametrize("number", range(len(ODD_SWITCHES)), ids=ODD_SWITCHES)
def test_a_change_of_protocol_must_be_what_was_asked_for(pair: Pair, services: Services, number: int) -> None:
    with Client(pair.address) as client:
        client.send(request_bytes("GET", f"/odd-{number}/", headers=ASK))
        answer = client.answer()
        assert (answer.status, answer.cause, answer.problem["hop"]) == (502, "response_malformed", "in")
    services[f"odd-{number}"].wait_for_connections(0)


def test_a_service_that_does_not_answer_is_given_up(pair: Pair, services: Services) -> None:
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/silent/", headers=ASK))
        assert client.answer().cause == "deadline_exceeded"
    services["silent"].wait_for_connections(0)


def test_a_tunnel_outlives_the_deadline_of_its_request(pair: Pair) -> None:
    with tunnel(pair) as client:
        said_back(client, b"before")
        assert pair.fetch("GET", "/silent/").cause == "deadline_exceeded", (
            "which was as short, and began later"
        )
        said_back(client, b"after")


def test_over_http_nothing_but_http_is_carried(make: Maker, services: Services) -> None:
    pair = make.pair(
        {"talk": [services["talk"].endpoint]},
        out={"defaults": {"transport": "http"}},
        inner={"listen": {"accept": ["http"]}},
    )
    before = len(services["talk"].requests)
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/talk/open/", headers=ASK))
        answer = client.answer()
        assert (answer.status, answer.cause, answer.problem["hop"]) == (501, "upgrade_unsupported", "out")
    assert len(services["talk"].requests) == before


# --- passing bytes ----------------------------------------------------------------------------------------


def test_a_few_megabytes_pass_both_ways_at_once(pair: Pair, services: Services) -> None:
    block, size = random.Random(3).randbytes(65_536), 6 * MIB
    with tunnel(pair) as client, Uploader(client, block, size) as uploader:
        uploader.start()
        assert client.stream.read(size) == block * (size // len(block))
    services["talk"].wait_for_connections(0)


def test_who_does_not_listen_makes_the_other_side_wait(pair: Pair) -> None:
    """What nobody reads stays with its sender: the proxies hold no more than their windows."""
    peaks = [proxy.begin_peak() for proxy in (pair.out, pair.inner)]
    with tunnel(pair) as client:
        client.socket.settimeout(1)
        sent = 0
        with suppress(TimeoutError):
            while sent < 256 * MIB:
                sent += client.socket.send(bytes(65_536))
        assert sent < 64 * MIB, "sockets and windows hold some of it, both ways"
        assert pair.fetch("GET", "/decline/").status == 426, "nobody else waits"
    for proxy, before in zip((pair.out, pair.inner), peaks, strict=True):
        assert proxy.memory_bytes("VmHWM") - before < 12 * MIB
    wait_for_nothing_under_way(pair)


def test_tunnels_count_as_exchanges_in_flight(make: Maker, services: Services) -> None:
    pair = make.pair({"talk": [services["talk"].endpoint]}, inner={"limits": {"in_flight": 2}})
    with tunnel(pair) as first, tunnel(pair) as second:
        assert [proxy.metrics().total("fastproxy_in_flight") for proxy in (pair.out, pair.inner)] == [2, 2]
        answer = pair.fetch("GET", "/talk/open/")
        assert (answer.status, answer.cause, answer.problem["hop"]) == (503, "overloaded", "in")
        said_back(first, b"first")
        said_back(second, b"second")
    wait_for_nothing_under_way(pair)
    with tunnel(pair) as client:
        said_back(client, b"again")


# --- the end ----------------------------------------------------------------------------------------------


def test_the_callers_end_reaches_the_service_and_its_own_end_comes_back(
    pair: Pair, services: Services
) -> None:
    with tunnel(pair, "/talk/open/last") as client:
        client.send(b"last words")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.stream.read() == b"last words", "what was under way, then the end"
    services["talk"].wait_for_connections(0)
    wait_for_nothing_under_way(pair)
    line = pair.out.access.wait_for(path="/talk/open/last")
    assert (line["status"], line["bytes_in"], line["bytes_out"]) == (101, 10, 10)
    assert "cause" not in line


def test_the_services_end_reaches_the_caller_who_may_go_on(pair: Pair, services: Services) -> None:
    before = len(services["greet"].requests)
    with tunnel(pair, "/greet/") as client:
        assert client.stream.read() == b"hello", "up to the end of the service's side"
        client.send(b"one ")
        client.send(b"two")
        client.socket.shutdown(socket.SHUT_WR)
        services["greet"].wait_for_requests(before + 2)
    assert services["greet"].last.body == b"one two"
    services["greet"].wait_for_connections(0)
    wait_for_nothing_under_way(pair)


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_caller_that_is_gone_takes_the_tunnel_along(pair: Pair, services: Services, how: str) -> None:
    with tunnel(pair) as client:
        said_back(client, b"hello")
        client.close() if how == "close" else client.reset()
    services["talk"].wait_for_connections(0)
    wait_for_nothing_under_way(pair)


def test_a_service_that_is_gone_takes_the_tunnel_along(pair: Pair, services: Services) -> None:
    with tunnel(pair, "/reset/") as client:
        client.send(b"x")
        assert client.is_closed()
        wait_for_nothing_under_way(pair)
    services["reset"].wait_for_connections(0)


def test_a_service_that_goes_after_its_end_takes_the_tunnel_along(pair: Pair, services: Services) -> None:
    """It has nothing more to say: only writing tells that nobody listens any more either."""
    with tunnel(pair, "/hush/") as client:
        assert client.stream.read() == b""
        with suppress(ConnectionError):
            while True:
                client.send(b"x")
        wait_for_nothing_under_way(pair)
    services["hush"].wait_for_connections(0)


def test_a_tunnel_in_which_nobody_speaks_is_closed(make: Maker, services: Services) -> None:
    pair = make.pair(
        {"talk": [services["talk"].endpoint]}, out={"limits": {"tunnel_idle_timeout_s": SHORT_S}}
    )
    with tunnel(pair) as client:
        said_back(client, b"hello")
        assert client.is_closed()
    services["talk"].wait_for_connections(0)
    wait_for_nothing_under_way(pair)
    (line,) = pair.out.access.wait_for_lines(1, path="/talk/open/")
    assert line["cause"] == "tunnel_idle"


def test_the_in_proxy_closes_a_tunnel_in_which_nobody_speaks_by_its_own_limit(
    make: Maker, services: Services
) -> None:
    pair = make.pair(
        {"talk": [services["talk"].endpoint]}, inner={"limits": {"tunnel_idle_timeout_s": SHORT_S}}
    )
    with tunnel(pair) as client:
        assert client.is_closed()
    services["talk"].wait_for_connections(0)
    wait_for_nothing_under_way(pair)
    (line,) = pair.inner.access.wait_for_lines(1, path="/open/")
    assert line["cause"] == "tunnel_idle"


# --- draining ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hop", ["out", "inner"])
def test_a_proxy_that_drains_lets_a_tunnel_end_in_its_own_time(
    make: Maker, services: Services, hop: str
) -> None:
    pair = make.pair({"talk": [services["talk"].endpoint]}, out=GRACE, inner=GRACE)
    with tunnel(pair) as client:
        said_back(client, b"before")
        proxy = pair.out if hop == "out" else pair.inner
        proxy.signal()
        proxy.log.wait_for(message="draining")
        said_back(client, b"while it drains")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.stream.read() == b""
    assert proxy.wait() == 0
    assert proxy.log.find(message="grace period over") == []


@pytest.mark.parametrize("hop", ["out", "inner"])
def test_a_tunnel_that_does_not_end_is_cut(make: Maker, services: Services, hop: str) -> None:
    pair = make.pair({"talk": [services["talk"].endpoint]}, out=BRIEF, inner=BRIEF)
    closed = threading.Event()
    with tunnel(pair) as client:
        proxy = pair.out if hop == "out" else pair.inner
        proxy.signal()
        assert client.is_closed()
        closed.set()
        assert proxy.wait() == 0
    assert proxy.log.find(message="grace period over", cut=1)
    services["talk"].wait_for_connections(0)
