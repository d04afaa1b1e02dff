"""The way from the out proxy to a receiver over HTTP: envelope version 2.

Each attempt seals the request for one receiver, under a session of this process that is renewed every ten
minutes, and opens what comes back. What isn't sealed by the receiver is a failure of the transport,
whatever it says; its content is discarded. `docs/wire.md` has the bytes.

Before an endpoint gets a request it is asked for its epoch, by an envelope that says nothing and can only be
challenged. A receiver of several keys is asked by one after the other: what a request itself earns in the
clear proves nothing, so that no request is ever sealed for a second key after it was sent.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import cast

from fastproxy.errors import (
    BODY_TOO_LARGE,
    DEADLINE_EXCEEDED,
    EPOCH_MISMATCH,
    IDENTITY_UNPROVEN,
    RECEIVER_KEY_ENDED,
    RESPONSE_BROKEN,
    RESPONSE_TOO_LARGE,
    RESPONSE_UNSEALED,
    ProxyError,
)
from fastproxy.model import Body, Content, Endpoint, Exchange, Response, ResponseHead, host_field
from fastproxy.net.drive import Waiter
from fastproxy.net.framing import trailer_parser
from fastproxy.net.http1 import HeadParser, KnownHeads, end_of_head
from fastproxy.net.pool import Pools
from fastproxy.policy.deadline import deadline_passed
from fastproxy.proxy.http_lane import HttpLane
from fastproxy.proxy.receiver_sessions import ReceiverSessions, Told
from fastproxy.proxy.sealed_body import NO_MORE, OpenedBody, SealedBody, seal_all
from fastproxy.proxy.transport import Outgoing, connect_in_time
from fastproxy.wire.envelope import (
    SERVICE_RESPONSE,
    UNKNOWN_EPOCH,
    Challenge,
    Refusal,
    build_request_head,
    parse_response_head,
    service_field,
)
from fastproxy.wire.records import MAX_DATA_BYTES, PLAIN, PREFIX_BYTES, Chunk, Packing
from fastproxy.wire.responses import ResponseOpener

TARGET = b"/fastproxy/v2"
CONTENT_TYPE = b"application/vnd.fastproxy.v2"
LIFETIME_MS = 60_000
"""How far ahead an envelope's expiry lies; what was recorded is of no use after it."""
_CHALLENGES = 3
_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
_PLAIN_RECORD = bytes(4)
_NOTHING = Outgoing(b"", b"", b"", b"", has_body=False)


@lru_cache(1024)
def _outer_start(endpoint: Endpoint) -> bytes:
    """The head of an envelope's request but for its framing."""
    return b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: %b\r\n" % (
        TARGET,
        host_field(endpoint),
        CONTENT_TYPE,
    )


def known_answers(parser: HeadParser) -> KnownHeads[ResponseHead | None]:
    """Make what remembers the heads of ordinary answers, as they stand packed in front of the content.

    One for all services, since it remembers what it judged; a head that is not ordinary counts as None.

    Args:
        parser: judges the heads inside sealed answers.
    """

    def judge(packed: bytes) -> ResponseHead | None:
        if packed[:4] != _PLAIN_RECORD or packed[PREFIX_BYTES : PREFIX_BYTES + 1] != SERVICE_RESPONSE:
            return None
        head = parser.responses[packed[PREFIX_BYTES + 1 :]]
        return head if head.has_date and not head.bodiless else None

    return KnownHeads(judge)


class _UnprovenError(ProxyError):
    """An endpoint has answered 401 in the clear: it knows no such caller, or hasn't the key."""


