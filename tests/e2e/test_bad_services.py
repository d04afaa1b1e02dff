"""Services that answer garbage, half, slowly, too much, too early or not at all.

The caller gets an error of the table that names the in proxy and the cause; nobody else notices.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import body_pieces, read_head
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair
from tests.e2e.services import Conversation, Script, ScriptedService, answering, echo, resetting, sized

Services = dict[str, ScriptedService]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def saying(answer: bytes) -> Script:
    """A script that answers its first request with these bytes, and closes."""

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(answer)

    return script


GARBAGE = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "other version": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 0\n\n\r\n\r\n",
    "space before colon": b"HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc",
    "folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "control character": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
    "odd coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "more than it declares": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabcd",
    "two answers": sized(b"one") + sized(b"two"),
    "switch of protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
}
TOO_MUCH = {
    "large header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
    "endless header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 400_000,
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 101 + b"Content-Length: 0\r\n\r\n",
}
HALF = {
    "sized": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "chunks": CHUNKED + b"4\r\nhalf\r\n",
    "inside a chunk": CHUNKED + b"8\r\nhalf",
    "chunks that turn to garbage": CHUNKED + b"4\r\nhalf\r\n" + b"garbage\r\n",
    "chunk longer than it says": CHUNKED + b"4\r\nhalf and more\r\n0\r\n\r\n",
    "trailer that is none": CHUNKED + b"4\r\nhalf\r\n0\r\nno field\r\n\r\n",
    "trailer that must not be": CHUNKED + b"4\r\nhalf\r\n0\r\nContent-Length: 3\r\n\r\n",
}


def closing(conversation: Conversation) -> None:
    """Takes a request and closes without a word."""
    conversation.request()


def deaf(conversation: Conversation) -> None:
    """Closes as soon as somebody connects."""


def early(conversation: Conversation) -> None:
    """Refuses an upload after its head, reads no more of it, and closes."""
    head = read_head(conversation.stream)
    assert head.start.startswith("POST")
    conversation.send(sized(b"too big for me", "Connection: close", status="413 Content Too Large"))
    conversation.socket.shutdown(socket.SHUT_WR)
    conversation.until_gone()


def early_and_kept(conversation: Conversation) -> None:
    """Answers an upload after its head, as if it could go on."""
    read_head(conversation.stream)
    conversation.send(sized(b"no need to send more"))
    conversation.until_gone()


def hanging_up_between(conversation: Conversation) -> None:
    """Answers one request per connection, and closes the connection while it is idle."""
    conversation.request()
    conversation.send(sized(b"fine"))


def forgetful(conversation: Conversation) -> None:
    """Answers once per connection; takes the next request there and closes without an answer."""
    conversation.request()
    conversation.send(sized(b"fine"))
    conversation.request()


@pytest.fixture(scope="module")
def services(make_shared: Maker) -> Services:
    """Services by name."""
    scripts: dict[str, Script] = {
        "resetting": resetting,
        "closing": closing,
        "deaf": deaf,
        "early": early,
        "early-and-kept": early_and_kept,
        "between": hanging_up_between,
        "forgetful": forgetful,
        "echo": echo,
    }
    tables = {"garbage": GARBAGE, "too-much": TOO_MUCH, "half": HALF}
    for kind, table in tables.items():
        scripts |= {f"{kind}-{number}": saying(answer) for number, answer in enumerate(table.values())}
    return {name: make_shared.service(script) for name, script in scripts.items()}


@pytest.fixture(scope="module")
def refusing() -> Iterator[str]:
    """An address where nobody listens, and nobody else will."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{sock.getsockname()[1]}"


@pytest.fixture(scope="module")
def pair(make_shared: Maker, services: Services, nginx: Nginx, refusing: str) -> Pair:
    """A pair in front of all of them."""
    endpoints = {name: [service.endpoint] for name, service in services.items()}
    others = {"web": [nginx.endpoint], "lame": [refusing, nginx.endpoint], "dead": [refusing]}
    return make_shared.pair(endpoints | others)


