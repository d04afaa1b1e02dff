"""The plain edge that makes requests: connections to services, and to receivers over HTTP.

One connection carries one exchange at a time. What comes back is parsed as strictly as what callers send:
an answer that can be read in two ways ends in an error, never at the caller.
Knows nothing of pools (`pool.py`), of retries or of which proxy uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from fastproxy.errors import CONNECTION_LOST, RESPONSE_MALFORMED, ProxyError
from fastproxy.model import Body, Content, Endpoint, Response, ResponseHead
from fastproxy.net.drive import Drive, Waiter
from fastproxy.net.framing import Chunked, Framing, IncomingBody, Sized, UntilClose
from fastproxy.net.http1 import HeadParser, response_overflow, write_fields

INTERIM_LIMIT = 16
"""Interim (1xx) answers that one request may get; a service that sends them without end holds nobody up."""


class ClientConnection(asyncio.Protocol):
    """One connection to an endpoint.

    Args:
        parser: parses response heads, within its limits.
        endpoint: where it leads.
        on_free: called with the connection when it can carry another exchange.
        on_lost: called with the connection when it is gone.
    """

    __slots__ = (
        "_body",
        "_buffer",
        "_drained",
        "_framing",
        "_interim",
        "_limit",
        "_method",
        "_on_free",
        "_on_lost",
        "_parser",
        "_request_sent",
        "_response_done",
        "_reusable",
        "_sending",
        "_transport",
        "_waiter",
        "busy",
        "closed",
        "endpoint",
        "idle_since",
    )

    def __init__(
        self,
        parser: HeadParser,
        endpoint: Endpoint,
        on_free: Callable[[ClientConnection], None],
        on_lost: Callable[[ClientConnection], None],
    ) -> None:
        # per connection
        self._parser = parser
        self._limit = parser.limits.header_bytes
        self._on_free = on_free
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._drained: Waiter[None] | None = None
        self.endpoint = endpoint
        self.closed = False
        self.idle_since = 0.0
        # per exchange
        self.busy = False
        self._method = b""
        self._waiter: Waiter[Response] | None = None
        self._framing: Framing | None = None
        self._body: IncomingBody | None = None
        self._sending: Drive | None = None
        self._interim = 0
        self._request_sent = False
        self._response_done = False
        self._reusable = False

    # --- the exchange's side -----------------------------------------------------------------------------

    async def call(self, method: bytes, head: bytes, content: Content, *, chunked: bool) -> Response:
        """Carry one exchange: send the request, wait for the head of the answer.

        Content that is here entirely leaves in one write with the head; another one is sent as it comes,
        while the answer may already be on its way.

        Args:
            method: of the request: it decides whether the answer has a body.
            head: the serialised head, empty line included.
            content: what follows it. chunked: whether it has to be framed in chunks.

        Raises:
            ProxyError: CONNECTION_LOST, RESPONSE_MALFORMED, RESPONSE_TOO_LARGE, or what
                reading `content` raised.
        """
        assert self._transport is not None
        self.busy = True
        self._method = method
        self._interim = 0
        self._response_done = self._reusable = False
        answer = self._waiter = Waiter()
        try:
            if type(content) is bytes:
                self._request_sent = True
                self._transport.write(head + content)
            else:
                self._request_sent = False
                self._transport.write(head)
                self._sending = Drive(self._send_body(cast(Body, content), chunked), self._sent)
                self._sending.start()
            return await answer
        except BaseException:
            if self._waiter is answer:
                self.abort()
            raise

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
        if error is None:
            self._request_sent = True
            if self._response_done:
                self._end_exchange()
        elif isinstance(error, ProxyError):
            self._fail(error)
        else:
            self.abort()

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

    def close(self) -> None:
        """End the connection; for idle ones."""
        self.closed = True
        if self._transport is not None:
            self._transport.close()

    # --- the transport's side -------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready for the first exchange."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own, no subclass
        if self.closed:  # given up while it was being made
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Whatever was under way is broken, unless its body ends with the connection."""
        self._transport = None
        self.closed = True
        if self._drained is not None:
            self._drained.set(None)
        self._on_lost(self)
        self._break("the connection was reset" if exc is not None else "the connection was closed")

    def eof_received(self) -> bool:
        """The endpoint sends nothing more: the end of a body that ends so, of the connection in any case."""
        self.closed = True
        body, framing = self._body, self._framing
        if body is not None and framing is not None and framing.eof():
            self._framing = self._body = None
            self._response_done = True
            body.finish(b"", [])
        return False

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
        if self._framing is not None:
            self._feed_body(data)
            return
        if not self.busy or self._response_done:
            self.abort()  # an answer that nobody asked for: nothing on this connection can be trusted
            return
        buffer = self._buffer + data if self._buffer else data
        at = 0
        try:
            while True:
                end = buffer.find(b"\r\n\r\n", at, at + self._limit) + 4
                if end < 4:
                    if len(buffer) - at >= self._limit:
                        raise response_overflow(self._parser.limits)
                    self._buffer = buffer[at:]
                    return
                head = self._parser.response(buffer[at:end])
                at = end
                if head.status >= 200:
                    break
                self._count_interim(head)
            self._buffer = buffer[at:]
            self._begin_body(head)
        except ProxyError as error:
            self._fail(error)

    def _count_interim(self, head: ResponseHead) -> None:
        """Interim answers end here: the hop between the proxies carries final ones only."""
        if head.status == 101:
            raise ProxyError(RESPONSE_MALFORMED, "a change of protocol that nobody asked for")
        self._interim += 1
        if self._interim > INTERIM_LIMIT:
            raise ProxyError(RESPONSE_MALFORMED, f"more than {INTERIM_LIMIT} interim answers to one request")

    def _begin_body(self, head: ResponseHead) -> None:
        waiter = self._waiter
        assert waiter is not None
        rest, self._buffer = self._buffer, b""
        self._reusable = head.keep_alive
        declared = None
        length = head.length
        if self._method == b"HEAD" or head.status in (204, 304):
            declared, length = length, 0
        elif head.chunked:
            self._framing = Chunked(RESPONSE_MALFORMED)
        elif length is None:
            self._framing = UntilClose()
            self._reusable = False
        elif len(rest) < length:
            self._framing = Sized(length)
        if self._framing is None:
            assert length is not None
            if len(rest) > length:
                raise ProxyError(RESPONSE_MALFORMED, "more bytes came than the answer has")
            self._response_done = True
            if self._request_sent:
                self._end_exchange()
            else:
                self.abort()  # answered in full before the request was through: the rest of it is of no use
            waiter.set(Response(head.status, head.start, rest, declared, head.has_date))
            return
        body = self._body = IncomingBody(length, None, self._pause, self._resume, self.abort)
        response = Response(head.status, head.start, body, None, head.has_date)
        if rest:
            self._feed_body(rest)
        waiter.set(response)

    def _feed_body(self, data: bytes) -> None:
        framing, body = self._framing, self._body
        assert framing is not None
        assert body is not None
        try:
            content, rest = framing.feed(data)
        except ProxyError as error:
            self._fail(error)
            return
        if not framing.done:
            body.push(content)
            return
        self._framing = self._body = None
        if rest:
            self._reusable = False
        self._response_done = True
        if self._request_sent:
            self._end_exchange()  # which may begin the next one at once
        else:
            self.abort()  # answered in full before the request was through: the rest of it is of no use
        body.finish(content, framing.trailers)

    def _end_exchange(self) -> None:
        """Both directions are through: back to the pool, or away."""
        self.busy = False
        self._waiter = None
        if self._reusable and not self.closed:
            self._on_free(self)
        else:
            self.close()

    def _fail(self, error: ProxyError) -> None:
        error.sent = True  # the endpoint may have acted on what it got
        body, waiter = self._body, self._waiter
        self._framing = self._body = None
        self.abort()
        if body is not None:
            body.fail(error)
        if waiter is not None:
            waiter.fail(error)

    def _break(self, how: str) -> None:
        if self.busy and not self._response_done:
            self._fail(ProxyError(CONNECTION_LOST, f"{self.endpoint}: {how}", sent=True))

    def _pause(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()
