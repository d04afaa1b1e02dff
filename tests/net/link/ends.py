"""Ends of links under a clock that stands still, each with a peer made by hand, or both with each other.

A `Peer` holds the other end's keys and says whatever a test wants said. What a link does is seen in what it
writes, in its counters, and in what its users (`Answer`, `Service`) are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import count
from typing import Any, Generic, Protocol, TypeVar, cast

from fastproxy.errors import HEADERS_TOO_LARGE, MESSAGE_BROKEN, ProxyError
from fastproxy.model import Body, Content, Response, ResponseHead
from fastproxy.net.framing import trailer_parser
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.link.call_stream import CallStream
from fastproxy.net.link.caller import CallerLink, known_link_answers
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.link import Link, LinkSettings, landing
from fastproxy.net.link.received_stream import LinkReply, ReceivedStream
from fastproxy.net.link.receiver import ReceiverLink, Sealed
from fastproxy.net.link.server import DoorLimits, LinkServer, NoiseDoor
from fastproxy.net.timers import Wheel
from fastproxy.wire.envelope import (
    Refusal,
    ServiceResponse,
    build_request_head,
    build_response_head,
    service_field,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.frames import (
    DATA,
    END,
    GOAWAY,
    HEADER_BYTES,
    PAD,
    REQUEST,
    RESPONSE,
    WINDOW,
    frame,
    parse_goaway,
)
from fastproxy.wire.link.handshake import NO_PSK, Established, Initiator, Params, Responder
from fastproxy.wire.records import PLAIN, Packing
from tests.net.kit import Clock, Wire
from tests.wire.link.parties import CALLER_KEY, NAME, RECEIVER_KEY, Frame, ephemeral, frames_of

STREAM_WINDOW_BYTES = 65_536
LINK_WINDOW_BYTES = 4 * STREAM_WINDOW_BYTES
MAX_STREAMS = 8
SETTINGS = LinkSettings(Params(STREAM_WINDOW_BYTES, LINK_WINDOW_BYTES, MAX_STREAMS))
PEER_PARAMS = Params(1 << 20, 1 << 22, 64)
"""What a peer made by hand takes."""
CALLER = "web"
OK = b"HTTP/1.1 200 OK\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"
POST = b"POST /things HTTP/1.1\r\nhost: api\r\n\r\n"
TRAILERS_OF_CALLERS = trailer_parser(HeadLimits(), MESSAGE_BROKEN, HEADERS_TOO_LARGE)
_End = TypeVar("_End", bound=Link)


class SocketDouble(Wire):
    """Stands where the socket would be. high: bytes that are written before the link is asked to pause."""

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        assert high

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = cast(asyncio.Protocol, protocol)


class Peer:
    """The other end of a link, made by hand.

    frames: all that came, in the order in which it came. records: the plaintexts that they came in.
    owed_bytes: content that was sent and for which no credit came back.

    Args:
        clock: runs what the link has put off to the end of its turn. wire: the link's side of the connection.
        established: of this end.
    """

    def __init__(self, clock: Clock, wire: Wire, established: Established) -> None:
        self._clock = clock
        self._wire = wire
        self.sealer, self.opener = established.sealer, established.opener
        self.frames: list[Frame] = []
        self.records: list[bytes] = []
        self.owed_bytes = 0

    def send(self, *frames: bytes) -> None:
        """Say this, in one record."""
        self.owed_bytes += sum(map(content_bytes, frames))
        self.send_bytes(self.sealer.seal(b"".join(frames)))

    def send_bytes(self, *pieces: bytes) -> None:
        """Say this as it is."""
        self._wire.receive(*pieces)
        self._clock.advance(0)

    def hear(self) -> list[Frame]:
        """The frames that have come since the last time, but for padding."""
        self._clock.advance(0)
        heard = []
        for plaintext in self.opener.feed(self._wire.take()):
            self.records.append(plaintext)
            for each in frames_of(plaintext):
                if each.kind == 0xB0:
                    self.opener.rekey()
                if each.kind != PAD:
                    heard.append(each)
                if each.kind == WINDOW and not each.stream:
                    self.owed_bytes -= int.from_bytes(each.payload, "big")
        self.frames += heard
        return heard

    def goodbye(self) -> tuple[int, int]:
        """The last stream and the reason of the GOAWAY that has come."""
        (payload,) = [each.payload for each in self.hear() if each.kind == GOAWAY]
        return parse_goaway(payload)


def content_bytes(frame_bytes: bytes) -> int:
    """How much credit this frame takes; content is not compressed in it."""
    kind, payload = frame_bytes[0] & 0xF0, frame_bytes[HEADER_BYTES:]
    if kind in (REQUEST, RESPONSE):
        return max(0, len(payload) - 4 - int.from_bytes(payload[:4], "big"))
    return len(payload) if kind == DATA else 0


class End(Generic[_End]):
    """A link under test, with its peer.

    link, peer, wire, clock, counters: as they are called.
    """

    def __init__(
        self, link: _End, peer: Peer, wire: SocketDouble, clock: Clock, counters: LinkCounters
    ) -> None:
        self.link = link
        self.peer = peer
        self.wire = wire
        self.clock = clock
        self.counters = counters

    @property
    def ended(self) -> str:
        """Why the link has ended, "" while it lives; one cause, and the connection goes with it."""
        if not self.link.closed:
            assert not self.counters.ended
            return ""
        assert self.wire.closing
        assert self.link.streams == {}
        ((reason, count),) = self.counters.ended.items()
        assert count == 1
        return reason

    @property
    def is_settled(self) -> bool:
        """Whether all credit that this end ever gave is with the peer again, or soon will be: both agree."""
        self.peer.hear()
        link = self.link
        whole = link._room_bytes + link._owed_bytes == LINK_WINDOW_BYTES
        return whole and self.peer.owed_bytes == link._owed_bytes

    def refuses(self, *frames: bytes) -> str:
        """Let the peer say this, which must end the link with a goodbye that says so; return the cause."""
        self.peer.send(*frames)
        assert self.link.closed, "the link goes on"
        assert self.peer.goodbye()[1] == 3  # protocol error
        assert self.clock.failures == []
        return self.ended


class Service:
    """What answers the streams of a receiver's end.

    requests: all that came, with their streams. reads: what was read of each one's content, by stream.
    answer: makes the answer to one; by default it reads all of the content and sends it back.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[ReceivedStream, Sealed]] = []
        self.errors: list[BaseException] = []
        self.answer: Callable[[ReceivedStream, Sealed], Coroutine[Any, None, None]] = echo

    def begin(self, link: ReceiverLink, stream_id: int, payload: bytes) -> bool:
        """There is no short way here."""
        return False

    async def handle(self, stream: ReceivedStream, request: Sealed) -> None:
        """Answer, and note what went wrong."""
        self.requests.append((stream, request))
        try:
            await self.answer(stream, request)
        except BaseException as error:
            self.errors.append(error)
            raise


