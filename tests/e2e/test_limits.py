"""Peers that are slow or want too much: each limit has its cause and its metric, and harms nobody else."""

from __future__ import annotations

import contextlib
import select
import threading
from contextlib import ExitStack

import pytest

from tests.e2e.client import Answer, Client, request_bytes
from tests.e2e.conftest import Gate, Maker
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Config, Pair
from tests.e2e.services import Conversation, ScriptedService, answering, echo, sized

MIB = 1 << 20

LIMITS = {
    "header_bytes": 4096,
    "header_count": 20,
    "target_bytes": 200,
    "body_bytes": 1000,
    "requests_per_connection": 3,
}
SHORT_TIMES = {"header_timeout_s": 0.5, "body_timeout_s": 0.5, "idle_timeout_s": 0.5}
"""For those who don't go on; whoever does needs less of it, however busy the machine."""


@pytest.fixture(scope="module")
def echo_service(make_shared: Maker) -> ScriptedService:
    """A service that sends back what it gets."""
    return make_shared.service(echo)


@pytest.fixture(scope="module")
def pair(make_shared: Maker, nginx: Nginx, echo_service: ScriptedService) -> Pair:
    """A pair whose out proxy grants little. `patient` reads a request to its end before it answers."""
    patient = make_shared.service(answering(sized(b"read")))
    services = {"web": nginx.endpoint, "echo": echo_service.endpoint, "patient": patient.endpoint}
    return make_shared.pair({name: [at] for name, at in services.items()}, out={"limits": LIMITS})


@pytest.fixture(scope="module")
def hasty(make_shared: Maker, nginx: Nginx) -> Pair:
    """A pair whose out proxy doesn't wait long."""
    patient = make_shared.service(answering(sized(b"read")))
    return make_shared.pair(
        {"web": [nginx.endpoint], "patient": [patient.endpoint]}, out={"limits": SHORT_TIMES}
    )


def refused(pair: Pair, request: bytes, cause: str) -> Answer:
    """Send what the out proxy refuses for this cause; that is counted and ends the connection."""
    before = pair.out.metrics().refusals(cause)
    with Client(pair.address) as client:
        client.send(request)
        answer = client.answer()
        assert (answer.cause, answer.problem["hop"]) == (cause, "out")
        assert answer.get("connection") == "close"
        assert client.is_closed()
    assert pair.out.metrics().refusals(cause) == before + 1
    assert pair.fetch("GET", "/web/hello").status == 200
    return answer


# --- too much ---------------------------------------------------------------------------------------------


def test_large_headers_are_refused(pair: Pair) -> None:
    big = request_bytes("GET", "/web/hello", headers=["X: " + "a" * 5000])
    assert refused(pair, big, "headers_too_large").status == 431
    endless = request_bytes("GET", "/web/hello", headers=["X: " + "a" * 1_000_000])[:-4]
    assert refused(pair, endless, "headers_too_large").status == 431


def test_many_headers_are_refused(pair: Pair) -> None:
    many = request_bytes("GET", "/web/hello", headers=["X: a"] * 20)
    assert refused(pair, many, "too_many_headers").status == 431


def test_long_targets_are_refused(pair: Pair) -> None:
    assert refused(pair, request_bytes("GET", "/web/" + "a" * 200), "target_too_long").status == 414


def test_a_large_sized_body_is_refused_before_it_comes(pair: Pair, echo_service: ScriptedService) -> None:
    before = len(echo_service.requests)
    request = request_bytes("POST", "/echo/", headers=["Content-Length: 1001"])
    assert refused(pair, request, "body_too_large").status == 413
    assert len(echo_service.requests) == before


def test_a_large_chunked_body_is_refused_when_it_has_come_too_far(pair: Pair) -> None:
    request = request_bytes("POST", "/patient/", headers=["Transfer-Encoding: chunked"])
    chunk = b"1f4\r\n" + b"x" * 500 + b"\r\n"
    assert refused(pair, request + chunk * 3, "body_too_large").status == 413


def test_a_body_at_the_limit_passes(pair: Pair) -> None:
    assert pair.fetch("POST", "/echo/", b"x" * 1000).body == b"x" * 1000


def test_a_connection_carries_so_many_requests_and_no_more(pair: Pair) -> None:
    with Client(pair.address) as client:
        connection = [client.request("GET", "/web/hello").get("connection") for _ in range(3)]
        assert connection == ["", "", "close"]
        assert client.is_closed()


# --- slow senders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("beginning", [b"G", b"GET /web/hello HTTP/1.1\r\nHost: x\r\n"])
def test_a_header_section_that_does_not_end_is_given_up(hasty: Pair, beginning: bytes) -> None:
    assert refused(hasty, beginning, "header_timeout").status == 408


