"""One request over a link, at the in proxy, on the long way; to what answers it, it is like a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from math import inf
from typing import TYPE_CHECKING, Any, cast

from fastproxy.errors import (
    BODY_TOO_LARGE,
    MESSAGE_BROKEN,
    TUNNEL_IDLE,
    ProxyError,
    timed_out,
)
from fastproxy.model import Body, Content, Exchange, Headers, Response, ResponseHead
from fastproxy.net.drive import Drive
from fastproxy.net.framing import ParseTrailers
from fastproxy.net.link.link import added_credit
from fastproxy.net.link.stream import SMALL_BYTES, ContentSender, LinkBody, pack_content, unpack_content
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import (
    END,
    INTERIM,
    MAX_DATA_BYTES,
    RESET,
    RESPONSE,
    TRAILERS,
    WINDOW,
    build_interim,
    build_reset,
    frame,
    parse_label,
    parse_window,
)
from fastproxy.wire.link.records import MAX_PLAINTEXT_BYTES
from fastproxy.wire.records import PLAIN, Packing

if TYPE_CHECKING:
    from fastproxy.net.link.receiver import ReceiverLink


class LinkReply(Response):
    """An answer as the link carries it.

    head.start: length and head. packing: of its content.
    idle_timeout_s: for a connection that leaves HTTP by it, without a byte either way.
    """

    packing: Packing = PLAIN
    idle_timeout_s: float = 0.0


class _Said:
    """What a service says after a 101, with a note of each time; a `Body`."""

    __slots__ = ("_body", "_note", "length", "started", "trailers")

    def __init__(self, body: Body, note: Callable[[], None]) -> None:
        self._body = body
        self._note = note
        self.length = body.length
        self.started = False
        self.trailers: Headers = []

    async def read(self) -> bytes:
        self.started = True
        said = await self._body.read()
        self._note()
        return said

    def close(self) -> None:
        self._body.close()


class ReceivedStream:
    """One request on the long way; what answers it sees it as it sees a connection.

    bytes_in, bytes_out: content of the request and of the answer.

    Args:
        link, stream_id: where it came. is_whole: all of it has come.
        expects: its content waits until it is asked for.
    """

    __slots__ = (
        "_body",
        "_drive",
        "_early_bytes",
        "_exchange",
        "_expects",
        "_has_ended",
        "_idle_timeout_s",
        "_is_answered",
        "_link",
        "_parse_trailers",
        "_sender",
        "_stream_id",
        "_until_s",
        "bytes_in",
        "bytes_out",
    )

    def __init__(self, link: ReceiverLink, stream_id: int, *, is_whole: bool, expects: bool) -> None:
        self._link = link
        self._stream_id = stream_id
        self._expects = expects
        self._drive = Drive(self._done)
        self._exchange: Exchange | None = None
        self._body: LinkBody | None = None
        self._sender: ContentSender | None = None
        self._has_ended = is_whole  # the caller's side
        self._is_answered = False
        self._until_s = inf  # for a tunnel, and what answers in the place of an exchange whose time is up
        self._idle_timeout_s = 0.0  # of a tunnel
        self._early_bytes = 0  # credit that came before anything could use it
        self.bytes_in = 0
        self.bytes_out = 0

    # --- the exchange's side ------------------------------------------------------------------------------

    @property
    def link(self) -> ReceiverLink:
        """Where it came."""
        return self._link

    @property
    def date_line(self) -> bytes:
        """The line of a Date field for now."""
        return self._link.date_line()

    @property
    def deadline(self) -> float:
        """When its time is up; monotonic, in seconds."""
        return self._until_s if self._exchange is None else self._exchange.deadline

    @property
    def phase(self) -> str:
        """Where it stands."""
        return "open" if self._exchange is None else self._exchange.phase

    @property
    def waited_s(self) -> float:
        """For how long what answers it has waited; in seconds."""
        return self._drive.waited_s

    @property
    def coroutine(self) -> Coroutine[Any, None, Any] | None:
        """What answers it."""
        return self._drive.coroutine

    def start(self, coroutine: Coroutine[Any, None, None]) -> None:
        """Answer it."""
        self._drive.start(coroutine)

    def incoming(
        self,
        length: int | None,
        limit_bytes: int | None,
        is_reserved: Callable[[bytes], bool],
        parse_trailers: ParseTrailers,
    ) -> Body:
        """Return the content that is still on its way.

        Args:
            length: as the head declares it. limit_bytes: refuse more; None for no limit.
            is_reserved: says which trailers end here. parse_trailers: judges them.
        """
        self._parse_trailers = parse_trailers
        body = self._body = LinkBody(
            self._link, self._stream_id, length, limit_bytes, MESSAGE_BROKEN, BODY_TOO_LARGE,
            is_reserved, self._unwanted, self._ask if self._expects else None,
        )  # fmt: skip
        return body

    def set_deadline(self, exchange: Exchange) -> None:
        """Raise DEADLINE_EXCEEDED inside the exchange, wherever it waits, when its deadline has come."""
        self._exchange = exchange
        self._link.arm(exchange.deadline)

    def _become_tunnel(self, content: Content, idle_timeout_s: float) -> Content:
        """HTTP is left: from now on either side ends it, or nothing said for too long."""
        self._exchange = None
        self._idle_timeout_s = idle_timeout_s
        self._note_said()
        self._link.arm(self._until_s)
        return content if type(content) is bytes else _Said(cast(Body, content), self._note_said)

    def _note_said(self) -> None:
        self._until_s = self._link.time() + self._idle_timeout_s

    def inform(self, head: ResponseHead) -> None:
        """Pass an interim answer on."""
        if not self._is_answered:
            self._link.inform(self._stream_id, head)

    def respond(self, response: Response, fields: bytes = b"") -> Awaitable[None] | None:
        """Send the answer, a `LinkReply`; what is returned, if anything, has to be awaited."""
        reply = cast(LinkReply, response)
        self._is_answered = True
        if type(reply.content) is bytes:
            self.bytes_out = len(reply.content)
            if not self._link.choked and self._send_whole(reply, reply.content):
                return None
        return self._respond(reply)

    def _send_whole(self, reply: LinkReply, content: bytes) -> bool:
        """Send an answer in one frame, if one holds it and the credit allows it."""
        link, start, size_bytes = self._link, reply.head.start, len(content)
        if size_bytes > min(MAX_DATA_BYTES, link.credit) or len(start) > MAX_PLAINTEXT_BYTES // 3:
            return False
        link.credit -= size_bytes
        flag, data = pack_content(content, reply.packing)
        whole = frame(RESPONSE | END | flag, self._stream_id, start + data)
        link.send_content(whole, b"", reply.packing.pad_to_bytes)
        return True

    async def _respond(self, reply: LinkReply) -> None:
        link, content = self._link, reply.content
        try:
            if link.choked:  # a caller that asks on and reads nothing would make this end hold all answers
                await link.until_read()
                if type(content) is bytes and self._send_whole(reply, content):
                    return
            sender = self._sender = ContentSender(link, self._stream_id, reply.packing)
            sender.window += self._early_bytes
            link.send_content(
                frame(RESPONSE, self._stream_id, reply.head.start), b"", reply.packing.pad_to_bytes
            )
            if reply.head.upgrade:
                content = self._become_tunnel(content, reply.idle_timeout_s)
            self.bytes_out = await sender.send(content)
            if reply.head.upgrade and self._body is not None:  # the caller may go on after the service's end
                await self._body.over
        except BaseException:
            if type(content) is not bytes:
                cast(Body, content).close()
            raise

    # --- the caller's frames ------------------------------------------------------------------------------

    def take(self, base: int, kind: int, payload: bytes) -> None:
        """Take a frame of this stream; what only this request is wrong about ends only it.

        Raises:
            LinkError: the caller breaks a rule of the link.
        """
        body, link = self._body, self._link
        if base == RESET:
            link.bother(10)
            parse_label(payload)
            del link.streams[self._stream_id]
            self.cancel()
            link.finished()
        elif base == WINDOW:
            link.bother(1)
            credit_bytes = parse_window(payload)
            if self._sender is not None:
                self._sender.add_credit(credit_bytes)
            else:
                self._early_bytes = added_credit(self._early_bytes, credit_bytes)
        elif self._has_ended:
            raise LinkError("state", "content behind the end of a request")
        else:
            self._has_ended = kind & END > 0
            if base == TRAILERS:
                self._take_trailers(body, payload)
            else:
                self._take_data(body, kind, payload)

    def _take_trailers(self, body: LinkBody | None, payload: bytes) -> None:
        if not self._has_ended:
            raise LinkError("frame", "trailers that don't end their stream")
        if body is not None:
            try:
                body.finish(self._parse_trailers(payload))
            except ProxyError as error:
                body.fail(error)

    def _take_data(self, body: LinkBody | None, kind: int, payload: bytes) -> None:
        link = self._link
        if payload:
            if len(payload) < SMALL_BYTES and not kind & END:
                link.bother(1)
            data = unpack_content(kind, payload)
            self.bytes_in += len(data)
            if self._idle_timeout_s:
                self._note_said()
            if body is not None:
                body.push(data)
            else:  # refused by its head: nobody wants it
                link.discount(len(data))
        elif not kind & END:
            raise LinkError("frame", "content without a byte")
        if body is not None and self._has_ended:
            body.finish([])

    def throw(self, error: ProxyError) -> None:
        """Its time is up."""
        if self._idle_timeout_s:
            error = timed_out(TUNNEL_IDLE, "tunnel_idle_timeout_s", self._idle_timeout_s)
        self._exchange = None
        self._until_s = self._link.answer_until()  # told once more when what answers in its place can't leave
        self._drive.throw(error)

    def cancel(self) -> None:
        """The caller is gone, or wants no answer."""
        if self._body is not None:
            self._body.fail(ProxyError(MESSAGE_BROKEN, "the caller broke the request off"))
        self._drive.cancel()

    def _ask(self) -> None:
        if not self._link.closed:
            self._link.send(frame(INTERIM, self._stream_id, build_interim(100, b"")))

    def _unwanted(self) -> None:
        """The rest of the request isn't read: once it is answered, the caller is told to stop."""

    def _done(self, error: BaseException | None) -> None:
        """The exchange is over, answered or not."""
        link, self._exchange = self._link, None
        if self._body is not None:
            self._body.close()  # what came and wasn't read gives its credit back
            self._body = None
        self._drive.retire()
        if link.streams.pop(self._stream_id, None) is not None and not link.closed:
            if error is not None or not self._has_ended:
                label = error.cause.label if isinstance(error, ProxyError) else ""
                link.send(frame(RESET, self._stream_id, build_reset(label)))
            link.finished()
        if error is not None and not isinstance(error, ProxyError | asyncio.CancelledError):
            link.report(error)
