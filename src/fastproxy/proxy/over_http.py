"""The way from the out proxy to a receiver over HTTP: envelope version 2.

Each attempt seals the request for one receiver, under a session of this process that is renewed every ten
minutes, and opens what comes back. What isn't sealed by the receiver is a failure of the transport,
whatever it says; its content is discarded. `docs/wire.md` has the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple, cast

from fastproxy.errors import (
    BODY_TOO_LARGE,
    EPOCH_MISMATCH,
    RESPONSE_BROKEN,
    RESPONSE_UNSEALED,
    ProxyError,
)
from fastproxy.model import Body, Content, Endpoint, Exchange, Response, ResponseHead, host_field
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import HeadParser, KnownHeads, end_of_head
from fastproxy.net.pool import Pools
from fastproxy.policy.deadline import deadline_passed
from fastproxy.proxy.http_lane import HttpLane
from fastproxy.proxy.sealed_body import NO_MORE, OpenedBody, SealedBody, seal_all
from fastproxy.proxy.transport import Outgoing, connect_in_time
from fastproxy.wire.ciphers import Cipher
from fastproxy.wire.envelope import (
    SERVICE_RESPONSE,
    UNKNOWN_EPOCH,
    Challenge,
    Refusal,
    build_request_head,
    parse_response_head,
    service_field,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.records import MAX_DATA_BYTES, PLAIN, PREFIX_BYTES, Chunk, Packing
from fastproxy.wire.responses import ResponseOpener
from fastproxy.wire.sender import SenderSession

TARGET = b"/fastproxy/v2"
CONTENT_TYPE = b"application/vnd.fastproxy.v2"
SESSION_S = 600.0
"""Age at which a session's ephemeral key is replaced, in seconds."""
LIFETIME_MS = 60_000
"""How far ahead an envelope's expiry lies; what was recorded is of no use after it."""
_CHALLENGES = 3
_CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
_PLAIN_RECORD = bytes(4)
_NOTHING = Outgoing(b"", b"", b"", b"", has_body=False, head=b"\r\n")
_EPOCHS = 1024


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


class ReceiverIdentity(NamedTuple):
    """The receiver as the config pins it. public_key: 32 bytes. psk: of the pair, if it has one."""

    name: str
    public_key: bytes
    psk: bytes | None