class OverHttp:
    """Carries exchanges of one service to its receiver.

    Args:
        service: its name, for the receiver.
        sessions: what requests are sealed under. packing: how.
        pools: connections by endpoint.
        parser: judges the heads inside sealed answers. answers: remembers them for the short way.
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
    """

    tunnels = False

    def __init__(
        self,
        service: str,
        sessions: ReceiverSessions,
        packing: Packing,
        pools: Pools,
        parser: HeadParser,
        answers: KnownHeads[ResponseHead | None],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
    ) -> None:
        self._service_field = service_field(service)
        self._sessions = sessions
        self._packing = packing
        self._pools = pools
        self._heads = parser.responses
        self._parse_trailers = trailer_parser(parser.limits, RESPONSE_BROKEN, RESPONSE_TOO_LARGE)
        self._answers = answers
        self._clock = clock
        self._unix_clock = unix_clock

    def lane(
        self,
        caller: str,
        outgoing: Outgoing,
        endpoint: Endpoint,
        exchange_id: str,
        timeout_s: float,
    ) -> HttpLane | None:
        """Compile the short way to `endpoint`, once session and epoch are known; see `Transport.lane`."""
        told, pool = self._sessions.told.get(endpoint), self._pools.pool(endpoint)
        session = None if told is None else self._sessions.find(caller, told.public_key)
        if session is None or told is None or pool is None:
            return None
        if self._packing is not PLAIN:
            return None
        meta = build_request_head(int(timeout_s * 1000), exchange_id, self._service_field, outgoing.head)
        return HttpLane(
            self, endpoint, pool, session, told.epoch, _outer_start(endpoint), meta, exchange_id,
            self._answers, self._unix_clock, LIFETIME_MS,
        )  # fmt: skip

    async def resume(
        self,
        exchange: Exchange,
        outgoing: Outgoing,
        content: Content,
        endpoint: Endpoint,
        waiting: Waiter[Response],
        opener: ResponseOpener,
    ) -> Response:
        """Go on with an attempt that was sent on the short way; see `Lane.resume`."""
        exchange.phase = "wait"
        outer = await waiting
        exchange.phase = "open"
        try:
            answer = await self._open(exchange, outgoing, outer, opener, endpoint)
        except ProxyError as error:
            error.sent = True
            raise
        if type(answer) is Response:
            return answer
        now_s = self._in_time(exchange)
        if (told := self._sessions.told.get(endpoint)) is not None:
            self._sessions.keep(endpoint, told.public_key, cast(bytes, answer), now_s)
        return await self.attempt(exchange, outgoing, content, endpoint, now_s)

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        """Seal a request, send it to `endpoint` and open the answer; see `Transport.attempt`.

        Every so often the answer is a challenge: the receiver tells its epoch, and has processed nothing.
        """
        for _ in range(_CHALLENGES):
            told = self._sessions.told.get(endpoint)
            if told is None or now_s >= told.until_s:
                told = await self._told(exchange, endpoint, now_s)
                now_s = self._in_time(exchange)
            answer = await self._send(
                exchange, outgoing, content, endpoint, told.public_key, told.epoch, now_s
            )
            if type(answer) is Response:
                return answer
            now_s = self._clock()
            self._sessions.keep(endpoint, told.public_key, cast(bytes, answer), now_s)
            if type(content) is not bytes:
                raise ProxyError(EPOCH_MISMATCH, f"{endpoint}: the receiver has restarted")
            if now_s >= exchange.deadline:
                raise deadline_passed("seal")
        raise ProxyError(EPOCH_MISMATCH, f"{endpoint}: the receiver's epoch changes with every answer")

    async def greet(self, exchange: Exchange, endpoint: Endpoint) -> None:
        """Have an endpoint prove that it knows the caller of an exchange, without a request: ask its epoch.

        The answer is sealed under the keys of both; an in proxy gives it to no one else.

        Raises:
            ProxyError: it gave none.
        """
        await self._ask(exchange, endpoint, self._clock())

    async def _told(self, exchange: Exchange, endpoint: Endpoint, now_s: float) -> Told:
        """Return what an endpoint tells; one call of a caller asks, all others wait for what it hears.

        A receiver takes few envelopes of sessions that it doesn't know (`new_sessions_per_peer_per_s`), as
        questions are, and a worker that has just begun can have hundreds of calls at once.
        """
        asking, key = self._sessions.asking, (exchange.caller, endpoint)
        while (line := asking.get(key)) is not None:
            waiter: Waiter[None] = Waiter()
            line.append(waiter)
            exchange.phase = "wait"
            try:
                await waiter
            except BaseException:
                if not waiter.done:
                    line.remove(waiter)
                raise
            now_s = self._in_time(exchange)
            told = self._sessions.told.get(endpoint)
            if told is not None and now_s < told.until_s:
                return told
        line = asking[key] = []
        failure: ProxyError | None = None
        try:
            return await self._ask(exchange, endpoint, now_s)
        except ProxyError as error:
            if error.cause is not DEADLINE_EXCEEDED:  # which is the asker's own
                failure = error
            raise
        finally:
            del asking[key]
            for waiter in line.copy():
                if failure is None:
                    waiter.set(None)
                else:
                    waiter.fail(failure.again())

    async def _ask(self, exchange: Exchange, endpoint: Endpoint, now_s: float) -> Told:
        """Have an endpoint tell its epoch, and with it which of the receiver's keys it has."""
        failure = ProxyError(RECEIVER_KEY_ENDED, f"{self._sessions.receiver.name} at {endpoint}")
        for public_key in self._sessions.receiver.public_keys():
            try:
                answer = await self._send(exchange, _NOTHING, b"", endpoint, public_key, UNKNOWN_EPOCH, now_s)
            except _UnprovenError as error:
                failure = error.with_traceback(None)
                now_s = self._in_time(exchange)
                continue
            if type(answer) is Response:
                raise ProxyError(RESPONSE_BROKEN, f"{endpoint}: the receiver answered what was no request")
            return self._sessions.keep(endpoint, public_key, cast(bytes, answer), now_s)
        raise failure

    async def _send(
        self,
        exchange: Exchange,
        request: Outgoing,
        content: Content,
        endpoint: Endpoint,
        public_key: bytes,
        epoch: bytes,
        now_s: float,
    ) -> Response | bytes:
        """Send an envelope under a key of the receiver; return the response, or the epoch of a challenge."""
        connection = self._pools.take(endpoint)
        if connection is None:
            connection, now_s = await connect_in_time(self._pools, exchange, endpoint, self._clock)
        exchange.phase = "seal"
        try:
            sealed, opener = self._seal(exchange, request, content, public_key, epoch, now_s)
        except BaseException:
            connection.release()
            raise
        exchange.phase = "wait"
        if type(sealed) is bytes:
            waiter = connection.send(b"POST", _outer_start(endpoint) + end_of_head(len(sealed)) + sealed)
        else:
            waiter = connection.send_stream(
                b"POST", _outer_start(endpoint) + _CHUNKED, cast(Body, sealed), chunked=True
            )
        try:
            outer = await waiter
        except BaseException:
            connection.abandon(waiter)
            raise
        exchange.phase = "open"
        try:
            return self._open_single(request, outer, opener) or await self._open(
                exchange, request, outer, opener, endpoint
            )
        except ProxyError as error:
            error.sent = True
            raise

    def _in_time(self, exchange: Exchange) -> float:
        """Return the monotonic time in seconds, before the exchange's deadline; raise when that has come."""
        now_s = self._clock()
        if now_s >= exchange.deadline:
            raise deadline_passed("seal")
        return now_s

    # --- sealing ------------------------------------------------------------------------------

    def _seal(
        self,
        exchange: Exchange,
        request: Outgoing,
        content: Content,
        public_key: bytes,
        epoch: bytes,
        now_s: float,
    ) -> tuple[Content, ResponseOpener]:
        session = self._sessions.take(exchange.caller, public_key, now_s)
        expiry_ms = int(self._unix_clock() * 1000) + LIFETIME_MS
        meta = build_request_head(
            int((exchange.deadline - now_s) * 1000) or 1,
            exchange.id,
            self._service_field,
            request.head + request.framing + request.rest,
        )
        if type(content) is bytes:
            if len(content) <= MAX_DATA_BYTES:
                return session.seal_single(epoch, expiry_ms, meta, content, self._packing)
            sealer = session.seal(epoch, expiry_ms, self._packing)
            return seal_all(sealer, meta, content), sealer.opener()
        sealer = session.seal(epoch, expiry_ms, self._packing)
        first = sealer.record(meta, b"", last=False)  # the receiver judges before the body has come
        return SealedBody(sealer, first, cast(Body, content)), sealer.opener()

    # --- opening ------------------------------------------------------------------------------

    def _open_single(self, request: Outgoing, outer: Response, opener: ResponseOpener) -> Response | None:
        """Open the ordinary answer: of the service, here entirely, in a single record. None for any other."""
        sealed = outer.content
        if type(sealed) is not bytes or outer.head.status != 200:
            return None
        chunk = opener.open_single(sealed)
        if chunk is None or chunk.meta[:1] != SERVICE_RESPONSE:
            return None
        head = self._heads[chunk.meta[1:]]
        if head.content_bytes != len(chunk.data) or request.method == b"HEAD":
            return None
        return Response(head, chunk.data)

    async def _open(
        self,
        exchange: Exchange,
        request: Outgoing,
        outer: Response,
        opener: ResponseOpener,
        endpoint: Endpoint,
    ) -> Response | bytes:
        """Open whatever comes: a response, or the epoch of a challenge."""
        sealed = outer.content
        try:
            status = outer.head.status
            if status == IDENTITY_UNPROVEN.status:
                self._sessions.doubt(exchange.caller, endpoint)
            if status != 200:
                kind = _UnprovenError if status == IDENTITY_UNPROVEN.status else ProxyError
                raise kind(RESPONSE_UNSEALED, f"{endpoint} answered {status} in the clear")
            chunks: list[Chunk] = []
            if isinstance(sealed, bytes):
                chunks = opener.feed(sealed)
                if not opener.pending:
                    opener.eof()
            else:
                while not chunks:
                    piece = await sealed.read()
                    if piece:
                        chunks = opener.feed(piece)
                    else:
                        opener.eof()
            head = parse_response_head(chunks[0])
            if isinstance(head, Challenge):
                return head.epoch
            if isinstance(head, Refusal):
                exchange.cause = head.cause
            return self._response(request.method, head.http, chunks, opener, sealed)
        except BaseException:
            if not isinstance(sealed, bytes):
                sealed.close()
            raise

    def _response(
        self, method: bytes, http: bytes, chunks: list[Chunk], opener: ResponseOpener, sealed: Content
    ) -> Response:
        """Judge the sealed head as strictly as one in the clear; frame the body by the records alone."""
        head = self._heads[http]
        length = 0 if method == b"HEAD" or head.bodiless else head.length
        if chunks[-1].last and (len(chunks) == 1 or not chunks[-1].meta):
            data = chunks[0].data if len(chunks) == 1 else b"".join([chunk.data for chunk in chunks])
            if length is not None and length != len(data):
                raise ProxyError(RESPONSE_BROKEN, "the body has another length than its head says")
            return Response(head, data)
        chunks[0] = Chunk(b"", chunks[0].data, chunks[0].last)
        outer = NO_MORE if isinstance(sealed, bytes) else sealed
        return Response(
            head,
            OpenedBody(
                chunks, opener, outer, length, None, RESPONSE_BROKEN, BODY_TOO_LARGE, self._parse_trailers
            ),
        )
