"""The link's end at the out proxy: it opens streams, one for each attempt, and hands their answers on.

Whoever sends on the short way is told by `set` or `fail` itself, as by a connection; `CallStream` stands
between for whatever is not an ordinary answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from fastproxy.errors import (
    BODY_TOO_LARGE,
    CONNECTION_LOST,
    INTERNAL_ERROR,
    RESPONSE_BROKEN,
    STREAM_REFUSED,
    TABLE,
    ProxyError,
)
from fastproxy.model import Body, Content, Headers, Response, ResponseHead
from fastproxy.net.client import INTERIM_LIMIT
from fastproxy.net.drive import Drive
from fastproxy.net.framing import parse_trailers
from fastproxy.net.http1 import HeadParser, KnownHeads
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.link import LAST_STREAM, Link, LinkSettings, tls_peer_of
from fastproxy.net.link.stream import ContentSender, LinkBody, pack_content, unpack_content
from fastproxy.net.timers import Wheel
from fastproxy.net.upgrade import check_switch
from fastproxy.wire.envelope import SERVICE_RESPONSE, Challenge, Refusal, parse_response_head
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import (
    COMPRESSED,
    DATA,
    END,
    EXPECTS,
    HEADER,
    HEADER_BYTES,
    INTERIM,
    LENGTH_BITS,
    LENGTH_MASK,
    MAX_DATA_BYTES,
    PING,
    PING_BYTES,
    REFUSED,
    REQUEST,
    RESET,
    RESPONSE,
    TRAILERS,
    WINDOW,
    build_reset,
    frame,
    parse_interim,
    parse_label,
    parse_window,
)
from fastproxy.wire.link.handshake import Initiator
from fastproxy.wire.link.hello import HelloInitiator
from fastproxy.wire.link.records import MAX_PLAINTEXT_BYTES
from fastproxy.wire.records import PLAIN, Chunk, Packing

if TYPE_CHECKING:
    from fastproxy.net.tls import TlsPeer

_RESPONSE_END = RESPONSE | END
_CANCELLED = build_reset("")
_Inform = Callable[[ResponseHead], None]


def known_link_answers(parser: HeadParser) -> KnownHeads[ResponseHead | None]:
    """Make what remembers the heads of ordinary answers, as they stand in front of the content.

    Args:
        parser: judges the heads inside. One that is not ordinary counts as None.
    """

    def judge(packed: bytes) -> ResponseHead | None:
        if packed[4:5] != SERVICE_RESPONSE:
            return None
        head = parser.responses[packed[5:]]
        is_ordinary = head.has_date and not head.bodiless and 0 <= head.content_bytes <= MAX_DATA_BYTES
        return head if is_ordinary else None

    return KnownHeads(judge)


class LinkAnswer(Response):
    """An answer that is not an ordinary one. refusal: the cause, when the in proxy itself gives it."""

    refusal: str = ""


class Answered(Protocol):
    """Gets the answer to one request, or learns that there is none: one call, of any.

    inform: gets the interim answers before it, if anybody wants them.
    """

    @property
    def inform(self) -> _Inform | None: ...
    def set(self, value: Response) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class Carried(Answered, Protocol):
    """A request on the short way: an ordinary answer comes to it without a `Response` around."""

    def answer(self, head: ResponseHead, content: bytes) -> None: ...


class CallerLink(Link):
    """The end of a link that opens streams.

    next_stream: id of the next one. max_streams: how many the receiver takes at a time.
    parser, is_reserved: as below.

    Args:
        initiator: shakes hands. parser: judges the heads of answers. answers: remembers the ordinary ones.
        on_ready: called when the link can be used. on_end: called with the reason when it is gone, or
            couldn't be made. on_goodbye: called when it takes no new streams.
        is_reserved: says by name which trailers end here. name: of the endpoint, for errors.
        check: judges who TLS has proven to be there, before a byte is sent; None without TLS.
    """

    __slots__ = (
        "_answers",
        "_check",
        "_initiator",
        "_name",
        "_on_end",
        "_on_goodbye",
        "_on_ready",
        "_usual",
        "_usual_head",
        "is_reserved",
        "max_streams",
        "next_stream",
        "parser",
    )

    def __init__(
        self,
        settings: LinkSettings,
        counters: LinkCounters,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
        initiator: Initiator | HelloInitiator,
        parser: HeadParser,
        answers: KnownHeads[ResponseHead | None],
        on_ready: Callable[[], None],
        on_end: Callable[[CallerLink, str], None],
        on_goodbye: Callable[[CallerLink], None],
        is_reserved: Callable[[bytes], bool],
        name: str,
        check: Callable[[TlsPeer], object] | None = None,
    ) -> None:
        super().__init__(settings, counters, wheel, loop)
        self._initiator = initiator
        self.parser = parser
        self._answers = answers
        self._on_ready = on_ready
        self._on_end = on_end
        self._on_goodbye = on_goodbye
        self.is_reserved = is_reserved
        self._name = name
        self._usual = b""  # what the last ordinary answer began with
        self._usual_head: ResponseHead | None = None
        self._check = check
        self.next_stream = 1
        self.max_streams = 0

    # --- the handshake ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        super().connection_made(transport)
        try:
            if self._check is not None:
                self.identity = peer = tls_peer_of(transport)
                self._check(peer)
        except LinkError as error:
            self.fail(error)
        if not self.closed:
            cast(asyncio.Transport, transport).write(self._initiator.message)

    def _shake_hands(self, data: bytes) -> None:
        if data.startswith(b"HTTP/"):
            raise LinkError(
                "handshake", "it answers in HTTP: an in proxy that doesn't `accept` links, or no in proxy"
            )
        finished = self._initiator.finish(data)
        if finished is None:
            return
        established, rest = finished
        self.max_streams = established.params.max_streams
        self._establish(established)
        self._begin()
        self.send(frame(PING, 0, bytes(PING_BYTES)))  # a first record: only that proves this end to the other
        self._on_ready()
        if rest:
            self._receive(rest)

    # --- the exchange's side ------------------------------------------------------------------------------

    def begin(self, answered: Carried, frame_bytes: bytes, content_bytes: int) -> int:
        """Send a whole request in one frame; there is room for it (`ready`, `credit`, `max_streams`).

        Args:
            answered: gets the answer. frame_bytes: the request, as a frame of stream `next_stream`.
            content_bytes: length of the content in it.

        Returns:
            The id of its stream, for `abandon`.
        """
        stream_id = self.next_stream
        self.next_stream = stream_id + 1
        self.credit -= content_bytes
        self.streams[stream_id] = answered
        self.send(frame_bytes)
        return stream_id

    def open(
        self,
        answered: Answered,
        meta: bytes,
        content: Content,
        packing: Packing,
        *,
        is_head: bool,
        expects_continue: bool,
        upgrade: bytes,
    ) -> CallStream:
        """Send a request whose content may still be on its way; the link is `ready`.

        Args:
            answered: gets the answer. meta: the head, as `wire.envelope.build_request_head` makes it.
            content, packing: what follows, and how it is compressed and padded.
            is_head: its answer has no content. expects_continue: the content waits for the receiver's yes.
            upgrade: the protocols that it asks to go over to.
        """
        stream_id = self.next_stream
        self.next_stream = stream_id + 1
        stream = self.streams[stream_id] = CallStream(
            self, stream_id, answered, packing, is_head=is_head, upgrade=upgrade
        )
        start = len(meta).to_bytes(4, "big") + meta
        if type(content) is bytes:
            size_bytes = len(content)
            if size_bytes <= min(MAX_DATA_BYTES, self.credit) and len(start) <= MAX_PLAINTEXT_BYTES // 3:
                self.credit -= size_bytes
                flag, data = pack_content(content, packing)
                whole = frame(REQUEST | END | flag, stream_id, start + data)
                self.send_content(whole, packing.pad_to_bytes)
                return stream
        kind = REQUEST | EXPECTS if expects_continue else REQUEST
        self.send_content(frame(kind, stream_id, start), packing.pad_to_bytes)
        stream.send(content, waits=expects_continue)
        return stream

    def abandon(self, stream_id: int) -> None:
        """Nobody waits for this answer any more."""
        if self.streams.pop(stream_id, None) is not None:
            self.send(frame(RESET, stream_id, _CANCELLED))
            self.finished()

    # --- receiving ----------------------------------------------------------------------------------------

    def _take(self, plaintext: bytes) -> None:
        at, end, streams = 0, len(plaintext), self.streams
        while at < end:
            if end - at < HEADER_BYTES:
                raise LinkError("frame", "cut")
            word, stream_id = HEADER.unpack_from(plaintext, at)
            start = at + HEADER_BYTES
            at = start + (word & LENGTH_MASK)
            if at > end:
                raise LinkError("frame", "longer than its record")
            kind = word >> LENGTH_BITS
            answered = streams.get(stream_id)
            if kind == _RESPONSE_END and answered is not None:
                if self._usual and plaintext.startswith(self._usual, start):  # most answers begin alike
                    head, meta_end = self._usual_head, start + len(self._usual)
                else:
                    meta_end = start + 4 + int.from_bytes(plaintext[start : start + 4], "big")
                    try:
                        head = self._answers[plaintext[start:meta_end]]
                    except ProxyError:
                        head = None  # found again, and told, below
                    if head is not None and head.plan is not None:
                        self._usual, self._usual_head = plaintext[start:meta_end], head
                if head is not None and head.content_bytes == at - meta_end:
                    if head.content_bytes:
                        self.arrived(head.content_bytes)  # may end the link, and the stream with it
                        self.consumed(head.content_bytes)
                    del streams[stream_id]
                    answered.answer(head, plaintext[meta_end:at])
                    continue
            if self.closed:
                return
            self._take_other(kind, stream_id, plaintext[start:at], answered)
        if self.draining:
            self.finished()

    def _take_other(self, kind: int, stream_id: int, payload: bytes, answered: Any) -> None:
        if not stream_id:
            self.take_own(kind, payload)
            return
        if stream_id >= self.next_stream:
            raise LinkError("state", "a frame of a stream that was never opened")
        base = kind & 0xF0
        if base not in _OF_STREAMS or kind & 0xF & ~_OF_STREAMS[base]:
            raise LinkError("frame", f"a frame of kind {kind:#x} from a receiver")
        if answered is None:
            self._take_late(base, kind, payload)
            return
        if type(answered) is not CallStream:
            if base == WINDOW:  # whatever was sent whole needs no credit
                self.bother(1)
                parse_window(payload)
                return
            answered = self.streams[stream_id] = CallStream(
                self, stream_id, answered, PLAIN, is_head=False, upgrade=b""
            )
        answered.take(base, kind, payload)

    def _take_late(self, base: int, kind: int, payload: bytes) -> None:
        """Take a frame of a stream that this end gave up: it may have been on its way."""
        self.bother(1)
        if base == RESPONSE:
            payload = payload[4 + int.from_bytes(payload[:4], "big") :]
        if base in (RESPONSE, DATA) and payload:
            self.discount(len(unpack_content(kind, payload)))

    def _take_goaway(self, last_stream: int, reason: int) -> None:
        """The receiver takes no streams after the last one named: those may be sent elsewhere."""
        for stream_id in [stream_id for stream_id in self.streams if stream_id > last_stream]:
            answered = self.streams.pop(stream_id, None)
            if answered is not None:  # what the one before it did may have ended this one too
                answered.fail(ProxyError(STREAM_REFUSED, f"{self._name}: it goes away"))
        self._goodbye()

    def _newest_stream(self) -> int:
        return self.next_stream - 1

    def _goodbye(self) -> None:
        self.draining = True
        self._on_goodbye(self)
        self.finished()

    def _grow_old(self, now_s: float) -> None:
        if not self.draining and (
            now_s - self.born_s >= self.settings.max_age_s or self.next_stream > LAST_STREAM - 2**20
        ):
            self._on_goodbye(self)  # whoever keeps the links makes another before this one is drained

    def _ended(self, reason: str) -> None:
        self._on_end(self, reason)
        streams, self.streams = self.streams, {}
        for answered in streams.values():
            answered.fail(ProxyError(CONNECTION_LOST, f"{self._name}: the link ended ({reason})", sent=True))


_OF_STREAMS = {
    RESPONSE: END | COMPRESSED,
    DATA: END | COMPRESSED,
    TRAILERS: END,
    INTERIM: 0,
    RESET: 0,
    REFUSED: 0,
    WINDOW: 0,
}
"""What a receiver may send on a stream, each kind with the flags that may go with it."""


class CallStream:
    """One attempt that is not, or not yet, an ordinary one.

    Args:
        link, stream_id: where. answered: gets the answer.
        packing: how the content of the request is packed. is_head: the answer has no content.
        upgrade: the protocols that the request asks to go over to.
    """

    __slots__ = (
        "_answered",
        "_body",
        "_interims",
        "_is_head",
        "_is_tunnel",
        "_link",
        "_sender",
        "_sending",
        "_stream_id",
        "_upgrade",
        "_waiting",
    )

    def __init__(
        self,
        link: CallerLink,
        stream_id: int,
        answered: Answered,
        packing: Packing,
        *,
        is_head: bool,
        upgrade: bytes,
    ) -> None:
        self._link = link
        self._stream_id = stream_id
        self._answered: Answered | None = answered
        self._is_head = is_head
        self._upgrade = upgrade
        self._is_tunnel = False
        self._sender = ContentSender(link, stream_id, packing)
        self._sending: Drive | None = None
        self._waiting: Content | None = None  # content that waits for the receiver's yes
        self._body: LinkBody | None = None
        self._interims = 0

    def send(self, content: Content, *, waits: bool) -> None:
        """Send the content as it comes; `waits`: not before the receiver asks for it."""
        if waits:
            self._waiting = content
            return
        sending = self._sending = Drive(self._sent)
        sending.start(self._send(content))

    async def _send(self, content: Content) -> None:
        try:
            await self._sender.send(content)
        except BaseException:
            if self._is_tunnel:
                cast(Body, content).close()  # whoever says it waits for it; a body may yet go elsewhere
            raise

    def cancel(self) -> None:
        """Nobody waits for the answer any more, or for the rest of it."""
        self._answered = None
        self._give_up("")

    def answer(self, head: ResponseHead, content: bytes) -> None:
        """An ordinary answer has come, and the link has forgotten this stream.

        Raises:
            LinkError: there was an answer before.
        """
        answered, self._answered = self._answered, None
        if answered is None:
            self._link.streams[self._stream_id] = self  # to be told of the end, as all others
            raise LinkError("state", "a second answer on a stream")
        self._stop_sending()
        answered.set(Response(head, content))

    def fail(self, error: ProxyError) -> None:
        """There will be no answer, or no more of it, and the link has forgotten this stream."""
        if self._sending is not None:
            sending, self._sending = self._sending, None
            sending.cancel()
        self._waiting = None  # not closed: it may go elsewhere
        answered, self._answered = self._answered, None
        if answered is not None:
            answered.fail(error)
        if self._body is not None:
            self._body.fail(error)

    # --- the receiver's frames ----------------------------------------------------------------------------

    def take(self, base: int, kind: int, payload: bytes) -> None:
        """Take a frame of this stream; what only this exchange is wrong about ends only it.

        Raises:
            LinkError: the receiver breaks a rule of the link.
        """
        link = self._link
        try:
            if base == DATA:
                self._take_data(kind, payload)
            elif base == RESPONSE:
                self._take_response(kind, payload)
            elif base == WINDOW:
                link.bother(1)
                self._sender.add_credit(parse_window(payload))
            elif base == INTERIM:
                self._take_interim(payload)
            elif base == TRAILERS:
                self._take_end(parse_trailers(payload, RESPONSE_BROKEN), kind)
            else:
                self._take_end_of_stream(base, parse_label(payload))
        except ProxyError as error:
            error.sent = True
            self._give_up(error.cause.label)
            self.fail(error)

    def _take_response(self, kind: int, payload: bytes) -> None:
        if self._answered is None or self._body is not None:
            raise LinkError("state", "a second answer on a stream")
        meta_end = 4 + int.from_bytes(payload[:4], "big")
        if not 4 < meta_end <= len(payload):
            raise LinkError("frame", "an answer without its head")
        is_last = kind & END > 0
        content = unpack_content(kind, payload[meta_end:])
        try:
            head, refusal = self._judge(Chunk(payload[4:meta_end], content, is_last))
        except ProxyError:
            self._link.discount(len(content))
            raise
        self._is_tunnel = bool(head.upgrade)
        length = 0 if self._is_head or head.bodiless else head.length
        body: Content = content
        if not is_last:
            body = self._body = LinkBody(
                self._link,
                self._stream_id,
                length,
                None,
                RESPONSE_BROKEN,
                BODY_TOO_LARGE,
                self._link.is_reserved,
                self.cancel,
            )
            if content:
                body.push(content)
        else:
            self._link.discount(len(content))
            if length is not None and length != len(content):
                raise ProxyError(RESPONSE_BROKEN, "the body has another length than its head says")
        answered, self._answered = self._answered, None
        if is_last:
            self._end()
        elif self._waiting is not None:
            self._drop_waiting()
        answered.set(LinkAnswer(head, body, refusal))

    def _judge(self, first: Chunk) -> tuple[ResponseHead, str]:
        """Return an answer's head, and the cause when the receiver itself gives it."""
        sealed = parse_response_head(first)
        if isinstance(sealed, Challenge):
            raise LinkError("frame", "a challenge on a link")
        head = self._link.parser.responses[sealed.http]
        if head.upgrade:
            check_switch(self._upgrade, head)
        return head, sealed.cause if isinstance(sealed, Refusal) else ""

    def _take_data(self, kind: int, payload: bytes) -> None:
        body = self._body
        if body is None or body.complete:
            raise LinkError("state", "content before the head of an answer, or behind its end")
        if payload:
            if len(payload) < _SMALL_BYTES and not kind & END:
                self._link.bother(1)
            body.push(unpack_content(kind, payload))
        elif not kind & END:
            raise LinkError("frame", "content without a byte")
        if kind & END:
            self._take_end([], kind)

    def _take_end(self, trailers: Headers, kind: int) -> None:
        body = self._body
        if body is None or body.complete or not kind & END:
            raise LinkError("state", "an end before the head of an answer, or a second one, or none")
        self._end()
        body.finish(trailers)

    def _take_interim(self, payload: bytes) -> None:
        if self._answered is None:
            raise LinkError("state", "an interim answer after the final one")
        self._interims += 1
        if self._interims > INTERIM_LIMIT + 1:
            raise LinkError("flood", "interim answers without end")
        status, fields = parse_interim(payload)
        head = self._link.parser.interim(b"HTTP/1.1 %d \r\n%b\r\n" % (status, fields))
        waiting, self._waiting = self._waiting, None
        if waiting is not None and status == 100:
            self.send(waiting, waits=False)  # which asks the caller for it, by a 100 of its own
        else:
            self._waiting = waiting
            if self._answered.inform is not None:
                self._answered.inform(head)

    def _take_end_of_stream(self, base: int, label: str) -> None:
        self._link.bother(10)
        if base == REFUSED and self._answered is None:
            raise LinkError("state", "a stream is refused after it was answered")
        self._link.streams.pop(self._stream_id, None)
        known = label if label in TABLE else "cancelled"
        if base == REFUSED:
            self.fail(ProxyError(STREAM_REFUSED, f"the receiver took nothing of it: {known}"))
        else:
            self.fail(ProxyError(CONNECTION_LOST, f"the receiver broke it off: {known}", sent=True))
        self._link.finished()

    # --- the end ------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """The answer is through; the request too, unless both are a tunnel."""
        if self._is_tunnel and self._sending is not None:
            return
        self._link.streams.pop(self._stream_id, None)
        self._stop_sending()
        self._link.finished()

    def _sent(self, error: BaseException | None) -> None:
        self._sending = None
        if isinstance(error, ProxyError):
            self._give_up(error.cause.label)
            self.fail(error)
        elif error is not None:
            self._give_up("")
            if not isinstance(error, asyncio.CancelledError):
                self._link.report(error)
                self.fail(ProxyError(INTERNAL_ERROR, sent=True))
        elif self._is_tunnel and self._body is not None and self._body.complete:
            self._link.streams.pop(self._stream_id, None)
            self._link.finished()

    def _stop_sending(self) -> None:
        """The rest of the request is of no use."""
        self._drop_waiting()
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()
            self._link.send(frame(RESET, self._stream_id, _CANCELLED))

    def _drop_waiting(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None and type(waiting) is not bytes:
            body: Body = waiting  # type: ignore[assignment]
            body.close()

    def _give_up(self, label: str) -> None:
        """Tell the receiver, if it doesn't know yet."""
        link = self._link
        if link.streams.pop(self._stream_id, None) is not None and not link.closed:
            link.send(frame(RESET, self._stream_id, build_reset(label)))
            link.finished()
        sending, self._sending = self._sending, None
        if sending is not None:
            sending.cancel()


_SMALL_BYTES = 64
"""Content in pieces smaller than this costs the receiver of it more than the sender."""
