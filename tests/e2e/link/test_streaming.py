"""HTTP/1.1 both ways at once over a link: what one side says arrives before the next thing is said."""

from __future__ import annotations

import threading

import pytest

from tests.e2e.client import Client, Uploader, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import Head, Message, body_pieces, chunked, read_head
from tests.e2e.proxies import Pair
from tests.e2e.services import Conversation, Script, ScriptedService, answering, echo, sized

Services = dict[str, ScriptedService]

MIB = 1 << 20
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
HINT = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\nLink: </app.js>\r\nX-Hint: 1\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"
EXPECTING = ["Expect: 100-continue", "Content-Length: 100"]


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def heads_only(conversation: Conversation) -> None:
    """Answers every request on its head alone, and keeps a connection whose content it hasn't read."""
    while True:
        head = read_head(conversation.stream)
        conversation.service.note(Message(head.start, head.fields))
        conversation.send(sized(b"not wanted", status="409 Conflict"))
        list(body_pieces(conversation.stream, head, []))


@pytest.fixture(scope="module")
def services(make_shared: Maker) -> Services:
    """Services by name; each has one thing to show."""
    scripts: dict[str, Script] = {
        "echo": echo,
        "patient": answering(sized(b"read")),
        "secret": echo,
        "hints": answering(PROCESSING + HINT + sized(b"final")),
        "many-hints": answering(HINT * 17 + sized(b"final")),
        "heads-only": heads_only,
        "trailers": answering(CHUNKED + chunked(b"content", trailers=b"X-Sum: 1\r\nX-Sum: 2\r\n")),
    }
    return {name: make_shared.service(script) for name, script in scripts.items()}


@pytest.fixture(scope="module")
def pair(make_shared: Maker, services: Services) -> Pair:
    """A pair in front of all of them; nobody may call `secret`."""
    allowed = sorted(set(services) - {"secret"})
    return make_shared.pair(
        {name: [service.endpoint] for name, service in services.items()},
        inner={"privileges": [{"callers": ["web"], "services": allowed}], "limits": {"body_bytes": 64 * MIB}},
    )


# --- Expect: 100-continue ---------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["Content-Length: 7", "Transfer-Encoding: chunked"])
def test_the_body_is_asked_for_when_the_in_proxy_has_said_yes(
    pair: Pair, services: Services, framing: str
) -> None:
    content = b"content" if "Length" in framing else chunked(b"con", b"tent")
    with Client(pair.address) as client:
        for _ in range(3):
            client.send(request_bytes("POST", "/patient/", headers=["Expect: 100-continue", framing]))
            assert read_head(client.stream).start == "HTTP/1.1 100 Continue"
            client.send(content)
            assert client.answer().body == b"read"
            assert services["patient"].last.body == b"content"
    assert services["patient"].last.all("expect") == []


@pytest.mark.parametrize(
    ("target", "fields", "status", "cause"),
    [
        ("/secret/", EXPECTING, 403, "no_privilege"),
        ("/echo/a/../b", EXPECTING, 400, "ambiguous_path"),
        ("/echo/", ["Expect: 100-continue", f"Content-Length: {65 * MIB}"], 413, "body_too_large"),
    ],
)
def test_the_body_of_what_the_in_proxy_refuses_is_never_asked_for(
    pair: Pair, services: Services, target: str, fields: list[str], status: int, cause: str
) -> None:
    before = sum(len(service.requests) for service in services.values())
    with Client(pair.address) as client:
        client.send(request_bytes("POST", target, headers=fields))
        head = read_head(client.stream)
        assert int(head.start.split(" ")[1]) == status, "nothing before the refusal"
        assert "error=" in head.get("proxy-status")
        assert cause.encode() in client.stream.read(int(head.get("content-length")))
        assert client.is_closed(), "or the body might be taken for the next request"
    assert sum(len(service.requests) for service in services.values()) == before
    pair.out.wait_for_gauge("fastproxy_link_streams_open", 0)


def test_a_caller_that_waits_for_no_100_is_served_as_well(pair: Pair) -> None:
    fields = ["Expect: 100-continue", "Content-Length: 7"]
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/patient/", headers=fields) + b"content")
        assert client.answer().body == b"read"
        assert client.request("GET", "/patient/").status == 200


# --- interim answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_every_interim_answer_is_passed_on(pair: Pair, method: str) -> None:
    """Also those of calls that take the short way, as all but the first few do."""
    with Client(pair.address) as client:
        for _ in range(8):
            client.send(request_bytes(method, "/hints/", b"x" if method == "POST" else None))
            first, second, last = (read_head(client.stream) for _ in range(3))
            assert first.start.startswith("HTTP/1.1 102 ")
            assert second.start.startswith("HTTP/1.1 103 ")
            assert second.fields == [("Link", "</style.css>"), ("Link", "</app.js>"), ("X-Hint", "1")]
            assert last.start == "HTTP/1.1 200 OK"
            assert client.stream.read(5) == b"final"