def body_of(stream: ReceivedStream, length: int | None = None, limit_bytes: int | None = None) -> Body:
    """The content of a request that is still on its way."""
    return stream.incoming(length, limit_bytes, lambda name: False, TRAILERS_OF_CALLERS)


async def echo(stream: ReceivedStream, request: Sealed) -> None:
    """Answer with what was asked."""
    content = request.data
    if not request.is_whole:
        body = body_of(stream)
        while data := await body.read():
            content += data
    await answered(stream, content)


async def answered(stream: ReceivedStream, content: Content = b"", packing: Packing = PLAIN) -> None:
    """Answer with 200 and this."""
    length = len(content) if type(content) is bytes else cast(Body, content).length
    rest: Awaitable[None] | None = stream.respond(reply(content, length, packing))
    if rest is not None:
        await rest


def reply(content: Content, length: int | None, packing: Packing = PLAIN) -> LinkReply:
    """An answer of a service, as the in proxy makes it."""
    return LinkReply(ResponseHead(200, counted(response_meta(length))), content, packing)


def response_meta(length: int | None, head: bytes = OK) -> bytes:
    """The head of an answer, as it stands in a frame."""
    line = b"" if length is None else b"content-length: %d\r\n" % length
    return build_response_head(ServiceResponse(head + line + b"\r\n"))


def refusal_meta(cause: str, length: int) -> bytes:
    """The head of an answer that the in proxy itself gives."""
    head = b"HTTP/1.1 403 Forbidden\r\ncontent-length: %d\r\n\r\n" % length
    return build_response_head(Refusal(cause, head))


def counted(meta: bytes) -> bytes:
    """The same with its length in front."""
    return len(meta).to_bytes(4, "big") + meta


