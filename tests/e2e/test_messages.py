"""Connections and contents at both edges: framing, order, keeping alive, and bodies of every size."""

from __future__ import annotations

import hashlib
import random
import threading

import pytest

from tests.e2e.client import Client, Uploader, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import body_pieces, chunked, read_head
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair
from tests.e2e.services import Conversation, ScriptedService, answering, echo

BIG_BYTES = 20_000_000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def echo_service(make_shared: Maker) -> ScriptedService:
    """A service that sends back what it gets."""
    return make_shared.service(echo)


@pytest.fixture(scope="module")
def pair(make_shared: Maker, nginx: Nginx, echo_service: ScriptedService) -> Pair:
    """A pair in front of nginx, the echo service, and one that answers in chunks."""
    chunks = make_shared.service(answering(CHUNKED + chunked(*[b"x" * 20_000] * 100)))
    services = {"web": nginx.endpoint, "echo": echo_service.endpoint, "chunks": chunks.endpoint}
    return make_shared.pair({name: [endpoint] for name, endpoint in services.items()})


# --- connections -------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(pair: Pair) -> None:
    bodies = [b"%d" % number for number in range(50)]
    with Client(pair.address) as client:
        client.send(b"".join(request_bytes("POST", "/echo/", body) for body in bodies))
        assert [client.answer().body for _ in bodies] == bodies


def test_pipelined_requests_behind_a_chunked_one_are_answered_in_order(pair: Pair) -> None:
    first = request_bytes("POST", "/echo/", headers=["Transfer-Encoding: chunked"]) + chunked(b"a", b"bc")
    with Client(pair.address) as client:
        client.send(first + request_bytes("GET", "/web/hello") + first)
        assert [client.answer().body for _ in range(3)] == [b"abc", b"hello from nginx", b"abc"]


def test_a_request_may_come_byte_by_byte(pair: Pair) -> None:
    with Client(pair.address) as client:
        for byte in request_bytes("POST", "/echo/", b"slowly"):
            client.send(bytes([byte]))
        assert client.answer().body == b"slowly"


@pytest.mark.parametrize("fields", [[], ["Connection: keep-alive"]])
def test_http_1_0_is_spoken(pair: Pair, fields: list[str]) -> None:
    with Client(pair.address) as client:
        answer = client.request("GET", "/web/hello", headers=fields, version="1.0", host="")
        assert (answer.status, answer.body) == (200, b"hello from nginx")
        assert answer.get("connection") == ("keep-alive" if fields else "close")
        if fields:
            assert client.request("GET", "/web/hello").status == 200
        else:
            assert client.is_closed()


def test_an_http_1_0_caller_gets_a_chunked_answer_without_chunks(pair: Pair) -> None:
    """What the service sends in chunks ends with the connection for those who know no chunks."""
    with Client(pair.address) as client:
        answer = client.request("GET", "/chunks/", version="1.0")
        assert (answer.all("transfer-encoding"), answer.body) == ([], b"x" * 2_000_000)
        assert client.is_closed()
    assert pair.fetch("GET", "/chunks/").get("transfer-encoding") == "chunked"


def test_connection_close_is_kept(pair: Pair) -> None:
    with Client(pair.address) as client:
        answer = client.request("GET", "/web/hello", headers=["Connection: close"])
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert client.is_closed()


def test_a_caller_that_expects_100_gets_it_before_it_sends(pair: Pair) -> None:
    body = b"x" * 100_000
    with Client(pair.address) as client:
        fields = ["Expect: 100-continue", f"Content-Length: {len(body)}"]
        client.send(request_bytes("POST", "/echo/", headers=fields))
        assert client.interim() == "HTTP/1.1 100 Continue"
        client.send(body)
        assert client.answer().body == body


def test_a_refused_request_is_answered_without_100(pair: Pair) -> None:
    fields = ["Expect: 100-continue", "Content-Length: 100", "fastproxy-timeout-ms: 0"]
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/", headers=fields))
        assert read_head(client.stream).start == "HTTP/1.1 504 Gateway Timeout"


def test_other_expectations_are_refused(pair: Pair) -> None:
    answer = pair.fetch("GET", "/echo/", headers=["Expect: miracles"])
    assert (answer.status, answer.cause) == (417, "expectation_unknown")


# --- bodies ------------------------------------------------------------------------------------------------


def test_chunks_arrive_as_chunks_both_ways_with_their_trailers(
    pair: Pair, echo_service: ScriptedService
) -> None:
    pieces = [b"first", b"second" * 1000, b"third"]
    trailers = b"X-Checksum: 123\r\nX-Count: 3\r\nX-Count: 4\r\n"
    with Client(pair.address) as client:
        fields = ["Transfer-Encoding: chunked", "Trailer: X-Checksum"]
        client.send(request_bytes("POST", "/echo/", headers=fields) + chunked(*pieces, trailers=trailers))
        answer = client.answer()
        assert echo_service.last.get("transfer-encoding") == "chunked"
        assert echo_service.last.get("trailer") == "X-Checksum"
        assert (answer.body, answer.get("transfer-encoding")) == (b"".join(pieces), "chunked")
        assert answer.trailers == [("X-Checksum", "123"), ("X-Count", "3"), ("X-Count", "4")]
        assert client.request("GET", "/web/hello").status == 200


