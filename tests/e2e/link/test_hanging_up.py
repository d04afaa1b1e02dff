"""Who hangs up, wherever the exchange stands: callers take their call along, services leave a broken body."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.client import Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import CutError, Message, body_pieces, read_head
from tests.e2e.proxies import Pair
from tests.e2e.services import Conversation, Script, ScriptedService, sized

Services = dict[str, ScriptedService]

CALLS = 20
CANCELLED_WITHIN_S = 0.1
"""Held in `make test-long`; in `make test` the machine may be busy with other things."""
GENEROUS_S = 5.0
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Watched:
    """A service that notes when its connections end; each script comes to where the caller hangs up."""

    def __init__(self, make: Maker, until_there: Callable[[Conversation], None]) -> None:
        self._until_there = until_there
        self._there = threading.Semaphore(0)
        self._ended = threading.Semaphore(0)
        self._ended_s = 0.0
        self.service = make.service(self._script)

    def _script(self, conversation: Conversation) -> None:
        self._until_there(conversation)
        self._there.release()
        conversation.until_gone()
        self._ended_s = time.monotonic()
        self._ended.release()

    def hang_up(self, client: Client, how: Callable[[Client], None]) -> float:
        """Hang up once the service is there; return the seconds until it had learned."""
        assert self._there.acquire(timeout=10)
        hung_up_s = time.monotonic()
        how(client)
        assert self._ended.acquire(timeout=10)
        return self._ended_s - hung_up_s


def waiting(conversation: Conversation) -> None:
    """Has the request, and thinks."""
    conversation.request()


def reading(conversation: Conversation) -> None:
    """Is in the middle of the request's body."""
    read_head(conversation.stream)
    assert conversation.stream.read(4) == b"half"


def answering(conversation: Conversation) -> None:
    """Is in the middle of its answer."""
    conversation.request()
    conversation.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def streaming(conversation: Conversation) -> None:
    """Is in the middle of an answer of unknown length, and of the request's body."""
    head = read_head(conversation.stream)
    conversation.send(CHUNKED + b"4\r\nhalf\r\n")
    assert next(body_pieces(conversation.stream, head, [])) == b"half"


SIZED_PART = ["Content-Length: 100"], b"half"
CHUNKED_PART = ["Transfer-Encoding: chunked"], b"4\r\nhalf\r\n"
WHOLE = ["Content-Length: 7"], b"content"
PLACES = {
    "waiting": (waiting, WHOLE, False),
    "reading": (reading, SIZED_PART, False),
    "answering": (answering, WHOLE, True),
    "streaming": (streaming, CHUNKED_PART, True),
}
"""Where the caller hangs up, by the service's name: its script, what is sent, whether an answer is begun."""


@pytest.fixture(scope="module")
def watched(make_shared: Maker) -> dict[str, Watched]:
    """Services by the place to which they come."""
    return {name: Watched(make_shared, until_there) for name, (until_there, *_) in PLACES.items()}


def hang_ups(
    pair: Pair, watched: dict[str, Watched], place: str, how: Callable[[Client], None], count: int
) -> list[float]:
    """Hang up so often; return how long the service took to learn of it each time."""
    _, (fields, content), has_answer = PLACES[place]
    times_s = []
    for _ in range(count):
        with Client(pair.address) as client:
            client.send(request_bytes("POST", f"/{place}/", headers=fields) + content)
            if has_answer:
                head = read_head(client.stream)
                assert next(body_pieces(client.stream, head, [])) == b"half"
            times_s.append(watched[place].hang_up(client, how))
    for proxy in (pair.out, pair.inner):
        proxy.wait_for_gauge("fastproxy_in_flight", 0)
        proxy.wait_for_gauge("fastproxy_link_streams_open", 0)
    assert pair.out.metrics().total("fastproxy_links_opened_total") == 1, "nobody else on the link noticed"
    return times_s