def test_a_dripping_header_section_is_given_up(hasty: Pair) -> None:
    """Each byte comes in time, and yet the whole doesn't."""
    head = request_bytes("GET", "/web/hello", headers=["X: " + "a" * 3000])
    stop = threading.Event()
    with Client(hasty.address) as client:

        def drip() -> None:
            with contextlib.suppress(OSError):  # nobody reads it any more, once it is given up
                for byte in head[:-4]:
                    if stop.wait(0.002):
                        return
                    client.send(bytes([byte]))

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert client.answer().cause == "header_timeout"
        finally:
            stop.set()
            thread.join()


def test_a_body_that_stops_coming_is_given_up(hasty: Pair) -> None:
    request = request_bytes("POST", "/patient/", headers=["Content-Length: 100"]) + b"half"
    with Client(hasty.address) as client:
        client.send(request)
        answer = client.answer()
        assert (answer.status, answer.cause) == (408, "body_timeout")
        assert client.is_closed()
    assert hasty.out.metrics().refusals("body_timeout") == 1


def test_a_silent_connection_is_closed_without_a_word(hasty: Pair) -> None:
    with Client(hasty.address) as client:
        assert client.is_closed()
    with Client(hasty.address) as client:
        assert client.request("GET", "/web/hello").status == 200
        assert client.is_closed()


def test_a_caller_that_vanishes_inside_its_body_leaves_nothing_open(
    pair: Pair, echo_service: ScriptedService
) -> None:
    before = len(echo_service.requests)
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/gone", headers=["Content-Length: 100"]) + b"half")
        echo_service.wait_for_requests(before + 1)
    echo_service.wait_for_connections(0)
    pair.out.access.wait_for(path="/echo/gone")


# --- slow readers -----------------------------------------------------------------------------------------


def flooding(conversation: Conversation) -> None:
    """Answers with 256 MiB, as fast as somebody takes them."""
    conversation.request()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (256 * MIB))
    block = bytes(MIB)
    for _ in range(256):
        conversation.send(block)


def test_a_slow_reader_costs_little_memory_and_is_given_up(make: Maker) -> None:
    service = make.service(flooding)
    quick = {"limits": {"write_timeout_s": 0.5}}
    pair = make.pair({"api": [service.endpoint]}, out=quick)
    assert pair.fetch("GET", "/api/none", headers=["fastproxy-timeout-ms: 1"]).status in (200, 504)
    peaks = [proxy.begin_peak() for proxy in (pair.out, pair.inner)]
    with Client(pair.address, receive_bytes=65_536) as client:
        client.send(request_bytes("GET", "/api/"))
        pair.out.access.wait_for(path="/api/")  # given up: the line is written when an exchange is over
        answer = client.answer()
        assert (answer.status, answer.whole) == (200, False)
    for proxy, before in zip((pair.out, pair.inner), peaks, strict=True):
        assert proxy.memory_bytes("VmHWM") - before < 8 * MIB
    service.wait_for_connections(0)


def send_until_answered(client: Client, size: int) -> int:
    """Send whenever there is room for more, up to `size` bytes; return how many were sent by the answer."""
    sent = 0
    while sent < size:
        answered, _, _ = select.select([client.socket], [client.socket], [])
        if answered:
            break
        sent += client.socket.send(bytes(65_536))
    return sent


def test_a_slow_service_makes_its_caller_wait_and_costs_little_memory(make: Maker) -> None:
    over = threading.Event()

    def script(conversation: Conversation) -> None:
        conversation.stream.read(100_000)
        over.wait(10)

    service = make.service(script)
    pair = make.pair({"api": [service.endpoint]}, out={"defaults": {"timeout_s": 1}})
    pair.fetch("GET", "/api/none", headers=["fastproxy-timeout-ms: 1"])
    peaks = [proxy.begin_peak() for proxy in (pair.out, pair.inner)]
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/api/", headers=[f"Content-Length: {256 * MIB}"]))
        sent = send_until_answered(client, 256 * MIB)
        assert client.answer().cause == "deadline_exceeded"
    over.set()
    assert sent < 64 * MIB, "the sockets' buffers hold some of it"
    for proxy, before in zip((pair.out, pair.inner), peaks, strict=True):
        assert proxy.memory_bytes("VmHWM") - before < 8 * MIB


# --- too many ---------------------------------------------------------------------------------------------


def held(stack: ExitStack, pair: Pair, gate: Gate, count: int) -> list[Client]:
    """Bring that many exchanges under way; the service has them all."""
    before = len(gate.service.requests)
    clients = [stack.enter_context(Client(pair.address)) for _ in range(count)]
    for client in clients:
        client.send(request_bytes("GET", "/api/"))
    gate.service.wait_for_requests(before + count)
    return clients