def test_empty_bodies_of_both_kinds_arrive(pair: Pair, echo_service: ScriptedService) -> None:
    with Client(pair.address) as client:
        assert client.request("POST", "/echo/", b"").body == b""
        assert echo_service.last.get("content-length") == "0"
        client.send(request_bytes("POST", "/echo/", headers=["Transfer-Encoding: chunked"]) + chunked())
        assert client.answer().body == b""
        assert client.request("GET", "/echo/").status == 200
        assert echo_service.last.all("content-length") == []


@pytest.mark.parametrize("size", [65_535, 65_536, 65_537, 131_072, 131_073])
def test_bodies_around_the_size_of_a_record_arrive_whole(pair: Pair, size: int) -> None:
    content = random.Random(size).randbytes(size)
    assert pair.fetch("POST", "/echo/", content).body == content


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_a_big_body_passes_up_and_down_at_once_unchanged(pair: Pair, framing: str) -> None:
    """The echo service sends while it reads: neither direction may wait for the end of the other."""
    block = random.Random(7).randbytes(1_000_000)
    fields = [f"Content-Length: {BIG_BYTES}" if framing == "sized" else "Transfer-Encoding: chunked"]
    sent, got, total = hashlib.sha256(), hashlib.sha256(), 0
    with Client(pair.address) as client, Uploader(client, block, BIG_BYTES, framing == "chunked") as uploader:
        client.send(request_bytes("POST", "/echo/", headers=fields))
        uploader.start()
        head = read_head(client.stream)
        assert head.start == "HTTP/1.1 200 OK"
        for piece in body_pieces(client.stream, head, []):
            got.update(piece)
            total += len(piece)
    for _ in range(BIG_BYTES // len(block)):
        sent.update(block)
    assert (total, got.hexdigest()) == (BIG_BYTES, sent.hexdigest())


@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_each_piece_is_echoed_before_the_next_is_sent(pair: Pair, framing: str) -> None:
    pieces = [b"one", b"two!", b"three"]
    is_chunked = framing == "chunked"
    field = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {sum(map(len, pieces))}"
    with Client(pair.address) as client:
        client.send(request_bytes("POST", "/echo/", headers=[field]))
        assert read_head(client.stream).start == "HTTP/1.1 200 OK"
        for number, piece in enumerate(pieces, 1):
            sent = b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece
            client.send(sent)
            if is_chunked or number < len(pieces):  # the last piece of a sized body comes with its end
                assert client.stream.read(len(sent)) == sent
        if is_chunked:
            client.send(b"0\r\n\r\n")
        assert client.stream.read() == (b"0\r\n\r\n" if is_chunked else pieces[-1])


def test_events_arrive_one_by_one(make: Maker) -> None:
    go_on = threading.Semaphore(0)
    events = [b"data: %d\n\n" % number for number in range(5)]

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for event in events:
            assert go_on.acquire(timeout=10)
            conversation.send(event)

    pair = make.pair({"events": [make.service(script).endpoint]})
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/events/"))
        pieces = body_pieces(client.stream, read_head(client.stream), [])
        for event in events:
            go_on.release()
            assert next(pieces) == event
        assert list(pieces) == []


def test_a_change_of_protocol_is_refused_over_http(pair: Pair, echo_service: ScriptedService) -> None:
    before = len(echo_service.requests)
    for fields in (["Upgrade: websocket"], ["Connection: Upgrade", "Upgrade: h2c"]):  # ask for nothing
        assert pair.fetch("GET", "/echo/", headers=fields).status == 200
    answer = pair.fetch("GET", "/echo/", headers=["Connection: Upgrade", "Upgrade: websocket"])
    assert (answer.status, answer.cause) == (501, "upgrade_unsupported")
    assert len(echo_service.requests) == before + 2


def test_a_big_file_comes_down_unchanged(pair: Pair, nginx: Nginx) -> None:
    content = random.Random(8).randbytes(BIG_BYTES)
    (nginx.files / "big.bin").write_bytes(content)
    answer = pair.fetch("GET", "/web/big.bin")
    assert answer.body == content


def test_a_part_of_a_file_can_be_asked_for(pair: Pair, nginx: Nginx) -> None:
    (nginx.files / "digits.txt").write_bytes(b"0123456789")
    answer = pair.fetch("GET", "/web/digits.txt", headers=["Range: bytes=3-5"])
    assert (answer.status, answer.body, answer.get("content-range")) == (206, b"345", "bytes 3-5/10")
