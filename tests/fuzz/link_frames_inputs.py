"""Any frames, in any order, said to either end of a running link, while that end has work of its own.

An input is read byte by byte as a play: who says what, when calls begin and are given up, when somebody
reads and how much time passes. Whatever it is, either the link goes on with its books in order, or it has
ended with a cause that is counted; nothing else, and in the end nothing is left. Links go without a cipher
here, as inside TLS, since no fuzzer guesses a seal.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from fastproxy.errors import NO_PRIVILEGE, ProxyError
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.link.call_stream import CallStream
from fastproxy.net.link.caller import CallerLink, known_link_answers
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.link import Link, landing
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.link.receiver import ReceiverLink, Sealed
from fastproxy.net.link.server import DoorLimits, LinkServer
from fastproxy.net.link.stream import LinkBody
from fastproxy.net.timers import Wheel
from fastproxy.wire.compressors import SNAPPY
from fastproxy.wire.link.frames import PAD, build_interim, build_reset, frame
from fastproxy.wire.link.hello import HelloInitiator, HelloResponder
from fastproxy.wire.link.records import PlainSealer
from fastproxy.wire.link.terms import Established, Params
from tests.net.kit import Clock, Run
from tests.net.link.ends import (
    CALLER,
    LINK_WINDOW_BYTES,
    MAX_STREAMS,
    PEER_PARAMS,
    SETTINGS,
    Answer,
    Pieces,
    Service,
    SocketDouble,
    answered,
    body_of,
    echo,
    open_call,
    request,
    response,
    window,
)

LABELS = {
    "compression", "flood", "frame", "record", "silent", "state", "unread", "window",
    "aborted", "closed by peer", "drained", "idle", "lost",
}  # fmt: skip
"""Why links end here."""
CONTENT = (b"", b"a", bytes(100), bytes(5000), bytes(65_536), bytes(200_000))
PACKED = bytes((SNAPPY.compressor_id,)) + SNAPPY.compress(bytes(5000))


class Input:
    """Bytes that say what happens next; when they are used up, nothing does."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._data)

    def byte(self) -> int:
        """The next byte."""
        return self.take(1)[0] if self else 0

    def take(self, count: int) -> bytes:
        """So many bytes, or as many as there are."""
        start, self._at = self._at, self._at + count
        return self._data[start : self._at]

    def content(self) -> bytes:
        """Some content, of many sizes."""
        return CONTENT[self.byte() % len(CONTENT)]


class OpenDoor:
    """Lets everybody in as the one caller."""

    def __init__(self) -> None:
        self._responder = HelloResponder(SETTINGS.params)

    def shake(self, link: ReceiverLink, data: bytes) -> tuple[Established, bytes] | None:
        """See `Door`."""
        message_2, established = self._responder.answer(data)
        link.caller, link.identity = CALLER, b"key"
        link.write(message_2)
        return established, b""


