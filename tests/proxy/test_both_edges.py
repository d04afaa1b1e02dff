"""What HTTP/1.1 lets both sides do at once, from a caller's socket to a service's, at both plain edges."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from fastproxy.model import Content, Endpoint, Exchange, Response
from fastproxy.net.framing import IncomingBody
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.proxy.transport import Outgoing
from tests.e2e.client import Client, Uploader, request_bytes
from tests.e2e.http_wire import CutError, Head, body_pieces, chunked, read_head, read_message
from tests.e2e.services import Conversation, Script, ScriptedService, echo, sized
from tests.proxy.one_hop import OneHop

WAIT_S = 10
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ASK = request_bytes("GET", "/chat", headers=["Connection: Upgrade", "Upgrade: chat"])
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
BIG_BYTES = 8_000_000


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def read(client: Client, size: int) -> bytes:
    """Read so many bytes."""
    data = client.stream.read(size)
    assert len(data) == size, data
    return data


class Gate:
    """Lets the service go on when the test says so."""

    def __init__(self) -> None:
        self._open = threading.Semaphore(0)

    def wait(self) -> None:
        assert self._open.acquire(timeout=WAIT_S)

    def open(self) -> None:
        self._open.release()


# --- interim answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])
def test_interim_answers_arrive_before_the_final_one_is_made(is_streamed: bool) -> None:
    """And, of a request that still comes, before its end."""
    gate = Gate()

    def script(conversation: Conversation) -> None:
        head = read_head(conversation.stream)
        conversation.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n\r\n")
        gate.wait()
        assert b"".join(body_pieces(conversation.stream, head, [])) == b"hello"
        conversation.send(b"HTTP/1.1 102 Processing\r\n\r\n" + sized(b"done"))

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        head = request_bytes("POST", "/", headers=["Content-Length: 5"])
        client.send(head if is_streamed else head + b"hello")
        assert read_head(client.stream) == Head("HTTP/1.1 103 Early Hints", [("Link", "</a>")])
        if is_streamed:
            client.send(b"hello")
        gate.open()
        assert read_head(client.stream).start == "HTTP/1.1 102 Processing"
        assert client.answer().body == b"done"


def test_http_1_0_gets_no_interim_answers() -> None:
    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + sized(b"done"))

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        client.send(request_bytes("GET", "/", version="1.0"))
        assert read_head(client.stream).start == "HTTP/1.1 200 OK"


def test_interim_answers_without_end_break_the_exchange() -> None:
    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17)
        conversation.until_gone()

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        client.send(request_bytes("POST", "/", b"x"))
        for _ in range(16):
            assert client.interim() == "HTTP/1.1 103 Early Hints"
        assert client.answer().cause == "response_malformed"


@pytest.mark.parametrize("said_by_service", [0, 1, 2])
def test_whoever_expects_a_100_gets_one(said_by_service: int) -> None:
    """From the proxy, or from the service if that is quicker; and no second one."""

    def script(conversation: Conversation) -> None:
        head = read_head(conversation.stream)
        assert head.all("expect") == []
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n" * said_by_service)
        conversation.send(sized(b"".join(body_pieces(conversation.stream, head, []))))

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        client.send(request_bytes("POST", "/", headers=["Expect: 100-continue", "Content-Length: 5"]))
        assert read_head(client.stream).start == "HTTP/1.1 100 Continue"
        client.send(b"hello")
        head = read_head(client.stream)
        assert (head.start, read(client, 5)) == ("HTTP/1.1 200 OK", b"hello")


def test_whoever_expects_no_100_gets_none() -> None:
    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(b"done"))

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        client.send(request_bytes("POST", "/", b"hello"))
        assert read_head(client.stream).start == "HTTP/1.1 200 OK"


# --- both directions at once ------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", ["chunked", "sized"])
def test_each_piece_is_echoed_before_the_next_is_sent(framing: str) -> None:
    pieces = [b"one", b"two!", b"three"]
    is_chunked = framing == "chunked"
    length = sum(map(len, pieces))
    field = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {length}"
    with ScriptedService(echo) as service, OneHop(service.port) as hop, hop.client() as client:
        client.send(request_bytes("POST", "/", headers=[field]))
        head = read_head(client.stream)
        assert (head.start, head.get("connection")) == ("HTTP/1.1 200 OK", "close")
        for piece in pieces:
            sent = chunk(piece) if is_chunked else piece
            client.send(sent)
            assert read(client, len(sent)) == sent
        if is_chunked:
            client.send(b"0\r\n\r\n")
            assert read(client, 5) == b"0\r\n\r\n"
        assert client.is_closed()
    assert hop.causes() == {""}


def test_big_bodies_pass_both_ways_at_once() -> None:
    block = bytes(range(256)) * 3125
    with (
        ScriptedService(echo) as service,
        OneHop(service.port) as hop,
        hop.client() as client,
        Uploader(client, block, BIG_BYTES) as uploader,
    ):
        client.send(request_bytes("POST", "/", headers=[f"Content-Length: {BIG_BYTES}"]))
        uploader.start()
        assert client.answer().body == block * (BIG_BYTES // len(block))


@pytest.mark.parametrize("answer", [sized(b"enough"), CHUNKED + chunked(b"enough")], ids=["sized", "chunked"])
def test_a_final_answer_ends_a_request_that_still_comes(answer: bytes) -> None:
    def script(conversation: Conversation) -> None:
        read_head(conversation.stream)
        conversation.send(answer)
        conversation.until_gone()

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        client.send(request_bytes("POST", "/", headers=["Transfer-Encoding: chunked"]) + chunk(b"begun"))
        got = client.answer()
        assert (got.body, got.whole, got.get("connection")) == (b"enough", True, "close")
        assert client.is_closed()
        service.wait_for_connections(0)
    assert hop.causes() == {""}


def test_events_arrive_one_by_one() -> None:
    gate = Gate()
    events = [b"data: %d\n\n" % number for number in range(5)]

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for event in events:
            gate.wait()
            conversation.send(event)

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        client.send(request_bytes("GET", "/events"))
        assert read_head(client.stream).get("content-type") == "text/event-stream"
        for event in events:
            gate.open()
            assert read(client, len(chunk(event))) == chunk(event)
        assert read(client, 5) == b"0\r\n\r\n"


# --- trailers ---------------------------------------------------------------------------------------------


def test_trailers_pass_both_ways_and_are_announced() -> None:
    def script(conversation: Conversation) -> None:
        conversation.request()
        head = b"HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n"
        conversation.send(head + chunked(b"hello", trailers=b"X-Sum: 5\r\n"))

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        fields = ["Transfer-Encoding: chunked", "Trailer: X-Count, X-More", "TE: trailers"]
        trailers = b"X-Count: 2\r\nX-More: a\r\n"
        client.send(request_bytes("POST", "/", headers=fields) + chunked(b"a", b"b", trailers=trailers))
        answer = client.answer()
        assert (answer.get("trailer"), answer.trailers) == ("X-Sum", [("X-Sum", "5")])
        assert service.last.get("trailer") == "X-Count, X-More"
        assert service.last.trailers == [("X-Count", "2"), ("X-More", "a")]
        assert service.last.all("te") == []


def test_trailers_that_would_change_what_was_judged_break_the_exchange() -> None:
    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(CHUNKED + chunked(b"hello", trailers=b"Set-Cookie: a\r\n"))
        conversation.until_gone()

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        answer = client.request("GET", "/")
        assert answer.status == 502 or not answer.whole


# --- breaking off -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [Conversation.close, Conversation.reset], ids=["closed", "reset"])
@pytest.mark.parametrize(
    "begun",
    [CHUNKED + chunk(b"half"), b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"],
    ids=["chunked", "sized"],
)
def test_a_service_that_dies_inside_its_answer_gives_a_broken_one(
    begun: bytes, end: Callable[[Conversation], None]
) -> None:
    gate = Gate()

    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(begun)
        gate.wait()
        end(conversation)

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        client.send(request_bytes("GET", "/"))
        head = read_head(client.stream)
        pieces = body_pieces(client.stream, head, [])
        assert next(pieces) == b"half"
        gate.open()
        with pytest.raises((CutError, ConnectionError)):
            list(pieces)
    assert hop.causes() == {"connection_lost"}


def waiting(conversation: Conversation) -> None:
    """A service that reads a request to its end, and never answers."""
    message = read_message(conversation.stream)
    conversation.service.note(message)
    conversation.until_gone()


def begins(conversation: Conversation) -> None:
    """A service that notes the head and reads on."""
    head = read_head(conversation.stream)
    conversation.service.note(head)  # type: ignore[arg-type]
    conversation.until_gone()


def answers_half(conversation: Conversation) -> None:
    """A service that begins to answer and goes on waiting."""
    conversation.request()
    conversation.send(CHUNKED + chunk(b"half"))
    conversation.until_gone()


@pytest.mark.parametrize("hang_up", [Client.close, Client.reset], ids=["closed", "reset"])
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (waiting, request_bytes("GET", "/")),
        (waiting, request_bytes("POST", "/", b"whole")),
        (begins, request_bytes("POST", "/", headers=["Content-Length: 100"]) + b"half"),
        (begins, request_bytes("POST", "/", headers=["Transfer-Encoding: chunked"]) + chunk(b"half")),
        (answers_half, request_bytes("GET", "/")),
        (begins, ASK),
    ],
    ids=["waiting", "waiting, with a body", "inside its body", "inside its chunks", "reading", "asking"],
)
def test_a_caller_that_hangs_up_ends_the_call_at_the_service(
    script: Script, message: bytes, hang_up: Callable[[Client], None]
) -> None:
    with ScriptedService(script) as service, OneHop(service.port) as hop:
        client = hop.client()
        client.send(message)
        service.wait_for_requests(1)
        hang_up(client)
        service.wait_for_connections(0)
    assert hop.causes() <= {"caller_gone", "malformed_request"}


# --- tunnels ----------------------------------------------------------------------------------------------


def tunnel(conversation: Conversation) -> None:
    """A service that goes over to a protocol in which everything is said twice, until the other side ends."""
    head = read_head(conversation.stream)
    conversation.service.note(head)  # type: ignore[arg-type]
    conversation.send(SWITCH)
    while said := conversation.stream.read1(65536):  # type: ignore[attr-defined]
        conversation.send(said)


def go_over(client: Client, early: bytes = b"") -> Head:
    client.send(ASK + early)
    head = read_head(client.stream)
    assert head.start == "HTTP/1.1 101 Switching Protocols"
    return head


def test_a_tunnel_carries_both_ways_and_ends_at_both_ends() -> None:
    with ScriptedService(tunnel) as service, OneHop(service.port) as hop, hop.client() as client:
        head = go_over(client)
        assert (head.get("connection"), head.get("upgrade")) == ("upgrade", "chat")
        assert head.get("fastproxy-exchange")
        for said in (b"\x00hello", b"0\r\n\r\n"):
            client.send(said)
            assert read(client, len(said)) == said
        client.send(b"bye")
        client.socket.shutdown(1)
        assert client.stream.read() == b"bye"
        service.wait_for_connections(0)
        asked = service.requests[0]
        assert (asked.get("connection"), asked.get("upgrade")) == ("upgrade", "chat")
        assert asked.all("content-length") + asked.all("transfer-encoding") == []
    assert hop.causes() == {""}


def test_a_tunnel_carries_much_both_ways_at_once() -> None:
    block = bytes(range(256)) * 3125
    with (
        ScriptedService(tunnel) as service,
        OneHop(service.port) as hop,
        hop.client() as client,
        Uploader(client, block, BIG_BYTES) as uploader,
    ):
        go_over(client)
        uploader.start()
        assert read(client, BIG_BYTES) == block * (BIG_BYTES // len(block))


@pytest.mark.parametrize("hang_up", [Client.close, Client.reset], ids=["closed", "reset"])
def test_a_caller_that_hangs_up_ends_the_tunnel(hang_up: Callable[[Client], None]) -> None:
    with ScriptedService(tunnel) as service, OneHop(service.port) as hop:
        client = hop.client()
        go_over(client)
        hang_up(client)
        service.wait_for_connections(0)
    assert hop.causes() <= {"", "caller_gone"}


@pytest.mark.parametrize("end", [Conversation.close, Conversation.reset], ids=["closed", "reset"])
def test_a_service_that_ends_the_tunnel_ends_it_for_the_caller(end: Callable[[Conversation], None]) -> None:
    gate = Gate()

    def script(conversation: Conversation) -> None:
        read_head(conversation.stream)
        conversation.send(SWITCH)
        gate.wait()
        end(conversation)

    with ScriptedService(script) as service, OneHop(service.port) as hop, hop.client() as client:
        go_over(client)
        gate.open()
        assert client.is_closed()
    assert hop.causes() == {"" if end is Conversation.close else "connection_lost"}


def test_a_tunnel_in_which_nobody_says_anything_is_cut() -> None:
    with (
        ScriptedService(tunnel) as service,
        OneHop(service.port, tunnel_idle_timeout_s=0.1) as hop,
        hop.client() as client,
    ):
        go_over(client)
        assert client.is_closed()
        service.wait_for_connections(0)
    assert hop.causes() == {"tunnel_idle"}


def test_draining_cuts_a_tunnel_after_its_grace_period() -> None:
    with ScriptedService(tunnel) as service:
        with OneHop(service.port) as hop:
            client = hop.client()
            go_over(client)
        assert client.is_closed()
        client.close()
        service.wait_for_connections(0)
    assert hop.causes() == {"caller_gone"}


class Deceitful:
    """A way to a receiver that answers every request with what is no final answer."""

    tunnels = True

    def __init__(self, head: bytes, *, is_whole: bool) -> None:
        self.closed = threading.Event()
        self._head = HeadParser(HeadLimits(), sealed=True).response(head)
        self._is_whole = is_whole

    def lane(self, *_: object) -> None:
        return None

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        if self._is_whole:
            self.closed.set()
            return Response(self._head, sized(b"to the next request"))
        return Response(self._head, IncomingBody(None, None, lambda: None, lambda: None, self.closed.set))


@pytest.mark.parametrize("is_whole", [False, True], ids=["stream", "whole"])
@pytest.mark.parametrize("asked", [[], ["Connection: Upgrade", "Upgrade: other"]], ids=["nothing", "another"])
@pytest.mark.parametrize("head", [SWITCH, b"HTTP/1.1 103 Early Hints\r\n\r\n"], ids=["101", "103"])
def test_no_receiver_can_make_a_caller_take_something_else_for_an_answer(
    head: bytes, asked: list[str], is_whole: bool
) -> None:
    """Not by a change of protocol that it didn't ask for, nor by an interim answer with an answer inside."""
    way = Deceitful(head, is_whole=is_whole)
    with OneHop(9, transport=lambda _: way) as hop, hop.client() as client:
        answer = client.request("GET", "/", headers=asked)
        assert (answer.status, answer.cause) == (502, "response_malformed")
        assert way.closed.is_set()
