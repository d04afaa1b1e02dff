"""Connections that leave HTTP on a link, at the receiver's end: who says nothing for too long is cut off."""

from __future__ import annotations

from collections import deque

from fastproxy.model import Body, Headers, ResponseHead
from fastproxy.net.drive import Waiter
from fastproxy.net.link.received_stream import LinkReply, ReceivedStream
from fastproxy.net.link.receiver import Sealed
from fastproxy.wire.link.frames import DATA, RESET, frame, parse_label
from fastproxy.wire.records import PLAIN
from tests.net.kit import Run
from tests.net.link.ends import Receiving, body_of, counted, request, response_meta
from tests.wire.link.parties import Frame

IDLE_S = 5.0
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: chat\r\n"


class Talk:
    """What a service says in a tunnel, when the test says so; a `Body`."""

    def __init__(self) -> None:
        self.length: int | None = None
        self.started = self.closed = False
        self.trailers: Headers = []
        self._said: deque[bytes] = deque()
        self._waiter: Waiter[None] | None = None

    def say(self, data: bytes) -> None:
        self._said.append(data)
        if self._waiter is not None:
            self._waiter.set(None)

    async def read(self) -> bytes:
        if not self._said:
            self._waiter = Waiter()
            await self._waiter
        return self._said.popleft()

    def close(self) -> None:
        self.closed = True


async def read_on(body: Body) -> None:
    """Take what the caller says, as the service does."""
    while await body.read():
        pass


class Tunnel(Receiving):
    """A receiver's end with a tunnel on stream 1. talk: the service's side of it."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Talk()
        self.service.answer = self._switch
        self.peer.send(request(1, flags=0))
        self.peer.hear()

    async def _switch(self, stream: ReceivedStream, request: Sealed) -> None:
        Run(read_on(body_of(stream)))
        head = ResponseHead(101, counted(response_meta(None, SWITCH)))
        head.upgrade = b"chat"
        rest = stream.respond(LinkReply(head, self.talk, PLAIN, IDLE_S))
        assert rest is not None
        await rest

    def cut(self) -> list[str]:
        """The labels of the resets that have come."""
        heard: list[Frame] = self.peer.hear()
        return [parse_label(each.payload) for each in heard if each.kind == RESET]


def test_a_tunnel_in_which_nobody_speaks_is_cut_off_and_the_link_goes_on() -> None:
    end = Tunnel()
    end.clock.advance(IDLE_S - 1)
    assert end.cut() == []
    end.clock.advance(2)
    assert end.cut() == ["tunnel_idle"]
    assert end.talk.closed
    assert not end.link.streams
    assert not end.ended
    assert [error.cause.label for error in end.service.errors] == ["tunnel_idle"]  # type: ignore[attr-defined]


def test_a_tunnel_in_which_the_caller_speaks_is_kept() -> None:
    end = Tunnel()
    for _ in range(4):
        end.clock.advance(IDLE_S - 1)
        end.peer.send(frame(DATA, 1, b"hello"))
    assert end.cut() == []
    end.clock.advance(IDLE_S + 1)
    assert end.cut() == ["tunnel_idle"]


def test_a_tunnel_in_which_the_service_speaks_is_kept() -> None:
    end = Tunnel()
    for _ in range(4):
        end.clock.advance(IDLE_S - 1)
        end.talk.say(b"hello")
    heard = end.peer.hear()
    assert b"".join(each.payload for each in heard if each.kind == DATA) == b"hello" * 4
    assert RESET not in [each.kind for each in heard]
    end.clock.advance(IDLE_S + 1)
    assert end.cut() == ["tunnel_idle"]


def test_the_end_of_a_tunnel_in_its_own_time_leaves_nothing_to_cut() -> None:
    end = Tunnel()
    end.peer.send(frame(DATA | 1, 1, b""))
    end.talk.say(b"")
    assert not end.cut()
    end.clock.advance(IDLE_S + 1)
    assert not end.cut()