def test_an_interim_answer_arrives_before_the_final_one_is_made(make: Maker) -> None:
    nods = threading.Semaphore(0)

    def script(conversation: Conversation) -> None:
        while True:
            conversation.request()
            conversation.send(HINT)
            assert nods.acquire(timeout=10)
            conversation.send(sized(b"final"))

    pair = make.pair({"api": [make.service(script).endpoint]})
    with Client(pair.address) as client:
        for _ in range(5):
            client.send(request_bytes("GET", "/api/"))
            assert read_head(client.stream).start.startswith("HTTP/1.1 103 ")
            nods.release()
            assert client.answer().body == b"final"


def test_http_1_0_callers_get_no_interim_answers(pair: Pair) -> None:
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/hints/", version="1.0"))
        assert read_head(client.stream).start == "HTTP/1.1 200 OK"


def test_interim_answers_without_end_are_a_service_gone_wrong(pair: Pair) -> None:
    with Client(pair.address) as client:
        answer = client.request("POST", "/many-hints/", b"")
        assert (answer.status, answer.cause, answer.problem["hop"]) == (502, "response_malformed", "in")
    assert pair.fetch("GET", "/hints/").body == b"final", "the link lives on"


# --- both ways at once ------------------------------------------------------------------------------------


def test_each_piece_is_echoed_before_the_next_is_sent(pair: Pair) -> None:
    """Neither direction waits for the other, nor for more of its own."""
    pieces = [b"%d " % number * (1 + number * 700) for number in range(40)]
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/", headers=["Transfer-Encoding: chunked"]))
        trailers: list[tuple[str, str]] = []
        head = read_head(client.stream)
        assert head.start == "HTTP/1.1 200 OK", "before the first piece is sent"
        incoming = body_pieces(client.stream, head, trailers)
        for piece in pieces:
            client.send(chunk(piece))
            got = b""
            while len(got) < len(piece):
                got += next(incoming)
            assert got == piece
        client.send(b"0\r\nX-Sum: 7\r\n\r\n")
        assert list(incoming) == []
        assert trailers == [("X-Sum", "7")]


def test_trailers_of_the_service_reach_the_caller(pair: Pair) -> None:
    for _ in range(5):
        answer = pair.fetch("GET", "/trailers/")
        assert (answer.body, answer.trailers) == (b"content", [("X-Sum", "1"), ("X-Sum", "2")])


def test_each_event_arrives_before_the_next_one_is_made(make: Maker) -> None:
    nods = threading.Semaphore(0)
    events = [b"id: %d\ndata: %s\n\n" % (number, b"x" * number) for number in range(1, 60)]

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(EVENTS)
        for event in events:
            conversation.send(chunk(event))
            assert nods.acquire(timeout=10)
        conversation.until_gone()

    service = make.service(script)
    pair = make.pair({"api": [service.endpoint]})
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/api/", headers=["Accept: text/event-stream"]))
        head = read_head(client.stream)
        assert head.get("content-type") == "text/event-stream"
        incoming = body_pieces(client.stream, head, [])
        for event in events:
            got = b""
            while len(got) < len(event):
                got += next(incoming)
            assert got == event
            nods.release()
    service.wait_for_connections(0)  # who closes its browser ends the stream of events at the service


def test_an_answer_on_the_head_alone_arrives_while_the_body_is_sent(pair: Pair) -> None:
    """The caller needn't be through; what it still sends is taken off the link."""
    size = 16 * MIB
    with Client(pair.address) as client, Uploader(client, bytes(65_536), size) as uploader:
        client.send(request_bytes("POST", "/heads-only/", headers=[f"Content-Length: {size}"]))
        uploader.start()
        answer = client.answer()
        assert (answer.status, answer.body) == (409, b"not wanted")
    for _ in range(20):
        assert pair.fetch("POST", "/echo/", b"x" * 60_000).body == b"x" * 60_000
    pair.out.wait_for_gauge("fastproxy_link_streams_open", 0)


def test_many_bodies_pass_both_ways_at_once_on_one_link(pair: Pair) -> None:
    block, size = bytes(range(256)) * 256, 2 * MIB
    before = pair.out.metrics().total("fastproxy_links_opened_total")

    def exchange() -> None:
        with Client(pair.address, timeout_s=30) as client, Uploader(client, block, size, chunked=True) as up:
            client.send(request_bytes("POST", "/echo/", headers=["Transfer-Encoding: chunked"]))
            up.start()
            head: Head = read_head(client.stream)
            results.append(b"".join(body_pieces(client.stream, head, [])) == block * (size // len(block)))

    results: list[bool] = []
    threads = [threading.Thread(target=exchange) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(50)
    assert results == [True] * 8
    assert pair.out.metrics().total("fastproxy_links_opened_total") == before