def request(stream: int, data: bytes = b"", flags: int = END, http: bytes = POST) -> bytes:
    """A REQUEST."""
    meta = build_request_head(1000, "exchange-1", service_field("api"), http)
    return frame(REQUEST | flags, stream, counted(meta) + data)


def response(stream: int, data: bytes = b"", flags: int = END, length: int | None = -1) -> bytes:
    """A RESPONSE; its head declares what is there unless told otherwise."""
    meta = response_meta(len(data) if length == -1 else length)
    return frame(RESPONSE | flags, stream, counted(meta) + data)


def window(stream: int, credit_bytes: int) -> bytes:
    """A WINDOW."""
    return frame(WINDOW, stream, credit_bytes.to_bytes(4, "big"))


class Answer:
    """What waits for the answer to one request, and is told once."""

    def __init__(self) -> None:
        self.response: Response | None = None
        self.error: BaseException | None = None
        self.interims: list[ResponseHead] = []
        self.inform: Callable[[ResponseHead], None] | None = self.interims.append

    def answer(self, head: ResponseHead, content: bytes, came_s: float) -> None:
        self.set(Response(head, content))

    def set(self, value: Response) -> None:
        assert not self.told, "told twice"
        self.response = value

    def fail(self, error: BaseException) -> None:
        assert not self.told, "told twice"
        self.error = error

    @property
    def told(self) -> bool:
        """Whether it was told."""
        return self.response is not None or self.error is not None

    @property
    def cause(self) -> str:
        """The label of the error that it was told, or ""."""
        return self.error.cause.label if isinstance(self.error, ProxyError) else ""

    @property
    def content(self) -> bytes:
        """The content of an answer that came whole."""
        assert self.response is not None
        assert type(self.response.content) is bytes
        return self.response.content

    @property
    def body(self) -> Body:
        """The content of an answer whose content comes after its head."""
        assert self.response is not None
        assert type(self.response.content) is not bytes
        return cast(Body, self.response.content)


class Pieces:
    """A body that has these pieces; more of it, or its end, when the test says so."""

    length: int | None = None

    def __init__(self, *pieces: bytes, trailers: list[tuple[bytes, bytes]] | None = None) -> None:
        self.started = self.closed = False
        self.trailers = trailers or []
        self._pieces = list(pieces)

    async def read(self) -> bytes:
        self.started = True
        return self._pieces.pop(0) if self._pieces else b""

    def close(self) -> None:
        self.closed = True