@pytest.mark.parametrize("how", [Client.close, Client.reset], ids=["closes", "resets"])
@pytest.mark.parametrize("place", PLACES)
def test_a_caller_that_hangs_up_takes_its_call_along(
    pair: Pair, watched: dict[str, Watched], place: str, how: Callable[[Client], None]
) -> None:
    assert max(hang_ups(pair, watched, place, how, 5)) < GENEROUS_S


@pytest.mark.long
@pytest.mark.parametrize("place", PLACES)
def test_the_service_learns_of_it_at_once(pair: Pair, watched: dict[str, Watched], place: str) -> None:
    times_s = hang_ups(pair, watched, place, Client.reset, CALLS)
    assert statistics.median(times_s) < CANCELLED_WITHIN_S
    assert sum(each < CANCELLED_WITHIN_S for each in times_s) >= CALLS * 0.9


def test_a_caller_that_hangs_up_in_line_takes_nothing_from_others(make: Maker) -> None:
    """Calls that wait for a connection to the service: those that are given up leave the line."""
    go_on = threading.Event()

    def script(conversation: Conversation) -> None:
        while True:
            conversation.request()
            assert go_on.wait(20)
            conversation.send(sized(b"served"))

    service = make.service(script)
    pair = make.pair({"api": [service.endpoint]}, inner={"limits": {"connections_per_endpoint": 1}})
    clients = [Client(pair.address) for _ in range(12)]
    for client in clients:
        client.send(request_bytes("POST", "/api/", b"x"))
    pair.inner.wait_for_gauge("fastproxy_in_flight", len(clients))
    service.wait_for_requests(1)
    for client in clients[::2]:
        client.reset()
    pair.inner.wait_for_gauge("fastproxy_in_flight", len(clients) // 2)
    go_on.set()
    assert [client.answer().body for client in clients[1::2]] == [b"served"] * (len(clients) // 2)
    for client in clients[1::2]:
        client.close()


# --- services that die ------------------------------------------------------------------------------------


def dying(answer: bytes, last_deed: Callable[[Conversation], None]) -> Script:
    """A script that sends a part of an answer and dies once the caller has it."""

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(answer)
        conversation.service.note(Message("sent"))
        assert GOES_ON.acquire(timeout=20)
        last_deed(conversation)

    return script


GOES_ON = threading.Semaphore(0)
SIZED = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
ENDINGS: dict[str, Script] = {
    f"{framing}-{deed.__name__}": dying(head + piece, deed)
    for framing, head, piece in (
        ("sized", SIZED, b"x" * 100_000),
        ("chunked", CHUNKED, b"186a0\r\n" + b"x" * 100_000 + b"\r\n"),
        ("inside-a-chunk", CHUNKED, b"f4240\r\n" + b"x" * 100_000),
    )
    for deed in (Conversation.close, Conversation.reset)
}


@pytest.fixture(scope="module")
def services(make_shared: Maker) -> Services:
    """Services by how they end."""
    return {name: make_shared.service(script) for name, script in ENDINGS.items()}


@pytest.fixture(scope="module")
def pair(make_shared: Maker, services: Services, watched: dict[str, Watched]) -> Pair:
    """A pair in front of all of them."""
    everybody = services | {name: each.service for name, each in watched.items()}
    return make_shared.pair({name: [service.endpoint] for name, service in everybody.items()})


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("name", ENDINGS)
def test_a_service_that_dies_inside_its_answer_leaves_a_broken_body(
    pair: Pair, name: str, version: str
) -> None:
    with Client(pair.address) as client:
        client.send(request_bytes("GET", f"/{name}/", version=version))
        head = read_head(client.stream)
        assert head.start == "HTTP/1.1 200 OK"
        pieces = body_pieces(client.stream, head, [], until_close=True)
        got = next(pieces)
        GOES_ON.release()
        with pytest.raises((CutError, ConnectionResetError)):  # or it could be taken for the whole
            got = b"".join((got, *pieces))
        assert got.strip(b"x") == b""
    line = pair.out.access.wait_for(service=name)
    assert line["cause"] == "connection_lost"
    for proxy in (pair.out, pair.inner):
        proxy.wait_for_gauge("fastproxy_link_streams_open", 0)
