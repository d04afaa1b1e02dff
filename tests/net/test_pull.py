"""Bodies whose readers take what waits at a paused connection themselves."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from fastproxy.errors import CONNECTION_LOST, ProxyError
from fastproxy.model import Request
from fastproxy.net.connection import Connection
from fastproxy.net.drive import Waiter
from fastproxy.net.framing import IncomingBody
from fastproxy.net.pull import PULL_BYTES, pull
from fastproxy.net.server import ServerLimits
from tests.net.kit import Run, Wire, respond
from tests.net.test_server import Listener, answer_of

LARGE = b"a" * 100_000


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What a connection has open, and its peer's end."""
    own, peer = socket.socketpair()
    with own, peer:
        own.setblocking(False)
        yield own, peer


class Puller:
    """A connection's side of a body, with the pieces that wait at it."""

    def __init__(self, *pieces: bytes) -> None:
        self.asked: list[str] = []
        self.waiting = list(pieces)
        self.body = IncomingBody(
            None,
            None,
            lambda: self.asked.append("pause"),
            lambda: self.asked.append("resume"),
            lambda: self.asked.append("close"),
            pull=self._pull,
        )

    def _pull(self) -> bool:
        if not self.waiting:
            return False
        self.body.push(self.waiting.pop(0))
        return True


def test_what_waits_is_taken_without_a_turn_of_the_loop() -> None:
    source = Puller(b"two", b"three")
    source.body.push(LARGE)
    assert source.asked == ["pause"]
    assert [Run(source.body.read()).value() for _ in range(3)] == [LARGE, b"two", b"three"]
    assert source.asked == ["pause"]
    reading = Run(source.body.read())
    assert source.asked == ["pause", "resume"]  # nothing is there: the loop waits for it
    source.body.push(LARGE)
    assert reading.value() == LARGE
    assert source.asked == ["pause", "resume", "pause"]


def test_a_reader_that_waits_lets_the_loop_read_on() -> None:
    source = Puller()

    async def read_on() -> None:
        while await source.body.read():
            pass

    run = Run(read_on())
    source.body.push(LARGE)
    source.body.push(LARGE)
    assert source.asked == []
    source.body.finish(b"", [])
    assert run.done


def test_small_pieces_stop_nobody() -> None:
    source = Puller()
    for _ in range(100):
        source.body.push(b"small")
    assert source.asked == []


def test_the_loop_has_its_turn_in_between() -> None:
    """However much waits, and however fast it is read: other connections wait for no more than 1 MiB."""
    source = Puller(*[b"more"] * 1000)
    source.body.push(LARGE)

    async def read_on() -> None:
        while await source.body.read():
            pass

    Run(read_on())
    assert 1000 - len(source.waiting) <= (1 << 20) // PULL_BYTES
    assert source.asked == ["pause", "resume"]


def test_what_only_frames_the_content_is_not_taken_for_more_of_it() -> None:
    source = Puller(b"", b"two", b"", b"")
    source.body.push(LARGE)
    assert [Run(source.body.read()).value() for _ in range(2)] == [LARGE, b"two"]
    assert source.asked == ["pause"]
    reading = Run(source.body.read())
    assert source.asked == ["pause", "resume"]  # the rest of the framing, or the next chunk, has to come
    source.body.push(b"three")
    assert reading.value() == b"three"


@pytest.mark.parametrize("cut", [b"", b"\r", b"\r\n", b"\r\n5", b"\r\n5\r\n"])
def test_a_chunk_whose_framing_comes_by_itself_holds_nothing_up(
    ends: tuple[socket.socket, socket.socket], cut: bytes
) -> None:
    own, peer = ends
    go_on: Waiter[None] = Waiter()
    contents = []

    async def read_later(request: Request, connection: Connection) -> None:
        await go_on
        content = b""
        while data := await request.content.read():  # type: ignore[union-attr]
            content += data
        contents.append(content)
        await respond(connection, answer_of(request.head.target))

    wire = Listener(read_later).connect()
    wire._extra["socket"] = own  # type: ignore[attr-defined]
    head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    wire.receive(head + b"%x\r\n%b" % (len(LARGE), LARGE))
    assert not wire.reading
    peer.send(cut)
    go_on.set(None)
    assert wire.reading, "the loop waits for the rest"
    wire.receive(b"\r\n5\r\nsmall\r\n0\r\n\r\n"[len(cut) :])
    assert contents == [LARGE + b"small"]


