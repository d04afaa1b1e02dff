"""One attempt on a link, at the out proxy, that is not, or not yet, an ordinary one.

It sends a body as it comes, takes interim answers, and an answer in pieces; what only this exchange is wrong
about ends only it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, cast

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
from fastproxy.net.link.stream import SMALL_BYTES, ContentSender, LinkBody, unpack_content
from fastproxy.net.upgrade import check_switch
from fastproxy.wire.envelope import Challenge, Refusal, parse_response_head
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import (
    DATA,
    END,
    INTERIM,
    REFUSED,
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
from fastproxy.wire.records import Chunk, Packing

if TYPE_CHECKING:
    from fastproxy.net.link.caller import CallerLink

_CANCELLED = build_reset("")
_Inform = Callable[[ResponseHead], None]


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

    def answer(self, head: ResponseHead, content: bytes, came_s: float) -> None:
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
            body, self._body = self._body, None
            body.fail(error)

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
                self._take_end(link.parse_trailers(payload), kind)
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
            if len(payload) < SMALL_BYTES and not kind & END:
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
