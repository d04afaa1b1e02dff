"""The link's end at the out proxy: it opens streams, one for each attempt, and hands their answers on.

Whoever sends on the short way is told by `set` or `fail` itself, as by a connection; `CallStream` stands
between for whatever is not an ordinary answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, cast

from fastproxy.errors import (
    CONNECTION_LOST,
    RESPONSE_BROKEN,
    RESPONSE_TOO_LARGE,
    STREAM_REFUSED,
    ProxyError,
)
from fastproxy.model import Content, ResponseHead
from fastproxy.net.framing import trailer_parser
from fastproxy.net.http1 import HeadParser, KnownHeads
from fastproxy.net.link.call_stream import Answered, CallStream
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.link import LAST_STREAM, Link, LinkSettings, tls_peer_of
from fastproxy.net.link.stream import pack_content, unpack_content
from fastproxy.net.timers import Wheel
from fastproxy.wire.envelope import SERVICE_RESPONSE
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
    REKEY,
    REQUEST,
    RESET,
    RESPONSE,
    TRAILERS,
    WINDOW,
    build_reset,
    frame,
    parse_window,
)
from fastproxy.wire.link.handshake import Initiator
from fastproxy.wire.link.hello import HelloInitiator
from fastproxy.wire.link.records import MAX_PLAINTEXT_BYTES
from fastproxy.wire.records import PLAIN, Packing

if TYPE_CHECKING:
    from fastproxy.net.tls import TlsPeer

_RESPONSE_END = RESPONSE | END
_CANCELLED = build_reset("")


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


class Carried(Answered, Protocol):
    """A request on the short way: an ordinary answer comes to it without a `Response` around."""

    def answer(self, head: ResponseHead, content: bytes, came_s: float) -> None: ...


class CallerLink(Link):
    """The end of a link that opens streams.

    next_stream: id of the next one. max_streams: how many the receiver takes at a time.
    parser, is_reserved: as below. parse_trailers: judges those of answers.

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
        "parse_trailers",
        "parser",
    )

    def __init__(
        self,
        settings: LinkSettings,
        counters: LinkCounters,
        landing: memoryview,
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
        super().__init__(settings, counters, landing, wheel, loop)
        self._initiator = initiator
        self.own_key = initiator.own_key
        self.parser = parser
        self.parse_trailers = trailer_parser(parser.limits, RESPONSE_BROKEN, RESPONSE_TOO_LARGE)
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
        self.identity = established.peer_public_key or self.identity  # what TLS has proven stands already
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
                self.send_content(whole, b"", packing.pad_to_bytes)
                return stream
        kind = REQUEST | EXPECTS if expects_continue else REQUEST
        self.send_content(frame(kind, stream_id, start), b"", packing.pad_to_bytes)
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
                    answered.answer(head, plaintext[meta_end:at], self.read_s)
                    continue
            if self.closed:
                return
            if kind == REKEY and at < end:
                raise LinkError("frame", "a rekey that isn't the last of its record")
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
        how = _ENDS.get(reason, reason)
        while self.streams:  # whoever deals with a record now may hold them: none is there any more
            _, answered = self.streams.popitem()
            answered.fail(ProxyError(CONNECTION_LOST, f"{self._name}: the link ended ({how})", sent=True))


_ENDS = {
    "record": "record: what came isn't what the receiver has sealed, but was changed, dropped or repeated on "
    "the way",
    "lost": "lost: the connection broke",
    "silent": "silent: the receiver doesn't answer",
    "unread": "unread: the receiver doesn't read",
}
"""Why a link ended, for people; other reasons are words already, or a receiver's mistakes."""


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