@pytest.mark.parametrize("is_cut", [False, True])
def test_a_peer_that_is_gone_is_noticed_although_its_body_is_not_read_on(
    ends: tuple[socket.socket, socket.socket], is_cut: bool
) -> None:
    own, peer = ends

    async def never_read(request: Request, connection: Connection) -> None:
        await Waiter[None]()

    listener = Listener(never_read)
    wire = listener.connect()
    wire._extra["socket"] = own  # type: ignore[attr-defined]
    wire.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n" + LARGE)
    assert not wire.reading
    peer.send(b"more")
    listener.clock.advance(20)
    assert not wire.closing
    if is_cut:
        peer.close()
    else:
        peer.shutdown(socket.SHUT_WR)
    listener.clock.advance(0.1)
    assert wire.aborted
    wire.lose()
    assert len(listener.ends) == 1


def test_while_an_answer_is_not_read_no_body_gives_its_reader_more_time(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    async def read_all(request: Request, connection: Connection) -> None:
        while await request.content.read():  # type: ignore[union-attr]
            pass

    listener = Listener(read_all, ServerLimits(write_timeout_s=5, body_timeout_s=60))
    wire = listener.connect()
    wire._extra["socket"] = ends[0]  # type: ignore[attr-defined]
    wire.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\nsome")
    wire.protocol.pause_writing()
    for _ in range(4):
        listener.clock.advance(1)
        wire.receive(b"more")
    assert not wire.closing
    listener.clock.advance(2)
    assert wire.aborted


def test_an_error_that_is_pulled_reaches_the_reader() -> None:
    source = Puller()

    def fail() -> bool:
        source.body.fail(ProxyError(CONNECTION_LOST))
        return True

    source.body._pull = fail
    source.body.push(LARGE)
    Run(source.body.read())
    with pytest.raises(ProxyError):
        Run(source.body.read()).value()


def test_nothing_is_taken_where_there_is_nothing_to_take(ends: tuple[socket.socket, socket.socket]) -> None:
    own, peer = ends
    wire = Wire(Connection(Listener().server))
    assert pull(None) == b""
    assert pull(wire) == b""  # it doesn't say what it has open
    wire._extra["socket"] = own  # type: ignore[attr-defined]
    assert pull(wire) == b""
    peer.send(b"here")
    assert pull(wire) == b"here"
    peer.send(b"for another connection, which has the descriptor by now")
    wire.abort()
    assert pull(wire) == b""


def test_an_end_or_an_error_is_left_to_the_loop(ends: tuple[socket.socket, socket.socket]) -> None:
    own, peer = ends
    wire = Wire(Connection(Listener().server))
    wire._extra["socket"] = own  # type: ignore[attr-defined]
    peer.close()
    assert pull(wire) == b""
    own.close()
    assert pull(wire) == b""


@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_behind_a_body_that_was_pulled_is_answered(
    ends: tuple[socket.socket, socket.socket], chunked: bool
) -> None:
    own, peer = ends
    go_on: Waiter[None] = Waiter()
    contents = []

    async def read_later(request: Request, connection: Connection) -> None:
        content = b""
        if type(request.content) is not bytes:
            await go_on
            while data := await request.content.read():  # type: ignore[union-attr]
                content += data
        contents.append(content)
        await respond(connection, answer_of(request.head.target))

    listener = Listener(read_later)
    wire = listener.connect()
    wire._extra["socket"] = own  # type: ignore[attr-defined]
    rest = b"b" * 1000
    if chunked:
        framing, begin = b"Transfer-Encoding: chunked", b"%x\r\n%b\r\n" % (len(LARGE), LARGE)
        end = b"%x\r\n%b\r\n0\r\n\r\n" % (len(rest), rest)
    else:
        framing, begin, end = b"Content-Length: %d" % (len(LARGE) + len(rest)), LARGE, rest
    wire.receive(b"POST /first HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n" + begin)
    assert not wire.reading
    peer.send(end + b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n")
    go_on.set(None)
    listener.turn()
    assert contents == [LARGE + rest, b""]
    assert wire.reading
    assert wire.take().count(b"HTTP/1.1 200 OK") == 2
    assert not wire.closing


def test_a_reader_that_takes_its_time_is_not_the_callers_fault(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    own, peer = ends
    turns: list[Waiter[None]] = [Waiter(), Waiter()]
    pieces = []

    async def read_in_turns(request: Request, connection: Connection) -> None:
        for turn in turns:
            await turn
            pieces.append(await request.content.read())  # type: ignore[union-attr]
        await Waiter()

    listener = Listener(read_in_turns, ServerLimits(body_timeout_s=1))
    wire = listener.connect()
    wire._extra["socket"] = own  # type: ignore[attr-defined]
    wire.receive(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n" + LARGE)
    turns[0].set(None)
    peer.send(b"more")
    turns[1].set(None)
    listener.clock.advance(10)
    assert pieces == [LARGE, b"more"]
    assert not wire.closing
    assert listener.ends == []
