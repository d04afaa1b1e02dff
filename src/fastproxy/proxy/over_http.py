"""The way from the out proxy to a receiver over HTTP: envelope version 2.

Each attempt seals the request for one receiver, under a session of this process that is renewed every ten
minutes, and opens what comes back. What isn't sealed by the receiver is a failure of the transport,
whatever it says; its content is discarded. `docs/wire.md` has the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastproxy.errors import (
    BODY_TOO_LARGE,
    EPOCH_MISMATCH,
    RESPONSE_BROKEN,
    RESPONSE_MALFORMED,
    RESPONSE_UNSEALED,
    ProxyError,
)
from fastproxy.model import Content, Endpoint, Exchange, Response, host_field
from fastproxy.net.http1 import HeadParser, length_line
from fastproxy.net.pool import Pools
from fastproxy.policy.deadline import budget_ms, remaining_s
from fastproxy.proxy.sealed_body import NO_MORE, OpenedBody, SealedBody, seal_all
from fastproxy.proxy.transport import Outgoing
from fastproxy.wire.ciphers import Cipher
from fastproxy.wire.envelope import (
    UNKNOWN_EPOCH,
    Challenge,
    Refusal,
    RequestHead,
    build_request_head,
    parse_response_head,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.records import MAX_DATA_BYTES, Chunk, Packing
from fastproxy.wire.responses import ResponseOpener
from fastproxy.wire.sender import SenderSession

TARGET = b"/fastproxy/v2"
CONTENT_TYPE = b"application/vnd.fastproxy.v2"
SESSION_S = 600.0
"""Age at which a session's ephemeral key is replaced, in seconds."""
LIFETIME_MS = 60_000
"""How far ahead an envelope's expiry lies; what was recorded is of no use after it."""
_CHALLENGES = 3
_REQUEST_START = b"POST %b HTTP/1.1\r\nhost: " % TARGET
_REQUEST_FIELDS = b"\r\ncontent-type: %b\r\n" % CONTENT_TYPE
_NOTHING = Outgoing(b"", b"", b"", b"", has_body=False)
_EPOCHS = 1024


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
        parser: judges the heads inside sealed answers.
        clock: monotonic time in seconds. unix_clock: seconds since 1970. random: n random bytes.
    """

    def __init__(
        self,
        service: str,
        keys: Mapping[str, PrivateKey],
        receiver: ReceiverIdentity,
        cipher: Cipher,
        packing: Packing,
        pools: Pools,
        parser: HeadParser,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._service = service
        self._keys = keys
        self._receiver = receiver
        self._cipher = cipher
        self._packing = packing
        self._pools = pools
        self._parser = parser
        self._clock = clock
        self._unix_clock = unix_clock
        self._random = random
        self._sessions: dict[str, SenderSession] = {}
        self._epochs: dict[Endpoint, bytes] = {}

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint
    ) -> Response:
        """Seal a request, send it to `endpoint` and open the answer; see `Transport.attempt`."""
        epoch = self._epochs.get(endpoint)
        if epoch is None:
            epoch = await self._learn_epoch(exchange, endpoint)
        for _ in range(_CHALLENGES):
            answer = await self._send(exchange, outgoing, content, endpoint, epoch)
            if isinstance(answer, Response):
                return answer
            epoch = self._keep_epoch(endpoint, answer)
            if not isinstance(content, bytes):
                raise ProxyError(EPOCH_MISMATCH, f"{endpoint}: the receiver has restarted")
        raise ProxyError(EPOCH_MISMATCH, f"{endpoint}: the receiver's epoch changes with every answer")

    async def _learn_epoch(self, exchange: Exchange, endpoint: Endpoint) -> bytes:
        """Ask for the receiver's epoch with an envelope that says nothing: it can only be challenged."""
        answer = await self._send(exchange, _NOTHING, b"", endpoint, UNKNOWN_EPOCH)
        if isinstance(answer, Response):
            raise ProxyError(RESPONSE_BROKEN, f"{endpoint}: the receiver answered what was no request")
        return self._keep_epoch(endpoint, answer)

    def _keep_epoch(self, endpoint: Endpoint, epoch: bytes) -> bytes:
        if len(self._epochs) >= _EPOCHS:
            self._epochs.clear()
        self._epochs[endpoint] = epoch
        return epoch

    async def _send(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, epoch: bytes
    ) -> Response | bytes:
        """Make one envelope and open the answer: a response, or the epoch of a challenge."""
        exchange.phase = "connect"
        connection = self._pools.take(endpoint) or await self._pools.acquire(endpoint)
        exchange.phase = "seal"
        try:
            sealed, opener = self._seal(exchange, outgoing, content, epoch)
        except BaseException:  # the wait for a connection used the time up
            connection.release()
            raise
        exchange.phase = "wait"
        is_whole = isinstance(sealed, bytes)
        head = b"".join(
            (
                _REQUEST_START,
                host_field(endpoint),
                _REQUEST_FIELDS,
                length_line(len(sealed)) if isinstance(sealed, bytes) else b"transfer-encoding: chunked\r\n",
                b"\r\n",
            )
        )
        outer = await connection.call(b"POST", head, sealed, chunked=not is_whole)
        exchange.phase = "open"
        try:
            return await self._open(exchange, outgoing.method, outer, opener)
        except BaseException as error:
            if not isinstance(outer.content, bytes):
                outer.content.close()
            if isinstance(error, ProxyError):
                error.sent = True
            raise

    # --- sealing ------------------------------------------------------------------------------

    def _seal(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, epoch: bytes
    ) -> tuple[Content, ResponseOpener]:
        now_s = self._clock()
        session = self._sessions.get(exchange.caller)
        if session is None or now_s - session.born_s > SESSION_S:
            session = self._new_session(exchange.caller, now_s)
        expiry_ms = int(self._unix_clock() * 1000) + LIFETIME_MS
        left_s = remaining_s(exchange.deadline, now_s, "seal")
        length = len(content) if isinstance(content, bytes) else content.length
        http = b"".join(
            (
                outgoing.line,
                outgoing.host,
                outgoing.fields,
                length_line(length) if length is not None and outgoing.has_body else b"",
                b"\r\n",
            )
        )
        meta = build_request_head(RequestHead(budget_ms(left_s), exchange.id, self._service, http))
        if isinstance(content, bytes):
            if len(content) <= MAX_DATA_BYTES:
                return session.seal_whole(epoch, expiry_ms, meta, content, self._packing)
            sealer = session.seal(epoch, expiry_ms, self._packing)
            return seal_all(sealer, meta, content), sealer.opener()
        sealer = session.seal(epoch, expiry_ms, self._packing)
        first = sealer.record(meta, b"", last=False)  # the receiver judges before the body has come
        return SealedBody(sealer, first, content), sealer.opener()

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

    async def _open(
        self, exchange: Exchange, method: bytes, outer: Response, opener: ResponseOpener
    ) -> Response | bytes:
        if outer.status != 200:
            raise ProxyError(
                RESPONSE_UNSEALED, f"{exchange.endpoint} answered {outer.status} in the clear", sent=True
            )
        sealed = outer.content
        chunks: list[Chunk] = []
        if isinstance(sealed, bytes):
            chunks = opener.open_whole(sealed)
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
        return self._response(method, head.http, chunks, opener, sealed)

    def _response(
        self, method: bytes, http: bytes, chunks: list[Chunk], opener: ResponseOpener, sealed: Content
    ) -> Response:
        """Judge the sealed head as strictly as one in the clear; frame the body by the records alone."""
        head = self._parser.response(http)
        if head.chunked or head.status < 200:
            raise ProxyError(RESPONSE_MALFORMED, "a sealed answer is final and frames its body by records")
        length, declared = head.length, None
        if method == b"HEAD" or head.status in (204, 304):
            declared, length = length, 0
        if chunks[-1].last and (len(chunks) == 1 or not chunks[-1].meta):
            data = chunks[0].data if len(chunks) == 1 else b"".join([chunk.data for chunk in chunks])
            if length is not None and length != len(data):
                raise ProxyError(RESPONSE_BROKEN, "the body has another length than its head says")
            return Response(head.status, head.start, data, declared, head.has_date)
        chunks[0] = Chunk(b"", chunks[0].data, chunks[0].last)
        outer = NO_MORE if isinstance(sealed, bytes) else sealed
        body = OpenedBody(chunks, opener, outer, length, None, RESPONSE_BROKEN, BODY_TOO_LARGE)
        return Response(head.status, head.start, body, declared, head.has_date)