class Stage:
    """One end under test. The other end is the input."""

    def __init__(self, link: Link, wire: SocketDouble, clock: Clock, counters: LinkCounters) -> None:
        self.link = link
        self.wire = wire
        self.clock = clock
        self.counters = counters
        self._sealer = PlainSealer()
        self._paused = False

    def say(self, *frames: bytes) -> None:
        """The other end says this."""
        said = b"".join(frames)
        if said and len(said) <= 131_072:
            self.wire.receive(self._sealer.seal(said))

    def bodies(self) -> list[LinkBody]:
        """All content that ever came."""
        raise NotImplementedError

    def pick(self, play: Input, fitting: list[int]) -> list[int]:
        """A stream, mostly one for which what comes is fitting, so that plays last longer; or none."""
        chance = play.byte()
        if chance < 4:
            return [play.byte() % 16]
        return [fitting[chance % len(fitting)]] if fitting else []

    def play(self, play: Input) -> None:
        """Let one thing happen, of those that concern both ends."""
        match play.byte() % 16:
            case 0:
                self.clock.advance(play.byte() / 8)
            case 1:
                self._paused = not self._paused
                (self.link.pause_writing if self._paused else self.link.resume_writing)()
            case 2:
                if play.byte() < 32:
                    self.wire.receive(play.take(play.byte()))
            case 3:
                kind, stream, length = play.byte(), play.byte() % 8, play.byte()
                if kind & 1:
                    self.say(frame(kind ^ 1, stream, play.take(length)))
            case 4:
                self.say(window(play.byte() % 8, play.byte() << play.byte() % 24))
            case 5:
                said = [frame(PAD, 0, bytes(play.byte())), frame(0x80, 0, bytes(8))]
                self.say(*said * (play.byte() % 16))
            case 6:
                for stream in self.pick(play, list(self.link.streams)):
                    self.say(frame(0x60, stream, build_reset("")))
            case 7:
                self.say(frame(0x90, 0, bytes((0, 0, 0, play.byte() % 8, play.byte() % 5))))
            case _:
                self.clock.advance(0)
                for stream in self.pick(play, [0, *self.link.streams]):
                    self.say(window(stream, play.byte() + 1 << 8))

    def check(self) -> None:
        """The books are in order."""
        link = self.link
        assert not self.clock.failures, self.clock.failures
        assert self.wire.closing or not link.closed
        if link.closed:
            assert not link.streams
            assert not link._turns
            assert not link._held
            (reason,) = self.counters.ended
            assert reason in LABELS, reason
            return
        assert not self.counters.ended
        assert 0 <= link.credit < 2**31
        held = sum(body._size + len(body._held) for body in self.bodies())
        assert link._room_bytes + link._owed_bytes + held == LINK_WINDOW_BYTES
        assert link._room_bytes >= 0
        self.wire.written = b""

    def finish(self) -> None:
        """The connection breaks, and nothing is left."""
        if not self.link.closed:
            self.wire.lose(ConnectionResetError())
        self.clock.advance(0)
        self.check()
        self.clock.advance(2)
        assert self.clock.idle


class ReceiverStage(Stage):
    """A receiver's end, with services that do many things."""

    def __init__(self, play: Input) -> None:
        clock = Clock()
        self._play = play
        self.service = Service()
        self.service.answer = self._answer
        self._waiting: list[Waiter[None]] = []
        server = LinkServer(
            self.service, OpenDoor(), SETTINGS, DoorLimits(), LinkCounters(), Wheel(clock.loop), clock.loop,
            bytes,
        )  # fmt: skip
        wire = SocketDouble(asyncio.Protocol())
        server.take(wire, "192.0.2.1", HelloInitiator(PEER_PARAMS).message)
        super().__init__(cast(ReceiverLink, wire.protocol), wire, clock, server.counters)
        self._next = 1
        self.say(frame(PAD, 0, b""))

    async def _answer(self, stream: ReceivedStream, request: Sealed) -> None:
        play = self._play
        how, content = play.byte() % 8, play.content()
        if how == 0:
            raise ProxyError(NO_PRIVILEGE)
        if how in (1, 2):
            waiter: Waiter[None] = Waiter()
            self._waiting.append(waiter)
            await waiter
        if how == 3:
            await echo(stream, request)
            return
        body = None if request.is_whole else body_of(stream, None if how == 4 else 100, 10_000)
        if body is not None and how in (4, 5):
            await body.read()
        if body is not None and how == 6:
            body.close()
        await answered(stream, Pieces(content, content) if how & 1 else content)

    def _request(self, play: Input, flags: int) -> None:
        for number in self.pick(play, [self._next]):
            self.say(request(number, play.content()[:65_536], flags))
            self._next = number + 1

    def bodies(self) -> list[LinkBody]:
        return [stream._body for stream, _ in self.service.requests if stream._body is not None]

    def play(self, play: Input) -> None:
        """Let one thing happen."""
        open_streams = [number for number, stream in self.link.streams.items() if not stream._has_ended]
        match play.byte() % 8:
            case 0:
                self._request(play, 1)
            case 1:
                self._request(play, play.byte() & 4)
            case 2 | 3:
                end = play.byte() < 64
                for stream in self.pick(play, open_streams):
                    self.say(frame(0x30 | end, stream, play.content()[:65_536] or b"ab"))
            case 4:
                end = play.byte() < 64
                for stream in self.pick(play, open_streams):
                    self.say(frame(0x32 | end, stream, PACKED))
            case 5:
                for stream in self.pick(play, open_streams):
                    self.say(frame(0x41, stream, b"a: b\r\n"))
            case 6:
                if self._waiting:
                    self._waiting.pop(play.byte() % len(self._waiting)).set(None)
            case _:
                super().play(play)
        assert len(self.link.streams) <= MAX_STREAMS