@pytest.mark.parametrize("hop", ["out", "in"])
def test_exchanges_in_flight_are_limited(make: Maker, gate: Gate, hop: str) -> None:
    limit = {"limits": {"in_flight": 3}}
    pair = make.pair(
        {"api": [gate.service.endpoint]},
        out=limit if hop == "out" else None,
        inner=limit if hop == "in" else None,
    )
    with ExitStack() as stack:
        clients = held(stack, pair, gate, 3)
        answer = pair.fetch("GET", "/api/")
        assert (answer.status, answer.cause, answer.problem["hop"]) == (503, "overloaded", hop)
        assert answer.get("retry-after") == "1"
        gate.open.set()
        assert [client.answer().body for client in clients] == [b"at last"] * 3
    assert pair.fetch("GET", "/api/").status == 200
    assert (pair.out if hop == "out" else pair.inner).metrics().refusals("overloaded") == 1


@pytest.mark.parametrize("setting", ["connections", "connections_per_peer"])
def test_connections_are_limited(make: Maker, nginx: Nginx, setting: str) -> None:
    pair = make.pair({"web": [nginx.endpoint]}, out={"limits": {setting: 3}})
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pair.address)) for _ in range(3)]
        assert [client.request("GET", "/web/hello").status for client in clients] == [200] * 3
        with Client(pair.address) as client:
            answer = client.answer()
            assert (answer.status, answer.cause) == (503, "too_many_connections")
            assert client.is_closed()
        if setting == "connections_per_peer":
            with Client(pair.address, source="127.0.0.9") as other:
                assert other.request("GET", "/web/hello").status == 200
        assert clients[0].request("GET", "/web/hello").status == 200
        clients[0].close()
        assert pair.out.metrics().refusals("too_many_connections") == 1
    assert pair.fetch("GET", "/web/hello").status == 200


def test_connections_to_a_service_are_limited_and_so_is_the_line_for_them(make: Maker, gate: Gate) -> None:
    limits = {"limits": {"connections_per_endpoint": 2, "waiting_per_endpoint": 1}}
    pair = make.pair({"api": [gate.service.endpoint]}, inner=limits)
    with ExitStack() as stack:
        clients = held(stack, pair, gate, 2)
        waiting = stack.enter_context(Client(pair.address))
        waiting.send(request_bytes("GET", "/api/"))
        pair.inner.wait_for_gauge("fastproxy_in_flight", 3)
        answer = pair.fetch("GET", "/api/")
        assert (answer.status, answer.cause, answer.problem["hop"]) == (503, "pool_exhausted", "in")
        gate.open.set()
        assert [client.answer().body for client in [*clients, waiting]] == [b"at last"] * 3
    assert gate.service.connections == 2


def test_a_reset_in_the_middle_of_everything_leaves_nothing_open(make: Maker, gate: Gate) -> None:
    pair = make.pair({"api": [gate.service.endpoint]})
    with ExitStack() as stack:
        for client in held(stack, pair, gate, 10):
            client.reset()
    for proxy in (pair.out, pair.inner):
        proxy.wait_for_gauge("fastproxy_in_flight", 0)
    gate.open.set()
    assert pair.fetch("GET", "/api/").status == 200


def test_garbage_at_the_callers_side_is_answered_and_ends_the_connection(pair: Pair) -> None:
    for garbage in (b"\x16\x03\x01\x02\x00\x01" + bytes(100) + b"\r\n\r\n", b"hello\r\n\r\n", b"GET\r\n\r\n"):
        assert refused(pair, garbage, "malformed_request").status == 400


def test_what_callers_say_is_not_kept_however_much_it_varies(make: Maker) -> None:
    """Heads are remembered in case that they come again; those that never do must not fill the memory."""
    quiet: Config = {"log": {"access": "off"}}
    service = make.service(answering(sized(b"")))
    pair = make.pair({"api": [service.endpoint]}, out=quiet, inner=quiet)

    def vary(client: Client, count: int, size: int) -> None:
        for number in range(count):
            filling = f"X-Filling: {size}-{number}-{'x' * size}"
            assert client.request("GET", "/api/", headers=[filling]).status == 200

    with Client(pair.address) as client:
        vary(client, 600, 500)
        peaks = [proxy.begin_peak() for proxy in (pair.out, pair.inner)]
        vary(client, 2500, 501)
        vary(client, 200, 25_000)
    for proxy, before in zip((pair.out, pair.inner), peaks, strict=True):
        assert proxy.memory_bytes("VmHWM") - before < 4 * MIB