class OverHttp:
    """Carries exchanges of one service to its receiver.

    Args:
        service: its name, for the receiver.
        keys: private keys of the callers that may occur.
        receiver: whom requests are sealed for.
        cipher, packing: how they are sealed.
        pools: connections by endpoint.
        parser: judges the heads inside sealed answers. answers: remembers them for the short way.
        clock: monotonic time in seconds. unix_clock: seconds since 1970. random: n random bytes.
    """

    tunnels = False

    def __init__(
        self,
        service: str,
        keys: Mapping[str, PrivateKey],
        receiver: ReceiverIdentity,
        cipher: Cipher,
        packing: Packing,
        pools: Pools,
        parser: HeadParser,
        answers: KnownHeads[ResponseHead | None],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._service_field = service_field(service)
        self._keys = keys
        self._receiver = receiver
        self._cipher = cipher
        self._packing = packing
        self._pools = pools
        self._heads = parser.responses
        self._answers = answers
        self._clock = clock
        self._unix_clock = unix_clock
        self._random = random
        self._sessions: dict[str, SenderSession] = {}
        self._epochs: dict[Endpoint, bytes] = {}

    def lane(
        self,
        caller: str,
        outgoing: Outgoing,
        endpoint: Endpoint,
        content_bytes: int,
        exchange_id: str,
        timeout_s: float,
    ) -> HttpLane | None:
        """Compile the short way to `endpoint`, once session and epoch are known; see `Transport.lane`."""
        session, epoch = self._sessions.get(caller), self._epochs.get(endpoint)
        pool = self._pools.pool(endpoint)
        if session is None or epoch is None or pool is None:
            return None
        if self._packing is not PLAIN or content_bytes > MAX_DATA_BYTES:
            return None
        meta = build_request_head(int(timeout_s * 1000), exchange_id, self._service_field, outgoing.head)
        return HttpLane(
            self, endpoint, pool, session, session.born_s + SESSION_S, epoch, _outer_start(endpoint), meta,
            exchange_id, content_bytes, self._answers, self._unix_clock, LIFETIME_MS,
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
            answer = await self._open(exchange, outgoing, outer, opener)
        except ProxyError as error:
            error.sent = True
            raise
        if type(answer) is Response:
            return answer
        self._keep_epoch(endpoint, cast(bytes, answer))
        return await self.attempt(exchange, outgoing, content, endpoint, self._in_time(exchange))

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        """Seal a request, send it to `endpoint` and open the answer; see `Transport.attempt`.

        Every so often the answer is a challenge: the receiver tells its epoch, and has processed nothing.
        """
        for _ in range(_CHALLENGES):
            epoch = self._epochs.get(endpoint)
            body: Content
            if epoch is None:  # ask for it with an envelope that says nothing: it can only be challenged
                request, body, epoch = _NOTHING, b"", UNKNOWN_EPOCH
            else:
                request, body = outgoing, content
            connection = self._pools.take(endpoint)
            if connection is None:
                connection, now_s = await connect_in_time(self._pools, exchange, endpoint, self._clock)
            exchange.phase = "seal"
            try:
                sealed, opener = self._seal(exchange, request, body, epoch, now_s)
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
                answer = self._open_single(request, outer, opener) or await self._open(
                    exchange, request, outer, opener
                )
            except ProxyError as error:
                error.sent = True
                raise
            if type(answer) is Response:
                if epoch is UNKNOWN_EPOCH:
                    raise ProxyError(
                        RESPONSE_BROKEN, f"{endpoint}: the receiver answered what was no request"
                    )
                return answer
            self._keep_epoch(endpoint, cast(bytes, answer))
            if type(body) is not bytes:
                raise ProxyError(EPOCH_MISMATCH, f"{endpoint}: the receiver has restarted")
            now_s = self._in_time(exchange)
        raise ProxyError(EPOCH_MISMATCH, f"{endpoint}: the receiver's epoch changes with every answer")

    def _in_time(self, exchange: Exchange) -> float:
        """Return the monotonic time in seconds, before the exchange's deadline; raise when that has come."""
        now_s = self._clock()
        if now_s >= exchange.deadline:
            raise deadline_passed("seal")
        return now_s

    def _keep_epoch(self, endpoint: Endpoint, epoch: bytes) -> None:
        if len(self._epochs) >= _EPOCHS:
            self._epochs.clear()
        self._epochs[endpoint] = epoch

    # --- sealing ------------------------------------------------------------------------------

    def _seal(
        self, exchange: Exchange, request: Outgoing, content: Content, epoch: bytes, now_s: float
    ) -> tuple[Content, ResponseOpener]:
        session = self._sessions.get(exchange.caller)
        if session is None or now_s - session.born_s > SESSION_S:
            session = self._new_session(exchange.caller, now_s)
        expiry_ms = int(self._unix_clock() * 1000) + LIFETIME_MS
        meta = build_request_head(
            int((exchange.deadline - now_s) * 1000) or 1, exchange.id, self._service_field, request.head
        )
        if type(content) is bytes:
            if len(content) <= MAX_DATA_BYTES:
                return session.seal_single(epoch, expiry_ms, meta, content, self._packing)
            sealer = session.seal(epoch, expiry_ms, self._packing)
            return seal_all(sealer, meta, content), sealer.opener()
        sealer = session.seal(epoch, expiry_ms, self._packing)
        first = sealer.record(meta, b"", last=False)  # the receiver judges before the body has come
        return SealedBody(sealer, first, cast(Body, content)), sealer.opener()

    def _new_session(self, caller: str, now_s: float) -> SenderSession:
        receiver = self._receiver
        session = self._sessions[caller] = SenderSession(
            self._keys[caller],
            receiver.name,
            receiver.public_key,
            self._random(32),
            cipher=self._cipher,
            psk=receiver.psk,
            born_s=now_s,
        )
        return session

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
        self, exchange: Exchange, request: Outgoing, outer: Response, opener: ResponseOpener
    ) -> Response | bytes:
        """Open whatever comes: a response, or the epoch of a challenge."""
        sealed = outer.content
        try:
            if outer.head.status != 200:
                raise ProxyError(
                    RESPONSE_UNSEALED, f"{exchange.endpoint} answered {outer.head.status} in the clear"
                )
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
            head, OpenedBody(chunks, opener, outer, length, None, RESPONSE_BROKEN, BODY_TOO_LARGE)
        )
