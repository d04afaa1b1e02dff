"""One connection of a peer at the plain edge: callers, other proxies, the admin's tools.

It answers one request at a time; pipelined ones wait in the buffer and are answered in order. An exchange is
one driven coroutine (`drive.py`): the server's handler gets the request and the connection, and answers
through `Connection.respond`. Whatever can't be parsed is answered here, through the handler's `refuse`, and
ends the connection: nothing behind a malformed request can be trusted.
Knows nothing of which proxy it serves, of config, policy or logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from math import inf
from typing import TYPE_CHECKING, Any, cast

from fastproxy.errors import (
    BODY_TIMEOUT,
    DEADLINE_EXCEEDED,
    DRAINING,
    HEADER_TIMEOUT,
    MALFORMED_REQUEST,
    PEER_REFUSED,
    RESPONSE_MALFORMED,
    TOO_MANY_CONNECTIONS,
    TUNNEL_IDLE,
    UPGRADE_UNSUPPORTED,
    ProxyError,
    timed_out,
)
from fastproxy.model import Body, Content, Exchange, Request, RequestHead, Response, ResponseHead
from fastproxy.net.descriptors import reset_at_end
from fastproxy.net.drive import Drive, Waiter
from fastproxy.net.flight import Flight
from fastproxy.net.framing import Chunked, Framing, IncomingBody, Sized
from fastproxy.net.http1 import (
    Repeats,
    end_of_head,
    hopeless_head,
    length_line,
    oversized_head,
    write_fields,
)
from fastproxy.net.listener import peer_uid
from fastproxy.net.pull import pull
from fastproxy.net.timers import Timer
from fastproxy.net.tunnel import Tunnel
from fastproxy.net.waiting import has_hung_up, is_waiting

if TYPE_CHECKING:
    from fastproxy.net.server import Links, Server

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LINGER_S = 1.0
_LOOK_S = 0.05
"""How often it is looked whether a peer is gone whose body isn't read on."""
PROMPT_BYTES = 65_536
"""Content of this size or less is waited for, for `PROMPT_S` seconds, before it counts as a stream."""
PROMPT_S = 0.02
_READ_S = 0.02