class CallerStage(Stage):
    """A caller's end, with calls of many kinds."""

    def __init__(self) -> None:
        clock = Clock()
        self._calls: list[tuple[Answer, CallStream | int]] = []
        self._told: list[Answer] = []
        self._readings: list[Run] = []
        parser = HeadParser(HeadLimits(), sealed=True)
        link = CallerLink(
            SETTINGS, LinkCounters(), landing(), Wheel(clock.loop), clock.loop,
            HelloInitiator(SETTINGS.params), parser, known_link_answers(parser),
            lambda: None, lambda link, reason: None, lambda link: None, lambda name: False, "127.0.0.1:1",
        )  # fmt: skip
        wire = SocketDouble(link)
        responder = HelloResponder(Params(100_000, 150_000, MAX_STREAMS))
        wire.receive(responder.answer(wire.take())[0])
        super().__init__(link, wire, clock, link.counters)

    def bodies(self) -> list[LinkBody]:
        answers = [answer.response.content for answer, _ in self._calls if answer.response is not None]
        return [content for content in answers if isinstance(content, LinkBody)]

    def _begin(self, play: Input) -> None:
        link, answer, how = cast(CallerLink, self.link), Answer(), play.byte()
        if not link.ready or len(link.streams) >= link.max_streams:
            return
        content = play.content()
        if how & 1:
            if link.credit >= len(content) and len(content) <= 65_536:
                begun = link.begin(answer, request(link.next_stream, content), len(content))
                self._calls.append((answer, begun))
            return
        body = Pieces(content, content) if how & 2 and content else content
        stream = open_call(
            link, answer, body, is_head=how & 24 == 24, expects_continue=how & 4 > 0,
            upgrade=b"chat" if how & 32 else b"",
        )  # fmt: skip
        self._calls.append((answer, stream))

    def play(self, play: Input) -> None:
        """Let one thing happen."""
        streams = self.link.streams
        begun = [number for number, stream in streams.items() if getattr(stream, "_body", None) is not None]
        waiting = [number for number in streams if number not in begun]
        match play.byte() % 12:
            case 0 | 1 | 2:
                self._begin(play)
            case 3:
                for stream in self.pick(play, waiting):
                    self.say(response(stream, play.content()[:65_536]))
            case 4:
                length = (None, None, -1, 3)[play.byte() % 4]
                content = play.content()[:65_536]
                for stream in self.pick(play, waiting):
                    self.say(response(stream, content, play.byte() & 1, length))
            case 5 | 6:
                end = play.byte() < 64
                for stream in self.pick(play, begun):
                    self.say(frame(0x30 | end, stream, play.content()[:65_536] or b"ab"))
            case 7:
                for stream in self.pick(play, waiting):
                    self.say(frame(0x50, stream, build_interim(100 + play.byte() % 5, b"")))
            case 8:
                self._give_up(play)
            case 9 | 10:
                self._read(play)
            case _:
                super().play(play)

    def _give_up(self, play: Input) -> None:
        if not self._calls:
            return
        answer, stream = self._calls[play.byte() % len(self._calls)]
        if isinstance(stream, CallStream):
            if not answer.told:
                stream.cancel()
        elif not answer.told:
            cast(CallerLink, self.link).abandon(stream)

    def _read(self, play: Input) -> None:
        bodies = self.bodies()
        if not bodies:
            return
        body = bodies[play.byte() % len(bodies)]
        if body._waiter is not None or body._closed:  # it has one reader, who reads or gives up, not both
            return
        if play.byte() < 64:
            body.close()
        else:
            self._readings.append(Run(body.read()))

    def finish(self) -> None:
        super().finish()
        for answer, stream in self._calls:
            assert answer.told or stream not in self.link.streams
        for reading in self._readings:
            assert reading.done
            assert reading.error is None or isinstance(reading.error, ProxyError)


def to_receiver(play: Input) -> None:
    """A caller says this."""
    _run(ReceiverStage(play), play)


def to_caller(play: Input) -> None:
    """A receiver says this."""
    _run(CallerStage(), play)


def _run(stage: Stage, play: Input) -> None:
    stage.check()
    while play and not stage.link.closed:
        stage.play(play)
        stage.check()
    stage.finish()


WAYS: tuple[Callable[[Input], None], ...] = (to_receiver, to_caller)


def take(data: bytes) -> None:
    """Take one input."""
    play = Input(data)
    WAYS[play.byte() % len(WAYS)](play)