@pytest.fixture(autouse=True)
def others_unharmed(pair: Pair) -> Iterator[None]:
    """A caller with a connection of its own doesn't notice what happens to others."""
    with Client(pair.address) as client:
        assert client.request("GET", "/web/hello").status == 200
        yield
        assert client.request("GET", "/web/hello").body == b"hello from nginx"


# --- answers that are none -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(GARBAGE)), ids=GARBAGE)
def test_garbage_never_reaches_the_caller(pair: Pair, number: int) -> None:
    answer = pair.fetch("GET", f"/garbage-{number}/")
    assert (answer.status, answer.cause, answer.problem["hop"]) == (502, "response_malformed", "in")


@pytest.mark.parametrize("number", range(len(TOO_MUCH)), ids=TOO_MUCH)
def test_a_header_section_over_the_limit_is_refused(pair: Pair, number: int) -> None:
    answer = pair.fetch("GET", f"/too-much-{number}/")
    assert (answer.status, answer.cause, answer.problem["hop"]) == (502, "response_too_large", "in")


@pytest.mark.parametrize("name", ["resetting", "closing"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_connection_lost_before_the_answer_is_told(
    pair: Pair, services: Services, name: str, method: str
) -> None:
    """What can be repeated without harm is repeated, once."""
    before = len(services[name].requests)
    answer = pair.fetch(method, f"/{name}/", b"content")
    assert (answer.status, answer.cause, answer.problem["hop"]) == (502, "connection_lost", "in")
    assert services[name].endpoint in answer.problem["detail"]
    assert len(services[name].requests) - before == (2 if method == "GET" else 1)


def test_a_service_that_closes_at_once_is_told(pair: Pair) -> None:
    """Whether the request was out before the end was seen is a race; either way it is told, and by whom."""
    answer = pair.fetch("POST", "/deaf/", b"content")
    assert (answer.status, answer.cause) in ((502, "connection_lost"), (503, "connect_refused"))
    assert answer.problem["hop"] == "in"


@pytest.mark.parametrize("number", range(len(HALF)), ids=HALF)
def test_an_answer_that_breaks_off_never_looks_whole(pair: Pair, number: int) -> None:
    answer = pair.fetch("GET", f"/half-{number}/")
    if answer.status == 200:  # its head had gone on before it broke
        assert not answer.whole
        assert b"half".startswith(answer.body)
    else:
        assert answer.status == 502
        assert answer.cause in ("connection_lost", "response_malformed")


# --- answers before the end of the request ----------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 50000000", "Transfer-Encoding: chunked"])
def test_an_early_refusal_reaches_the_caller_while_it_sends(
    pair: Pair, services: Services, framing: str
) -> None:
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/early/", headers=[framing]))
        answer = client.answer()
        assert (answer.status, answer.body) == (413, b"too big for me")
        assert answer.get("connection") == "close"
    services["early"].wait_for_connections(0)


def test_an_early_answer_ends_a_connection_that_still_expects_content(pair: Pair, services: Services) -> None:
    """The rest of the content must not be read as the next request, at either end."""
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/early-and-kept/", headers=["Content-Length: 1000"]) + b"x" * 10)
        assert client.answer().body == b"no need to send more"
        assert client.is_closed()
    services["early-and-kept"].wait_for_connections(0)


# --- kept connections ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_kept_connection_that_the_service_closed_is_replaced_silently(
    pair: Pair, services: Services, method: str
) -> None:
    service = services["between"]
    for _ in range(3):
        before = len(service.requests)
        assert pair.fetch(method, "/between/", b"content").body == b"fine"
        assert len(service.requests) == before + 1
        service.wait_for_connections(0)


def test_a_request_lost_on_a_kept_connection_is_repeated_only_if_that_does_no_harm(
    pair: Pair, services: Services
) -> None:
    service = services["forgetful"]
    assert pair.fetch("GET", "/forgetful/").body == b"fine"
    assert pair.fetch("GET", "/forgetful/").body == b"fine", "sent again on a new connection"
    assert len(service.requests) == 3
    answer = pair.fetch("POST", "/forgetful/", b"pay 100")
    assert (answer.status, answer.cause) == (502, "connection_lost")
    assert len(service.requests) == 4, "a payment must not be made twice"
    assert pair.inner.metrics().total("fastproxy_retries_total", service="forgetful") == 1


def test_connections_are_kept_and_used_again(pair: Pair, services: Services) -> None:
    before = services["echo"].connections
    for _ in range(10):
        assert pair.fetch("POST", "/echo/", b"content").body == b"content"
    assert services["echo"].connections == before + 1


def test_an_idle_connection_is_closed_in_time(make: Maker) -> None:
    service = make.service(answering(sized(b"fine")))
    limits = {"limits": {"endpoint_idle_timeout_s": 0.1}}
    pair = make.pair({"api": [service.endpoint]}, inner=limits)
    assert pair.fetch("GET", "/api/").status == 200
    service.wait_for_connections(0)
    assert pair.fetch("GET", "/api/").status == 200
    assert service.connections == 2


def test_a_service_that_speaks_unasked_loses_its_connection(make: Maker) -> None:
    """What it said while nothing was asked must not be taken for the answer to the next request."""
    go_on = threading.Semaphore(0)

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(sized(b"right"))
        assert go_on.acquire(timeout=10)
        conversation.send(sized(b"poison"))
        conversation.until_gone()

    service = make.service(script)
    pair = make.pair({"api": [service.endpoint]}, inner={"limits": {"endpoint_idle_timeout_s": 60}})
    for _ in range(3):
        assert pair.fetch("POST", "/api/", b"content").body == b"right"
        go_on.release()
        service.wait_for_connections(0)


# --- addresses ---------------------------------------------------------------------------------------------


def test_the_next_endpoint_is_tried_when_one_refuses(pair: Pair) -> None:
    answers = [pair.fetch("POST" if number % 2 else "GET", "/lame/hello") for number in range(6)]
    assert {answer.status for answer in answers} <= {200, 405}, "nginx itself refuses the POST"


def test_when_all_endpoints_refuse_the_address_is_named(pair: Pair, refusing: str) -> None:
    answer = pair.fetch("GET", "/dead/")
    assert (answer.status, answer.cause, answer.problem["hop"]) == (503, "connect_refused", "in")
    assert refusing in answer.problem["detail"]


def test_a_receiver_that_refuses_is_told_by_the_out_proxy(make: Maker, nginx: Nginx, refusing: str) -> None:
    receiver = {"receivers": {"in": {"endpoints": [refusing]}}}
    pair = make.pair({"web": [nginx.endpoint]}, out=receiver)
    answer = pair.fetch("GET", "/web/hello")
    assert (answer.status, answer.cause, answer.problem["hop"]) == (503, "connect_refused", "out")
    assert refusing in answer.problem["detail"]


def test_names_are_resolved_and_addresses_take_turns(make: Maker) -> None:
    services = [make.service(answering(sized(b"%d" % number))) for number in range(2)]
    endpoints = [services[0].endpoint, services[1].endpoint.replace("127.0.0.1", "localhost")]
    pair = make.pair({"api": endpoints})
    assert sorted(pair.fetch("GET", "/api/").body for _ in range(4)) == [b"0", b"0", b"1", b"1"]


def test_each_piece_of_an_answer_passes_before_the_next_one_is_made(make: Maker) -> None:
    nods = threading.Semaphore(0)

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(CHUNKED)
        for piece in (b"one", b"two", b"three"):
            conversation.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert nods.acquire(timeout=10)
        conversation.send(b"0\r\n\r\n")

    pair = make.pair({"api": [make.service(script).endpoint]})
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/api/"))
        head = read_head(client.stream)
        got = []
        for piece in body_pieces(client.stream, head, []):
            got.append(piece)
            nods.release()
        assert got == [b"one", b"two", b"three"]