class HasLoop(Protocol):
    """A clock, or whatever else knows the event loop."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop: ...


def make_server(
    clock: HasLoop,
    service: Service,
    settings: LinkSettings = SETTINGS,
    limits: DoorLimits | None = None,
    admit: Callable[[str], None] = lambda peer: None,
) -> LinkServer:
    """A receiver that knows the one caller."""
    responder = Responder(NAME, (RECEIVER_KEY,), {CALLER_KEY.public_key: NO_PSK}.get, settings.params)
    numbers = count(1000)
    door = NoiseDoor(
        responder, {CALLER_KEY.public_key: CALLER}, admit, lambda size: next(numbers).to_bytes(size, "big")
    )
    return LinkServer(
        service, door, settings, limits or DoorLimits(), LinkCounters(), Wheel(clock.loop), clock.loop, bytes
    )


def make_caller_link(clock: Clock, settings: LinkSettings = SETTINGS, number: int = 1) -> CallerLink:
    """A caller's end that isn't connected yet."""
    parser = HeadParser(HeadLimits(), sealed=True)
    params = settings.params._replace(max_streams=0)
    return CallerLink(
        settings, LinkCounters(), landing(), Wheel(clock.loop), clock.loop,
        Initiator(CALLER_KEY, NAME, RECEIVER_KEY.public_key, NO_PSK, params, ephemeral(number)),
        parser, known_link_answers(parser), lambda: None, lambda link, reason: None, lambda link: None,
        lambda name: False, "127.0.0.1:1",
    )  # fmt: skip


class Receiving(End[ReceiverLink]):
    """A receiver's end, whose peer is a caller made by hand.

    server, service: behind it.
    """

    def __init__(
        self,
        settings: LinkSettings = SETTINGS,
        peer_params: Params = PEER_PARAMS,
        server: LinkServer | None = None,
        number: int = 1,
    ) -> None:
        clock = Clock() if server is None else cast(Clock, server.loop)
        self.service = Service() if server is None else cast(Service, server.handler)
        self.server = server or make_server(clock, self.service, settings)
        wire = SocketDouble(asyncio.Protocol())
        initiator = Initiator(
            CALLER_KEY, NAME, RECEIVER_KEY.public_key, NO_PSK, peer_params, ephemeral(number)
        )
        self.server.take(wire, "192.0.2.1", initiator.message)
        finished = initiator.finish(wire.take())
        assert finished is not None
        link = cast(ReceiverLink, wire.protocol)
        super().__init__(link, Peer(clock, wire, finished[0]), wire, clock, self.server.counters)
        self.peer.send(frame(PAD, 0, b""))  # the first record proves who the caller is
        assert link.ready


class Calling(End[CallerLink]):
    """A caller's end, whose peer is a receiver made by hand."""

    def __init__(self, settings: LinkSettings = SETTINGS, peer_params: Params = PEER_PARAMS) -> None:
        clock = Clock()
        link = make_caller_link(clock, settings)
        wire = SocketDouble(link)
        responder = Responder(NAME, (RECEIVER_KEY,), {CALLER_KEY.public_key: NO_PSK}.get, peer_params)
        message = wire.take()
        message_2, established = responder.answer(
            message, responder.check(message), PrivateKey(bytes([7]) * 32)
        )
        wire.receive(message_2)
        super().__init__(link, Peer(clock, wire, established), wire, clock, link.counters)
        assert link.ready
        self.peer.hear()

    def call(self, content: Content = b"", *, packing: Packing = PLAIN, **how: Any) -> Answer:
        """Begin a call the long way."""
        self.open(answer := Answer(), content, packing=packing, **how)
        return answer

    def open(
        self,
        answer: Answer,
        content: Content = b"",
        *,
        packing: Packing = PLAIN,
        is_head: bool = False,
        expects_continue: bool = False,
        upgrade: bytes = b"",
    ) -> CallStream:
        """Begin a call the long way, and return its stream."""
        return open_call(
            self.link, answer, content, packing,
            is_head=is_head, expects_continue=expects_continue, upgrade=upgrade,
        )  # fmt: skip

    def call_short(self, data: bytes = b"") -> Answer:
        """Begin a call the short way."""
        self.link.begin(answer := Answer(), request(self.link.next_stream, data), len(data))
        return answer


def open_call(
    link: CallerLink,
    answer: Answer,
    content: Content = b"",
    packing: Packing = PLAIN,
    *,
    is_head: bool = False,
    expects_continue: bool = False,
    upgrade: bytes = b"",
) -> CallStream:
    """Begin a call on a link."""
    meta = build_request_head(1000, "exchange-1", service_field("api"), POST)
    return link.open(
        answer, meta, content, packing, is_head=is_head, expects_continue=expects_continue, upgrade=upgrade
    )


class Pair:
    """Both ends of one link.

    caller, receiver, service: as they are called.
    """

    def __init__(self, settings: LinkSettings = SETTINGS) -> None:
        self.clock = Clock()
        self.service = Service()
        self.server = make_server(self.clock, self.service, settings)
        self.caller = make_caller_link(self.clock, settings)
        self._calling = SocketDouble(self.caller)
        self._receiving = SocketDouble(asyncio.Protocol())
        self.server.take(self._receiving, "192.0.2.1", self._calling.take())
        self.receiver = cast(ReceiverLink, self._receiving.protocol)
        self.settle()
        assert self.receiver.ready

    def settle_once(self) -> int:
        """Carry what the caller has sent by now, and the answers to that; return how much it has sent."""
        self.clock.advance(0)
        sent = self._calling.take()
        self._receiving.receive(sent)
        self.clock.advance(0)
        self._calling.receive(self._receiving.take())
        return len(sent)

    def settle(self, piece_bytes: int = 1 << 18) -> None:
        """Carry bytes to and fro until there are none."""
        while True:
            self.clock.advance(0)
            sent, answered = self._calling.take(), self._receiving.take()
            if not sent and not answered:
                return
            for at in range(0, len(sent), piece_bytes):
                self._receiving.receive(sent[at : at + piece_bytes])
            for at in range(0, len(answered), piece_bytes):
                self._calling.receive(answered[at : at + piece_bytes])

    def call(self, content: Content = b"", packing: Packing = PLAIN, **how: Any) -> Answer:
        """Begin a call."""
        open_call(self.caller, answer := Answer(), content, packing, **how)
        return answer
