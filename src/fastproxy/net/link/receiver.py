"""The link's end at the in proxy: it takes the streams that a caller's out proxy opens.

A whole request is offered to the short way first; what that doesn't take becomes a `ReceivedStream`, which is
to the proxy what a `Connection` is for a request over HTTP.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from fastproxy.errors import (
    DEADLINE_EXCEEDED,
    OVERLOADED,
    ProxyError,
)
from fastproxy.model import ResponseHead
from fastproxy.net.link.link import LAST_STREAM, Link, tls_peer_of
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.link.stream import unpack_content
from fastproxy.net.listener import peer_uid
from fastproxy.net.timers import Timer
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import (
    COMPRESSED,
    DATA,
    DRAINING,
    END,
    EXPECTS,
    GOAWAY,
    HEADER,
    HEADER_BYTES,
    INTERIM,
    LENGTH_BITS,
    LENGTH_MASK,
    PING,
    REFUSED,
    REKEY,
    REQUEST,
    RESET,
    TRAILERS,
    WINDOW,
    build_goaway,
    build_interim,
    build_refused,
    frame,
    parse_label,
    parse_window,
)

if TYPE_CHECKING:
    from fastproxy.net.link.server import LinkServer
    from fastproxy.net.tls import TlsPeer

_REQUEST_END = REQUEST | END
_LEAVING = b"leaving."
_FAREWELL_S = 5.0
"""How long a caller has to learn that this end goes away, before what it opens is refused."""
_OF_STREAMS = {DATA: END | COMPRESSED, TRAILERS: END, RESET: 0, WINDOW: 0}
"""What a caller may send on a stream that is open, each kind with the flags that may go with it."""


class LinkFlight(Protocol):
    """A stream that is under way, on the short way or the long one.

    deadline: monotonic time in seconds.
    """

    @property
    def deadline(self) -> float: ...
    @property
    def phase(self) -> str: ...

    def throw(self, error: ProxyError) -> None:
        """Its time is up: answer with this error."""
        ...

    def cancel(self) -> None:
        """Nobody waits for its answer any more."""
        ...


class Sealed(NamedTuple):
    """A request as it came over a link. meta: its head. data: content that came with it. is_whole: all."""

    meta: bytes
    data: bytes
    is_whole: bool


class StreamHandler(Protocol):
    """What an in proxy does with streams."""

    def begin(self, link: ReceiverLink, stream_id: int, payload: bytes) -> bool:
        """Take an ordinary request on the short way; False: nothing was done with it.

        Args:
            payload: of a frame with a whole request: length of the head, head, content.
        """
        ...

    def handle(self, stream: ReceivedStream, request: Sealed) -> Coroutine[Any, None, None]:
        """Answer a request on the long way."""
        ...


class ReceiverLink(Link):
    """The end of a link that takes streams.

    caller: who was proven to be at the other end. peer: its address. last_stream: the last one taken.
    known: what the short way knows of this caller's requests.

    Args:
        server: what all links of an in proxy share. peer: as above.
    """

    __slots__ = (
        "_deadline",
        "_greeting",
        "_handler",
        "_server",
        "caller",
        "known",
        "last_stream",
        "peer",
    )

    def __init__(self, server: LinkServer, peer: str) -> None:
        super().__init__(server.settings, server.counters, server.landing, server.wheel, server.loop)
        self._server = server
        self._greeting = b""  # what has come of the handshake
        self._deadline = Timer(server.wheel, self._deadline_passed)
        self.peer = peer
        self.caller = ""
        self.last_stream = 0
        self.renew()

    def renew(self) -> None:
        """Know nothing any more of what the handler has made of this caller's requests until now."""
        self._handler = self._server.handler
        self.known: Any = None

    def is_served_by(self, handler: StreamHandler) -> bool:
        """Whether streams that begin now are handed to this handler."""
        return self._handler is handler

    # --- the handshake ------------------------------------------------------------------------------------

    def _shake_hands(self, data: bytes) -> None:
        greeting = self._greeting = self._greeting + data
        shaken = self._server.door.shake(self, greeting)
        if shaken is not None:
            established, rest = shaken
            self._greeting = b""
            self._establish(established)
            if rest:
                self._receive(rest)

    def write(self, data: bytes) -> None:
        """Send bytes of the handshake."""
        if self._transport is not None:
            self._transport.write(data)

    def tls_peer(self) -> TlsPeer:
        """Who has proven by TLS to be at the other end; raises LinkError when nobody has."""
        return tls_peer_of(cast(asyncio.Transport, self._transport))

    def peer_uid(self) -> int:
        """The user at the other end, where that is a Unix socket."""
        return peer_uid(None if self._transport is None else self._transport.get_extra_info("socket"))

    # --- receiving ----------------------------------------------------------------------------------------

    def _take(self, plaintext: bytes) -> None:
        if not self.born_s:  # not before a record has opened is it certain that no old message was replayed
            self._begin()
            self._server.proven(self)
        at, end = 0, len(plaintext)
        begin = self._handler.begin
        while at < end:
            if end - at < HEADER_BYTES:
                raise LinkError("frame", "cut")
            word, stream_id = HEADER.unpack_from(plaintext, at)
            start = at + HEADER_BYTES
            at = start + (word & LENGTH_MASK)
            if at > end:
                raise LinkError("frame", "longer than its record")
            kind = word >> LENGTH_BITS
            payload = plaintext[start:at]
            if kind == _REQUEST_END and self.ready:
                if stream_id <= self.last_stream:
                    raise LinkError("state", "a stream is opened twice, or out of turn")
                self.last_stream = stream_id
                if len(self.streams) < self.settings.params.max_streams and begin(self, stream_id, payload):
                    continue
                self._open(kind, stream_id, payload)
            else:
                if kind == REKEY and at < end:
                    raise LinkError("frame", "a rekey that isn't the last of its record")
                self._take_other(kind, stream_id, payload)
            if self.closed:
                return

    def _take_other(self, kind: int, stream_id: int, payload: bytes) -> None:
        if not stream_id:
            self.take_own(kind, payload)
            return
        base = kind & 0xF0
        if base == REQUEST:
            if stream_id <= self.last_stream:
                raise LinkError("state", "a stream is opened twice, or out of turn")
            if self.draining:  # it was told which one is the last: the others were never taken
                self._take_late(kind, payload)
                return
            self.last_stream = stream_id
            self._open(kind, stream_id, payload)
            return
        if base not in _OF_STREAMS or kind & 0xF & ~_OF_STREAMS[base]:
            raise LinkError("frame", f"a frame of kind {kind:#x} from a caller")
        stream = self.streams.get(stream_id)
        if type(stream) is ReceivedStream:
            stream.take(base, kind, payload)
        elif stream is not None:  # on the short way: all of it has come
            if base == RESET:
                self.bother(10)
                parse_label(payload)
                del self.streams[stream_id]
                stream.cancel()
                self.finished()
            elif base == WINDOW:
                self.bother(1)
                parse_window(payload)
            else:
                raise LinkError("state", "content behind the end of a request")
        elif stream_id > self.last_stream and not self.draining:
            raise LinkError("state", "a frame of a stream that was never opened")
        else:
            self._take_late(kind, payload)

    def _open(self, kind: int, stream_id: int, payload: bytes) -> None:
        """Take a request the long way, or refuse it."""
        if kind & 0xF & ~(END | COMPRESSED | EXPECTS):
            raise LinkError("frame", f"a request with the flags {kind & 0xF:#x}")
        meta_end = 4 + int.from_bytes(payload[:4], "big")
        if not 4 < meta_end <= len(payload):
            raise LinkError("frame", "a request without its head")
        data = unpack_content(kind, payload[meta_end:])
        is_whole = kind & END > 0
        if len(self.streams) >= self.settings.params.max_streams:
            self.bother(10)
            self.discount(len(data))
            self.send(frame(REFUSED, stream_id, build_refused(OVERLOADED.label)))
            return
        stream = self.streams[stream_id] = ReceivedStream(
            self, stream_id, is_whole=is_whole, expects=kind & EXPECTS > 0
        )
        if is_whole:
            stream.bytes_in = len(data)
            self.discount(len(data))
            stream.start(self._handler.handle(stream, Sealed(payload[4:meta_end], data, is_whole)))
            return
        stream.start(self._handler.handle(stream, Sealed(payload[4:meta_end], b"", is_whole)))
        if stream_id not in self.streams:  # refused already
            self.discount(len(data))
        elif data:
            stream.take(DATA, DATA, data)

    def _take_late(self, kind: int, payload: bytes) -> None:
        """Take a frame of a stream that this end has ended, or never took: it was on its way."""
        self.bother(1)
        base = kind & 0xF0
        if base == REQUEST:
            payload = payload[4 + int.from_bytes(payload[:4], "big") :]
        if base in (REQUEST, DATA) and payload:
            self.discount(len(unpack_content(kind, payload)))

    def _goodbye(self) -> None:
        """The caller opens no more streams."""
        self.draining = True
        self.finished()

    def inform(self, stream_id: int, head: ResponseHead) -> None:
        """Pass an interim answer on."""
        if not self.closed:
            fields = head.start.partition(b"\r\n")[2]
            self.send(frame(INTERIM, stream_id, build_interim(head.status, fields)))

    # --- deadlines ----------------------------------------------------------------------------------------

    def arm(self, deadline: float) -> None:
        """Look at this link's streams when this time has come, in seconds of the loop's clock."""
        if deadline < self._deadline.armed:
            self._deadline.set(deadline)

    def time(self) -> float:
        """What the loop's clock says, in seconds."""
        return self._loop.time()

    def answer_until(self) -> float:
        """Until when an answer that is due now has to be sent, in seconds of the loop's clock."""
        return self._loop.time() + self.settings.write_timeout_s

    def _deadline_passed(self) -> None:
        """One timer for all streams: answer those whose time is up, and wait for the next."""
        now_s = self._loop.time()
        flights = list(self.streams.values())
        for flight in flights:
            if flight.deadline <= now_s:
                phase = flight.phase
                flight.throw(
                    ProxyError(DEADLINE_EXCEEDED, f"the time was used up in phase {phase}", phase=phase)
                )
        deadline = min((flight.deadline for flight in self.streams.values()), default=0.0)
        if deadline:
            self._deadline.set(max(deadline, now_s))

    # --- the end ------------------------------------------------------------------------------------------

    def _fail_handshake(self, error: LinkError) -> None:
        super()._fail_handshake(error)
        self._server.note_refusal(self.peer, error)

    def _newest_stream(self) -> int:
        return self.last_stream

    def _last_taken(self) -> int:
        return self.last_stream

    def _grow_old(self, now_s: float) -> None:
        if now_s - self.born_s >= self.settings.max_age_s:
            self.leave()

    def leave(self) -> None:
        """Drain once the caller knows of it, and take what it has opened until then.

        A content that is on its way already can't be sent again elsewhere: refusing it would fail the call.
        """
        if self.draining or not self.born_s:
            self.drain()
            return
        self.send(frame(GOAWAY, 0, build_goaway(LAST_STREAM, DRAINING)))
        self.send(frame(PING, 0, _LEAVING))
        self._loop.call_later(_FAREWELL_S, self.drain)

    def _take_pong(self, payload: bytes) -> None:
        if payload == _LEAVING:
            self.ready = self.is_open = False
            self._goodbye()

    def _ended(self, reason: str) -> None:
        self._deadline.retire()
        self._server.forget(self)
        streams, self.streams = self.streams, {}
        for flight in streams.values():
            flight.cancel()

    def date_line(self) -> bytes:
        """The line of a Date field for now."""
        return self._server.date_line()