class Connection(asyncio.Protocol):
    """One connection of a peer; see the module's docstring."""

    __slots__ = (
        "_answering",
        "_body",
        "_buffer",
        "_closing",
        "_continue",
        "_deadline",
        "_drained",
        "_drive",
        "_exchange",
        "_flight",
        "_framing",
        "_handle",
        "_head",
        "_head_begun",
        "_head_bytes",
        "_is_impatient",
        "_judge",
        "_keep_alive",
        "_repeats",
        "_rest_until_s",
        "_served",
        "_server",
        "_timer",
        "_transport",
        "_tunnel",
        "_usual",
        "_usual_head",
        "_usual_rest",
        "bytes_in",
        "bytes_out",
        "peer",
    )

    def __init__(self, server: Server) -> None:
        # per connection
        self._server = server
        self.renew()
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._timer = Timer(server.wheel, self._timed_out)
        self._deadline = Timer(server.wheel, self._deadline_passed)
        self._drained: Waiter[None] | None = None
        self._closing = False
        self._keep_alive = True
        self._head_begun = True
        self._rest_until_s = 0.0
        self._is_impatient = False
        self._served = 0
        self._drive = Drive(self._exchange_done)
        self.peer = ""
        # per exchange
        self._head: RequestHead | None = None
        self._framing: Framing | None = None
        self._body: IncomingBody | None = None
        self._tunnel: Tunnel | None = None
        self._answering = False  # with the final answer
        self._continue = False
        self._exchange: Exchange | Flight | None = None
        self._flight: Flight | None = None
        self.bytes_in = 0
        self.bytes_out = 0

    def renew(self) -> None:
        """Know nothing any more of what its server has judged, decided and handed out until now."""
        server = self._server
        self._judge = server.parser.request
        self._head_bytes = server.parser.limits.header_bytes
        self._handle = server.handler.handle
        self._repeats = Repeats()
        self._usual = b""  # the last head that came twice in a row
        self._usual_head: Any = None
        self._usual_rest = b""

    def judge_peer(self) -> None:
        """Cut the peer off if its server lets it in no more."""
        allow_peer, transport = self._server.allow_peer, self._transport
        if allow_peer is not None and transport is not None and not allow_peer(_uid(transport)):
            self.abort()

    @property
    def owes_until_s(self) -> float:
        """When it is cut off, in the loop's time, unless its peer does what it owes; inf: that is nothing."""
        is_served = self._head is not None and self._body is None and self._drained is None
        return inf if is_served or self._closing else self._timer.deadline

    # --- the transport's side --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there is a better place for this connection."""
        server, transport = self._server, cast(asyncio.Transport, transport)  # uvloop's own, no subclass
        server.accepted += 1
        if len(server.connections) >= server.enough and server.hand_on(transport):
            self._retire()
        else:
            self.begin(transport)

    def begin(self, transport: asyncio.Transport) -> None:
        """Count the peer in, or turn it away."""
        server = self._server
        peername = transport.get_extra_info("peername")
        self.peer = peername[0] if isinstance(peername, tuple) else "unix"
        if server.descriptors is not None and server.turns_away(server.descriptors, transport, self.peer):
            self._retire()
            return
        self._transport = transport
        if self._handle != server.handler.handle:  # since a turn of the loop ago, when this was made
            self.renew()
        server.connections.add(self)
        of_peer = server.by_peer.add(self.peer)
        server.shown[0] = len(server.connections)
        limits = server.limits
        error: ProxyError | None = None
        if not server.has_room():
            error = ProxyError(
                TOO_MANY_CONNECTIONS,
                f"{limits.connections} allowed",
                numbers={"connections_limit": limits.connections},
            )
        elif limits.connections_per_peer and of_peer > limits.connections_per_peer:
            error = ProxyError(
                TOO_MANY_CONNECTIONS,
                f"{limits.connections_per_peer} allowed from one address",
                numbers={"connections_per_peer_limit": limits.connections_per_peer},
            )
        elif server.allow_peer is not None and not server.allow_peer(_uid(transport)):
            error = ProxyError(PEER_REFUSED)
        elif server.draining and not server.drain_idle_s:
            error = ProxyError(DRAINING, retry_after_s=1)
        if error is not None:
            self._refuse(error)
            return
        self._timer.set(server.loop.time() + limits.header_timeout_s)
        if server.draining:
            self.drain(server.drain_idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """The peer is gone: so is what was done for it."""
        self._transport = None
        self._closing = True
        self._timer.close()
        self._deadline.close()
        self._server.forget(self)
        if self._drained is not None:
            self._drained.set(None)
        flight, self._flight = self._flight, None
        if flight is not None:
            self._exchange = None
            flight.cancel()
        self._drive.cancel()
        if self._drive.idle:
            self._retire()

    def eof_received(self) -> bool:
        """A peer that stops sending has hung up; a message that it still owed a part of is broken.

        It may as well have closed one direction only and wait for its answer: nothing tells the two apart.
        Only in a tunnel both directions end by themselves.
        """
        if self._tunnel is not None and self._tunnel.is_open:
            self._tunnel.finish()
            return True
        self._server.outbox.flush()  # the transport takes nothing more once this has returned
        if self._awaits_rest and not self._closing:
            self._begin_with_what_came()
        if self._body is not None:
            self._body.fail(ProxyError(MALFORMED_REQUEST, "the connection ended inside the body"))
        return False

    def pause_writing(self) -> None:
        """The peer reads too slowly."""
        self._drained = Waiter()
        self._timer.set(self._server.loop.time() + self._server.limits.write_timeout_s)

    def resume_writing(self) -> None:
        """The peer has read on."""
        drained, self._drained = self._drained, None
        self._time_reading()
        if drained is not None:
            drained.set(None)

    def _time_reading(self) -> None:
        """Set the timer for what the peer owes, now that it has read: else it could stay for ever."""
        limits = self._server.limits
        if self._closing:
            return  # the time to end, or to linger, runs on
        if self._body is not None:
            self._time(_LOOK_S if self._body.paused else limits.body_timeout_s)
        else:
            self._time(limits.idle_timeout_s if self._head is None else inf)

    def _time(self, limit_s: float) -> None:
        """Give the peer so long for what it owes now; one that doesn't read has its time for that already."""
        if self._drained is None:
            self._timer.set(self._server.loop.time() + limit_s)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request; or, out of the ordinary, of a body, or behind the request being answered."""
        if self._head is not None or self._buffer or self._closing:
            if not self._belongs_to_next(data):
                return
            data, self._buffer = self._buffer, b""
        if self._usual and data.startswith(self._usual):
            head, rest, end = self._usual_head, self._usual_rest, len(self._usual)
        else:
            end = data.find(b"\r\n\r\n", 0, self._head_bytes) + 4
            if end < 4:
                self._await_head(data)
                return
            whole = data[:end]
            try:
                head, rest = self._judge(whole)
            except ProxyError as error:
                links = self._server.links
                if links is not None and links.begins(data):
                    self._hand_over(links, data)
                elif data.startswith(b"\r\n") and not data.startswith(b"\r\n\r\n"):
                    self.data_received(data[2:])  # an empty line is skipped (RFC 9112, section 2.2)
                else:
                    self._refuse(error)
                return
            if self._repeats.again(whole):
                self._keep_usual(head, whole, rest)
        self._head = head
        self.bytes_in = head.content_bytes
        content: Content
        if len(data) - end == head.content_bytes:  # the whole of it is here, and nothing else
            content = data[end:]
            flow = head.flows.get(self.peer)
            if flow is not None and flow.begin(self, head, rest, content):
                return
        else:
            if len(data) - end < head.content_bytes <= PROMPT_BYTES and self._await_rest(head, data):
                return
            content = self._part(head, data[end:])
            if self._closing:
                return
        self._drive.start(self._handle(Request(head, content, self.peer, rest), self))

    def _keep_usual(self, head: RequestHead, whole: bytes, rest: bytes) -> None:
        """Have a head found at a glance; peers that say the same share one copy."""
        if head.spelled[0] != whole:
            head.spelled = (whole, rest)
        self._usual, self._usual_rest = head.spelled
        self._usual_head = head

    def _belongs_to_next(self, data: bytes) -> bool:
        """Put bytes where they belong; whether they may complete the head of a next request."""
        if self._closing:
            return False
        if self._framing is not None:
            self._feed_body(data)
            return False
        if self._tunnel is not None and self._tunnel.is_open:
            self.bytes_in += len(data)
            self._tunnel.push(data)
            return False
        self._buffer += data
        if self._head is None:
            return True
        if len(self._buffer) > self._head_bytes and self._transport is not None:
            self._transport.pause_reading()
        return False

    def _await_rest(self, head: RequestHead, data: bytes) -> bool:
        """Wait a moment for the rest of a small request: many callers send head and content one by one.

        What comes whole goes the short way, and can go elsewhere if need be. False: begin with what came.
        """
        now_s = self._server.loop.time()
        if head.expects_continue or self._is_impatient:
            return False
        if now_s >= self._rest_until_s:
            self._rest_until_s = now_s + PROMPT_S
        self._timer.set(self._rest_until_s)
        self._head, self._buffer = None, data
        return True

    @property
    def _awaits_rest(self) -> bool:
        return self._head is None and b"\r\n\r\n" in self._buffer

    def _begin_with_what_came(self) -> None:
        """The rest doesn't come at once: the content is a stream then."""
        data, self._buffer = self._buffer, b""
        self._is_impatient = True
        try:
            self.data_received(data)
        finally:
            self._is_impatient = False

    def _part(self, head: RequestHead, data: bytes) -> Content:
        """Part the content from what follows it; what isn't here yet will be read as it comes."""
        length = head.content_bytes
        if 0 <= length <= len(data):
            self._buffer = data[length:]
            return data[:length]
        self.bytes_in = 0
        if head.upgrade:
            return self._await_switch(data)
        self._continue = head.expects_continue
        if head.chunked:
            self._framing = Chunked(trailer_bytes=self._server.limits.head.header_bytes)
        else:
            self._framing = Sized(length)
        content = self._body = self._incoming(head.length)
        self._time(self._server.limits.body_timeout_s)
        if data:
            self._feed_body(data)
        return content

    def _await_switch(self, data: bytes) -> Content:
        """The peer asks for another protocol: the answer tells whether what follows is in it, or in HTTP."""
        server = self._server
        if not server.limits.tunnel_idle_timeout_s:
            self._refuse(ProxyError(UPGRADE_UNSUPPORTED, "nothing but HTTP is spoken here"))
            return b""
        self._buffer = data
        tunnel = self._tunnel = Tunnel(
            self._pause_tunnel, self._resume_tunnel, Timer(server.wheel, self._tunnel_idle),
            server.limits.tunnel_idle_timeout_s, server.loop.time,
        )  # fmt: skip
        return tunnel

    def _await_head(self, buffer: bytes) -> None:
        limits, links = self._server.limits, self._server.links
        if links is not None and links.begins(buffer):
            self._hand_over(links, buffer)
            return
        self._buffer = buffer
        buffer = buffer.removeprefix(b"\r\n")
        if len(buffer) >= limits.head.header_bytes:
            self._refuse(oversized_head(buffer, limits.head))
            return
        hopeless = hopeless_head(buffer, limits.head)
        if hopeless is not None:
            self._refuse(hopeless)
            return
        if buffer and not self._head_begun:  # the time for a head runs from its first byte, however it drips
            self._head_begun = True
            self._timer.set(self._server.loop.time() + limits.header_timeout_s)

    def _hand_over(self, links: Links, data: bytes) -> None:
        """This is no HTTP: a link begins here, and whoever keeps the links takes the connection over.

        While the listener drains nobody does: after a reset the out proxy looks elsewhere, or waits.
        """
        transport, self._transport = self._transport, None
        self._closing = True
        self._server.forget(self)
        self._retire()
        if transport is None:
            return
        if self._server.draining:
            reset_at_end(transport)
            transport.set_protocol(asyncio.Protocol())  # this one is gone already
            transport.abort()
        else:
            links.take(transport, self.peer, data)

    def _retire(self) -> None:
        """The connection is gone and nothing is under way: leave no cycle that waits for the collector."""
        self._timer.retire()
        self._deadline.retire()
        self._drive.retire()
        self._body = self._tunnel = None

    def _incoming(self, length: int | None) -> IncomingBody:
        return IncomingBody(
            length, self._server.limits.head.body_bytes, self._pause_reading, self._resume_reading,
            self._body_unwanted, self._ask_for_body if self._continue else None, self._pull,
        )  # fmt: skip

    def _feed_body(self, data: bytes) -> None:
        framing, body = self._framing, self._body
        assert framing is not None
        assert body is not None
        try:
            content, rest = framing.feed(data)
        except ProxyError as error:
            self._closing_after_answer()
            self._pause_reading()  # no rule bounds what follows; the reader may be busy elsewhere for long
            body.fail(error)
            return
        self.bytes_in += len(content)
        self._continue = False
        if framing.done:
            if body.paused and self._transport is not None:  # the reader has pulled the end itself
                self._transport.resume_reading()
            self._framing = None
            self._body = None
            self._buffer = rest
            self._time(inf)
            body.finish(content, framing.trailers)
        else:
            if not body.paused:
                self._time(self._server.limits.body_timeout_s)
            body.push(content)

    def _pull(self) -> bool:
        """The reader wants more of a body that is paused: feed it what waits."""
        data = pull(self._transport)
        if data:
            self._feed_body(data)
        return bool(data)

    def _ask_for_body(self) -> None:
        if self._continue:
            self._continue = False
            self._write(CONTINUE)

    def _pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()
            self._time(_LOOK_S)

    def _resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()
            self._time(self._server.limits.body_timeout_s)

    def _body_unwanted(self) -> None:
        """The rest of this body can't be told from a next request without reading it: close instead."""
        self._closing_after_answer()

    def _closing_after_answer(self) -> None:
        self._keep_alive = False

    # --- answering --------------------------------------------------------------------------------------

    def set_deadline(self, exchange: Exchange) -> None:
        """Raise DEADLINE_EXCEEDED inside the exchange, wherever it waits, when its deadline has come."""
        self._exchange = exchange
        if exchange.deadline < self._deadline.armed:  # else the timer finds it there, when it comes
            self._deadline.set(exchange.deadline)

    def carry(self, flight: Flight) -> None:
        """A flow has taken the request: tell this flight when the peer is gone, or the time is up."""
        self._flight = self._exchange = flight
        if flight.deadline < self._deadline.armed:  # as in `set_deadline`
            self._deadline.set(flight.deadline)

    def land(self, message: bytes, now_s: float) -> bool:
        """Write the whole answer to what was carried, and go on with the next request.

        Args:
            message: as it goes to a peer that may keep its connection.
            now_s: monotonic time, which is the loop's.

        Returns:
            False when this one may not, or doesn't read: nothing was written; `divert` it.
        """
        if not self._keep_alive or self._drained is not None or self._transport is None:
            return False
        server, timer = self._server, self._timer
        self._head = self._exchange = self._flight = None
        self._head_begun = False
        timer.deadline = idle_until = now_s + server.limits.idle_timeout_s
        if idle_until < timer.armed:
            timer.set(idle_until)
        server.outbox.put(self._transport, message)  # which may set the time to read it, instead
        if self._buffer:
            server.loop.call_soon(self._go_on)
        return True

    def divert(self, coroutine: Coroutine[Any, None, None]) -> None:
        """The handler goes on with what was carried, or with what a flow can't take."""
        self._exchange = self._flight = None
        self._drive.start(coroutine)

    def inform(self, head: ResponseHead) -> None:
        """Write the head of an interim answer (1xx) to a peer that may get one: before the final one only."""
        request = self._head
        if request is None or request.minor == 0 or self._answering:
            return
        if head.status == 100:
            if not self._continue:  # it expects none, or has one
                return
            self._continue = False
        self._write(head.start + b"\r\n")

    @property
    def under_way(self) -> tuple[str, Coroutine[Any, None, Any] | None] | None:
        """The phase of the exchange, and its coroutine: the short way has none. None without an exchange."""
        coroutine = self._drive.coroutine
        if self._exchange is not None:
            return self._exchange.phase, coroutine
        return None if coroutine is None else ("read", coroutine)

    @property
    def waited_s(self) -> float:
        """For how long what answers has waited; in seconds."""
        return self._drive.waited_s

    @property
    def date_line(self) -> bytes:
        """The line of a Date field for now."""
        return self._server.date_line()

    def respond(self, response: Response, fields: bytes = b"") -> Awaitable[None] | None:
        """Write the answer; what is returned, if anything, has to be awaited: it writes the body as it comes.

        Args:
            response: its head, and its content.
            fields: further lines for its head, each with its line end.

        Raises (what is returned):
            ProxyError: the body broke off; the connection is then cut, so that nobody takes it for complete.
        """
        request, head, content = self._head, response.head, response.content
        assert request is not None
        self._head_begun = self._continue = False
        self._answering = True
        if self._server.limits.requests_per_connection:
            self._served += 1
            if self._served >= self._server.limits.requests_per_connection:
                self._keep_alive = False
        if (
            type(content) is bytes
            and request.is_plain
            and not head.bodiless
            and self._keep_alive
            and self._framing is None
        ):
            self.bytes_out = length = len(content)
            self._write(b"".join((head.start, fields, end_of_head(length), content)))
            return self._drained  # a peer that never reads must not make answers pile up
        return self._respond(request, head, content, fields)

    async def _respond(
        self, request: RequestHead, head: ResponseHead, content: Content, fields: bytes
    ) -> None:
        """Write an answer that is not here entirely, or whose framing is out of the ordinary."""
        tunnel = self._tunnel
        if head.upgrade:
            if tunnel is None or type(content) is bytes:
                raise ProxyError(RESPONSE_MALFORMED, "a change of protocol that leads nowhere")
            await self._switch(tunnel, head, cast(Body, content), fields)
            return
        if tunnel is not None:
            self._tunnel = None
            tunnel.finish()
        if self._framing is not None or not request.keep_alive:  # or its body isn't read to its end
            self._keep_alive = False
        chunked = False
        if request.method == b"HEAD" or head.bodiless:
            if type(content) is not bytes:
                cast(Body, content).close()
            content = framing = b""
            if head.length is not None and head.status != 204:
                framing = length_line(head.length)
        elif type(content) is bytes:
            framing = length_line(len(content))
        elif (length := cast(Body, content).length) is not None:
            framing = length_line(length)
        elif request.minor:
            framing = b"transfer-encoding: chunked\r\n"
            chunked = True
        else:
            framing = b""
            self._keep_alive = False
        if not self._keep_alive:
            framing += b"connection: close\r\n\r\n"
        else:
            framing += b"\r\n" if request.minor else b"connection: keep-alive\r\n\r\n"
        if type(content) is bytes:
            self.bytes_out = len(content)
            self._write(b"".join((head.start, fields, framing, content)))
            if self._drained is not None:
                await self._drained
            return
        self.bytes_out = 0
        self._write(b"".join((head.start, fields, framing)))
        body = cast(Body, content)
        try:
            await self._write_body(body, chunked)
        except BaseException:
            body.close()  # whoever sends it must not wait for a reader that is gone
            if not chunked and body.length is None and self._transport is not None:
                reset_at_end(self._transport)  # nothing else tells it from one that ends well
            raise

    async def _write_body(self, body: Body, chunked: bool) -> None:
        while data := await body.read():
            self.bytes_out += len(data)
            self._write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            if self._drained is not None:
                await self._drained
        if chunked:
            self._write(b"0\r\n%b\r\n" % write_fields(body.trailers))

    async def _switch(self, tunnel: Tunnel, head: ResponseHead, content: Body, fields: bytes) -> None:
        """Leave HTTP: from here on bytes pass both ways, until both sides have ended or one breaks."""
        self._keep_alive = False
        self._exchange = None  # a tunnel outlives the deadline of the request that made it
        self._write(b"".join((head.start, fields, b"\r\n")))
        said, self._buffer = self._buffer, b""
        self.bytes_in = len(said)
        tunnel.open(said)
        self._resume_tunnel()
        try:
            while data := await content.read():
                self.bytes_out += len(data)
                self._write(data)
                tunnel.touch()
                if self._drained is not None:
                    await self._drained
            if self._transport is not None:
                self._transport.write_eof()
            await tunnel.ended
        except BaseException:
            content.close()
            raise
        finally:
            tunnel.fail()

    def _pause_tunnel(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def _resume_tunnel(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _tunnel_idle(self) -> None:
        idle_timeout_s = self._server.limits.tunnel_idle_timeout_s
        self._drive.throw(timed_out(TUNNEL_IDLE, "tunnel_idle_timeout_s", idle_timeout_s))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._server.outbox.flush()
            self._transport.write(data)

    def _exchange_done(self, error: BaseException | None) -> None:
        """The handler has returned: go on with the next request, or end the connection."""
        self._head = self._exchange = None
        self._answering = False
        self.bytes_out = 0  # a next one may end before it is answered
        if self._transport is None:
            self._retire()
        if self._closing:
            return
        if error is not None:
            self._break_off(error)
        elif self._framing is not None:
            self._linger()
        elif not self._keep_alive:
            self.close()
        else:
            self._await_next(self._server.loop.time())

    def _await_next(self, now_s: float) -> None:
        server, timer = self._server, self._timer
        if self._drained is None:  # else the time to read what is written runs on
            timer.deadline = idle_until = now_s + server.limits.idle_timeout_s
            if idle_until < timer.armed:
                timer.set(idle_until)
        if self._buffer:
            server.loop.call_soon(self._go_on)

    def _break_off(self, error: BaseException) -> None:
        """An answer that broke off must not look complete."""
        self.abort()
        if not isinstance(error, (ProxyError, asyncio.CancelledError)):
            self._server.loop.call_exception_handler(
                {"message": "an exchange failed in an unforeseen way", "exception": error, "protocol": self}
            )

    def _go_on(self) -> None:
        """Begin with the request that came while the one before was answered."""
        if self._head is None and not self._closing and self._transport is not None:
            self._transport.resume_reading()
            data, self._buffer = self._buffer, b""
            self.data_received(data)

    # --- ending ------------------------------------------------------------------------------------------

    def _refuse(self, error: ProxyError) -> None:
        """Answer something that never became a request, and end the connection."""
        response = self._server.handler.refuse(error, self.peer)
        content = cast(bytes, response.content)
        self._write(
            b"".join((response.head.start, length_line(len(content)), b"connection: close\r\n\r\n", content))
        )
        self._linger()

    def _timed_out(self) -> None:
        if self._drained is not None or self._closing:
            self.abort()
        elif self._body is not None and self._body.paused:
            self._look_for_end()
        elif self._body is not None:
            self._closing_after_answer()
            self._body.fail(timed_out(BODY_TIMEOUT, "body_timeout_s", self._server.limits.body_timeout_s))
        elif self._awaits_rest:
            self._begin_with_what_came()
        elif self._head is None:
            if self._server.draining and self._has_unread():
                self._timer.set(self._server.loop.time() + _READ_S)  # then it will have been read
            elif self._buffer not in (b"", b"\r\n"):
                limit_s = self._server.limits.header_timeout_s
                self._refuse(
                    ProxyError(
                        HEADER_TIMEOUT, f"not within {limit_s:g} s", numbers={"header_timeout_s": limit_s}
                    )
                )
            else:
                self.close()

    def _look_for_end(self) -> None:
        """See whether a peer is gone whose body isn't read on: the loop doesn't hear of it."""
        if self._transport is not None and has_hung_up(_fd(self._transport)):
            self.abort()
        else:
            self._time(_LOOK_S)

    def _has_unread(self) -> bool:
        """Whether something has come that the loop hasn't read yet."""
        return self._transport is not None and is_waiting(_fd(self._transport))

    def _deadline_passed(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if exchange.deadline > self._server.loop.time():  # it was armed for an earlier exchange
            self._deadline.set(exchange.deadline)
        else:
            phase = exchange.phase
            (self._flight or self._drive).throw(
                ProxyError(DEADLINE_EXCEEDED, f"the time was used up in phase {phase}", phase=phase)
            )
            self._deadline.close()  # told once: what answers a flight in its place has armed it again

    def drain(self, idle_s: float = 0.0) -> None:
        """Close after the answer that is owed; where none is, after that to the next request, if one comes
        within `idle_s` seconds: it may be on its way, and what isn't idempotent nobody sends again.
        """
        self._closing_after_answer()
        if self._head is not None or self._closing or self._buffer not in (b"", b"\r\n"):
            return
        if idle_s:
            self._head_begun = False
            self._timer.set(self._server.loop.time() + idle_s)
        else:
            self.close()

    def close(self) -> None:
        """Send what is written, then end the connection; a peer that doesn't read it is cut off."""
        self._closing = True
        self._buffer = b""
        if self._transport is not None:
            self._server.outbox.flush()
            self._transport.close()
            self._timer.set(self._server.loop.time() + self._server.limits.write_timeout_s)

    def _linger(self) -> None:
        """Send what is written and no more, but read on for a moment, discarding.

        A peer that is still sending would otherwise get a reset that destroys the answer before it is read
        (RFC 9112, section 9.6).
        """
        self._closing = True
        self._buffer = b""
        if self._transport is not None and not self._transport.is_closing():
            if self._transport.can_write_eof():
                self._transport.write_eof()
            self._transport.resume_reading()
            self._timer.set(self._server.loop.time() + LINGER_S)

    def abort(self) -> None:
        """End the connection at once."""
        self._closing = True
        self._buffer = b""
        if self._transport is not None:
            self._server.outbox.flush()
            self._transport.abort()


async def complete(rest: Awaitable[None] | None) -> None:
    """Wait for what `Connection.respond` leaves to be written."""
    if rest is not None:
        await rest


def _fd(transport: asyncio.Transport) -> int:
    fd: int = transport.get_extra_info("socket").fileno()
    return fd


def _uid(transport: asyncio.Transport) -> int:
    return peer_uid(transport.get_extra_info("socket"))
