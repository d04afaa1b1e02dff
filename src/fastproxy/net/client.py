"""The plain edge that makes requests: connections to services, and to receivers over HTTP.

One connection carries one exchange at a time. What comes back is parsed as strictly as what callers send:
an answer that can be read in two ways ends in an error, never at the caller.
Knows nothing of pools (`pool.py`), of retries or of which proxy uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from fastproxy.errors import CONNECTION_LOST, RESPONSE_MALFORMED, ProxyError
from fastproxy.model import Body, Endpoint, Inform, Response, ResponseHead
from fastproxy.net.drive import Drive, Waiter
from fastproxy.net.framing import Chunked, Framing, IncomingBody, Sized, UntilClose
from fastproxy.net.http1 import HeadParser, response_overflow, write_fields
from fastproxy.net.outbox import AT_ONCE, Outbox
from fastproxy.net.pull import pull
from fastproxy.net.upgrade import check_switch

_HTTP = b"HTTP/"
"""How every answer begins."""
INTERIM_LIMIT = 16
"""Interim (1xx) answers that one request may get; a service that sends them without end holds nobody up."""


class Answered(Protocol):
    """Gets the answer to one request: one call, of any, and no other.

    interim_to: gets the interim answers before it; None drops them.
    """

    @property
    def interim_to(self) -> Inform | None: ...
    def set_whole(self, head: ResponseHead, content: bytes) -> None: ...
    def set(self, value: Response) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class AnswerWaiter(Waiter[Response]):
    """Waits for the answer to one request. interim_to: as in `Answered`."""

    interim_to: Inform | None = None

    def set_whole(self, head: ResponseHead, content: bytes) -> None:
        """All of it has come."""
        self.set(Response(head, content))


class ClientConnection(asyncio.Protocol):
    """One connection to an endpoint.

    is_ended: whether the endpoint has said that it ends it after its answer, to a request that was through.
    is_queued: whether its last request hasn't been written yet, and so wasn't if the connection is gone.
    idle_since: monotonic time in seconds at which its last exchange was through; 0 during its first one.

    Args:
        parser: parses response heads, within its limits.
        endpoint: where it leads.
        on_free: called with the connection when it can carry another exchange.
        on_lost: called with the connection when it is gone.
        outbox: writes requests that are here entirely.
    """

    __slots__ = (
        "_asked",
        "_body",
        "_buffer",
        "_drained",
        "_framing",
        "_heads",
        "_interim",
        "_is_head",
        "_is_special",
        "_limit",
        "_on_free",
        "_on_lost",
        "_outbox",
        "_parser",
        "_reusable",
        "_sending",
        "_transport",
        "_tunnel",
        "_usual",
        "_usual_head",
        "_waiter",
        "closed",
        "endpoint",
        "idle_since",
        "is_ended",
        "is_queued",
    )

    def __init__(
        self,
        parser: HeadParser,
        endpoint: Endpoint,
        on_free: Callable[[ClientConnection], None],
        on_lost: Callable[[ClientConnection], None],
        outbox: Outbox = AT_ONCE,
    ) -> None:
        # per connection
        self._parser = parser
        self._heads = parser.responses
        self._limit = parser.limits.header_bytes
        self._on_free = on_free
        self._on_lost = on_lost
        self._outbox = outbox
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._usual = b""  # the head of the last ordinary answer
        self._usual_head: Any = None
        self._drained: Waiter[None] | None = None
        self.endpoint = endpoint
        self.closed = False
        self.is_ended = False
        self.is_queued = False
        self.idle_since = 0.0
        # per exchange
        self._is_head = False
        self._is_special = False  # its answer needs a closer look, however it comes
        self._waiter: Answered | None = None  # while the answer's head is awaited
        self._framing: Framing | None = None  # while the answer's body comes
        self._body: IncomingBody | None = None
        self._sending: Drive | None = None  # while the request's body leaves
        self._interim = 0
        self._asked: tuple[bytes, Body] | None = None  # protocols to go over to, and what leaves then
        self._tunnel: Body | None = None  # what leaves since the endpoint has gone over to one of them
        self._reusable = False

    @property
    def busy(self) -> bool:
        """Whether it carries an exchange."""
        return self._waiter is not None or self._framing is not None or self._sending is not None

    @property
    def is_sending(self) -> bool:
        """Whether a part of the request's body hasn't left."""
        return self._sending is not None

    @property
    def is_unread(self) -> bool:
        """Whether the endpoint doesn't read what is sent."""
        return self._drained is not None

    @property
    def fd(self) -> int:
        """Number of its descriptor; -1 when it is gone, or has none."""
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        return -1 if sock is None else int(sock.fileno())

    # --- the exchange's side -----------------------------------------------------------------------------

    def carry(self, answered: Answered) -> None:
        """Begin an exchange whose request `write` sends; not for HEAD. As in `send`, but for the waiter."""
        self._is_special = self._is_head = False
        self._waiter = answered

    def write(self, message: bytes) -> None:
        """Send a whole request; `carry` says who gets its answer."""
        self.is_queued = True
        self._outbox.put(self._transport, message, self)  # type: ignore[arg-type]  # it was open when it was given

    def send(self, method: bytes, message: bytes, inform: Inform | None = None) -> AnswerWaiter:
        """Begin an exchange by a request that is here entirely: one write, and a wait for the answer's head.

        Whoever stops waiting calls `abandon`.

        Args:
            method: of the request: it decides whether the answer has a body.
            message: the serialised request.
            inform: gets the head of each interim answer; None drops them.

        Raises (the waiter):
            ProxyError: CONNECTION_LOST, RESPONSE_MALFORMED, RESPONSE_TOO_LARGE.
        """
        self._is_special = self._is_head = method == b"HEAD"
        waiter = self._waiter = AnswerWaiter(interim_to=inform)
        self.write(message)
        return waiter

    def send_stream(
        self,
        method: bytes,
        head: bytes,
        body: Body,
        *,
        chunked: bool,
        inform: Inform | None = None,
        upgrade: bytes = b"",
    ) -> AnswerWaiter:
        """Begin an exchange whose content leaves as it comes, while the answer may already be on its way.

        Args:
            method, inform: as in `send`. head: the serialised head, empty line included.
            body: what follows it. chunked: whether it has to be framed in chunks.
            upgrade: the protocols that the request asks to go over to. Then nothing of `body` leaves before
                the endpoint has gone over to one of them, and all of it as it is from then on, until both
                sides have ended.

        Raises (the waiter):
            ProxyError: as in `send`, or what reading `body` raised.
        """
        waiter = self.send(method, head, inform)
        self._outbox.flush()
        self._is_special = True
        if upgrade:
            self._asked = (upgrade, body)
        else:
            self._start_sending(self._send_body(body, chunked))
        return waiter

    def abandon(self, waiter: Answered) -> None:
        """Nobody waits for this answer any more: what comes on the connection would be of no use."""
        if self._waiter is waiter:
            self._waiter = None  # it hears nothing more, not of the connection's end either
            self.abort()

    def _start_sending(self, coroutine: Coroutine[Any, None, None]) -> None:
        sending = self._sending = Drive(self._sent)
        sending.start(coroutine)

    async def _send_tunnel(self, body: Body) -> None:
        await self._send_body(body, chunked=False)
        if self._transport is None:
            body.close()  # nobody is there for the rest of it
        else:
            self._transport.write_eof()

    async def _send_body(self, body: Body, chunked: bool) -> None:
        while data := await body.read():
            if self._transport is None:
                return
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            if self._drained is not None:
                await self._drained
        if chunked and self._transport is not None:
            self._transport.write(b"0\r\n%b\r\n" % write_fields(body.trailers))

    def _sent(self, error: BaseException | None) -> None:
        """The request's body is through, or has broken off."""
        self._sending = None
        if isinstance(error, ProxyError):
            self._fail(error)
        elif error is not None:
            self.abort()
        elif self._tunnel is not None:
            self._tunnel = None
            if self._framing is None:  # the endpoint has ended its side already
                self.close()

    def release(self) -> None:
        """Hand the connection back unused: nothing was sent on it."""
        if not self.closed:
            self._on_free(self)

    def abort(self) -> None:
        """Give up the exchange, and with it the connection."""
        self.closed = True
        if self._sending is not None:
            self._sending.cancel()
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """End a connection that nobody has got yet, and let go of its transport.

        An event loop whose attempt to connect is cancelled once the connection stands may never tell that it
        is gone: connection and transport would keep each other, and wait for the collector.
        """
        self.abort()
        self._transport = None

    def close(self) -> None:
        """End the connection; for idle ones."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    # --- the transport's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for the first exchange, unless it was given up while it was being made."""
        transport = cast(asyncio.Transport, transport)  # uvloop's own, no subclass
        if self.closed:
            transport.abort()
        else:
            self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was under way is broken, unless its body ends with the connection."""
        self._transport = None
        self.closed = True
        if self._drained is not None:
            self._drained.set(None)
        self._on_lost(self)
        tunnel, self._tunnel = self._tunnel, None
        if tunnel is not None:
            self.abort()
            tunnel.close()
        self._break("the connection was reset" if exc is not None else "the connection was closed")

    def eof_received(self) -> bool:
        """The endpoint sends nothing more: the end of a body that ends so, of the connection in any case."""
        self.closed = True
        body, framing = self._body, self._framing
        if body is not None and framing is not None and framing.eof():
            self._framing = self._body = None
            body.finish(b"", [])
        return self._tunnel is not None  # whose other side may go on

    def pause_writing(self) -> None:
        """The endpoint reads too slowly."""
        self._drained = Waiter()

    def resume_writing(self) -> None:
        """The endpoint has read on."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.set(None)

    def data_received(self, data: bytes) -> None:
        """Bytes of the answer."""
        waiter = self._waiter
        if self.is_queued:
            self._break("something else came on the connection")
            return
        if waiter is None:
            if self._framing is not None:
                self._feed_body(data)
            else:
                self.abort()  # an answer that nobody asked for: nothing on this connection can be trusted
            return
        if self._buffer:
            data = self._buffer + data
            self._buffer = b""
        try:
            if self._usual and data.startswith(self._usual):  # most services say the same again
                head, end = self._usual_head, len(self._usual)
            else:
                end = data.find(b"\r\n\r\n", 0, self._limit) + 4
                if end < 4:
                    self._await_head(data)
                    return
                head = self._heads[data[:end]]
                if head.plan is not None:
                    self._usual, self._usual_head = data[:end], head
            content = data[end:]
            if len(content) != head.content_bytes or not head.keep_alive or self._is_special:
                self._begin_body(head, content, waiter)
                return
        except ProxyError as error:
            self._fail(error)
            return
        self._waiter = None
        if not self.closed:
            self._on_free(self)
        waiter.set_whole(head, content)

    def _await_head(self, data: bytes) -> None:
        if len(data) >= self._limit:
            raise response_overflow(self._parser.limits)
        self._buffer = data

    def _switch(self, head: ResponseHead, said: bytes, waiter: Answered) -> None:
        """The endpoint leaves HTTP: from here on bytes pass both ways, until both sides have ended."""
        asked, self._asked = self._asked, None
        if asked is None:
            raise ProxyError(RESPONSE_MALFORMED, "a change of protocol that nobody asked for")
        check_switch(asked[0], head)
        tunnel = self._tunnel = asked[1]
        self._waiter = None
        self._reusable = False
        self._framing = UntilClose()
        body = self._body = IncomingBody(None, None, self._pause, self._resume, self.abort)
        body.push(said)
        self._start_sending(self._send_tunnel(tunnel))
        waiter.set(Response(head, body))

    def _pass_interim(self, head: ResponseHead, waiter: Answered) -> None:
        """Pass an interim answer on to whoever wants it."""
        self._is_special = True  # so that the count is over with this answer
        self._interim += 1
        if self._interim > INTERIM_LIMIT:
            raise ProxyError(RESPONSE_MALFORMED, f"more than {INTERIM_LIMIT} interim answers to one request")
        if waiter.interim_to is not None:
            waiter.interim_to(head)

    def _begin_body(self, head: ResponseHead, rest: bytes, waiter: Answered) -> None:
        """The head is here; what follows it comes in pieces, or ends in a way out of the ordinary."""
        if head.upgrade:
            self._switch(head, rest, waiter)
            return
        if head.status < 200:
            self._pass_interim(head, waiter)
            if rest:
                self.data_received(rest)
            return
        self._interim = 0
        self._asked = None
        self._reusable = head.keep_alive
        # Answered before its request was through, it ends for that alone.
        self.is_ended = not head.keep_alive and self._sending is None
        length = head.content_bytes
        if self._is_head:
            length = 0
        elif head.chunked:
            self._framing = Chunked(RESPONSE_MALFORMED)
        elif length < 0:
            self._framing = UntilClose()
            self._reusable = False
        elif len(rest) < length:
            self._framing = Sized(length)
        if self._framing is None:
            if len(rest) > length:
                raise ProxyError(RESPONSE_MALFORMED, "more bytes came than the answer has")
            self._waiter = None
            self._end_answer()
            waiter.set(Response(head, rest))
            return
        body = self._body = IncomingBody(
            head.length, None, self._pause, self._resume, self.abort, pull=self._pull
        )
        if rest and not self._feed_body(rest):
            return  # the exchange has got the error instead of half an answer
        if self._waiter is waiter:
            self._waiter = None
        waiter.set(Response(head, body))

    def _feed_body(self, data: bytes) -> bool:
        """More of the body has come; False when it was no such thing, and the exchange has failed."""
        framing, body = self._framing, self._body
        assert framing is not None
        assert body is not None
        try:
            content, rest = framing.feed(data)
        except ProxyError as error:
            self._fail(error)
            return False
        if not framing.done:
            body.push(content)
            return True
        if body.paused:  # the reader has pulled the end itself
            self._resume()
        self._framing = self._body = None
        if rest:
            self._reusable = False
        self._end_answer()  # which may let the next exchange begin at once
        body.finish(content, framing.trailers)
        return True

    def _end_answer(self) -> None:
        """The answer is through."""
        if self._sending is None:
            self._end_exchange()
        else:
            self.abort()  # answered in full before the request was through: the rest of it is of no use

    def _end_exchange(self) -> None:
        """Both directions are through: back to the pool, or away."""
        if self._reusable and not self.closed:
            self._on_free(self)
        else:
            self.close()

    def _fail(self, error: ProxyError) -> None:
        error.sent = not self.is_queued  # then the endpoint may have acted on what it got
        body, waiter = self._body, self._waiter
        self._framing = self._body = self._waiter = None
        self.abort()
        if body is not None:
            body.fail(error)
        if waiter is not None:
            waiter.fail(error)

    def _break(self, how: str) -> None:
        if self._waiter is not None or self._framing is not None:
            cause, when = CONNECTION_LOST, "before it answered"
            if self._framing is not None:
                when = "inside the content of its answer"
            elif self._buffer and _HTTP.startswith(self._buffer[: len(_HTTP)]):
                when = "inside the head of its answer"
            elif self._buffer:  # a program of another kind, which ends with its greeting
                cause, when = RESPONSE_MALFORMED, "after what is no HTTP"
            self._fail(ProxyError(cause, f"{self.endpoint}: {how} {when}"))

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _pull(self) -> bool:
        """The reader wants more of a body that is paused: feed it what waits."""
        data = pull(self._transport)
        if data:
            self._feed_body(data)
        return bool(data)
