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
from fastproxy.model import Body, Endpoint, Exchange, Request, Response, WholeBody, host_field
from fastproxy.net.http1 import HeadParser
from fastproxy.net.pool import Pools
from fastproxy.policy.deadline import budget_ms, remaining_s
from fastproxy.proxy.fields import DEAD_TIME, HopFields
from fastproxy.proxy.sealed_body import OpenedBody, SealedBody, seal_all
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
_EPOCHS = 1024


class ReceiverIdentity(NamedTuple):
    """The receiver as the config pins it. public_key: 32 bytes. psk: of the pair, if it has one."""

    name: str
    public_key: bytes
    psk: bytes | None


class OverHttp:
    """Carries exchanges to one receiver.

    Args:
        keys: private keys of the callers that may occur.
        receiver: whom requests are sealed for.
        cipher, packing: how they are sealed.
        pools: connections by endpoint.
        parser: judges the heads inside sealed answers.
        fields: writes Via and its like.
        clock: monotonic time in seconds. unix_clock: seconds since 1970. random: n random bytes.
    """

    def __init__(
        self,
        keys: Mapping[str, PrivateKey],
        receiver: ReceiverIdentity,
        cipher: Cipher,
        packing: Packing,
        pools: Pools,
        parser: HeadParser,
        fields: HopFields,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._keys = keys
        self._receiver = receiver
        self._cipher = cipher
        self._packing = packing
        self._pools = pools
        self._parser = parser
        self._fields = fields
        self._clock = clock
        self._unix_clock = unix_clock
        self._random = random
        self._sessions: dict[str, SenderSession] = {}
        self._epochs: dict[Endpoint, bytes] = {}

    async def attempt(self, exchange: Exchange, request: Request, endpoint: Endpoint) -> Response:
        """Seal the request, send it to `endpoint` and open the answer; see `Transport.attempt`."""
        if endpoint not in self._epochs:
            await self._learn_epoch(exchange, endpoint)
        for _ in range(_CHALLENGES):
            answer = await self._send(exchange, request, endpoint)
            if isinstance(answer, Response):
                return answer
            self._keep_epoch(endpoint, answer)
            if request.body.whole is None:
                raise ProxyError(EPOCH_MISMATCH, f"{endpoint}: the receiver has restarted")
        raise ProxyError(EPOCH_MISMATCH, f"{endpoint}: the receiver's epoch changes with every answer")

    async def _learn_epoch(self, exchange: Exchange, endpoint: Endpoint) -> None:
        """Ask for the receiver's epoch with an envelope that says nothing: it can only be challenged."""
        empty = Request(b"", b"", b"", b"", WholeBody(b""))
        answer = await self._send(exchange, empty, endpoint)
        if isinstance(answer, Response):
            raise ProxyError(RESPONSE_BROKEN, f"{endpoint}: the receiver answered what was no request")
        self._keep_epoch(endpoint, answer)

    def _keep_epoch(self, endpoint: Endpoint, epoch: bytes) -> None:
        if len(self._epochs) >= _EPOCHS:
            self._epochs.clear()
        self._epochs[endpoint] = epoch

    async def _send(self, exchange: Exchange, request: Request, endpoint: Endpoint) -> Response | bytes:
        """Make one envelope and open the answer: a response, or the epoch of a challenge."""
        exchange.phase = "connect"
        connection = await self._pools.acquire(endpoint)
        exchange.phase = "seal"
        # Another exchange may have learnt the epoch meanwhile, but the empty request only asks for it.
        epoch = self._epochs.get(endpoint, UNKNOWN_EPOCH) if request.method else UNKNOWN_EPOCH
        try:
            body, opener = self._seal(exchange, request, epoch)
        except ProxyError:  # the wait for a connection used the time up
            connection.release()
            raise
        exchange.phase = "wait"
        sealed = body.whole
        framing = b"transfer-encoding: chunked" if sealed is None else b"content-length: %d" % len(sealed)
        head = b"POST %b HTTP/1.1\r\nhost: %b\r\ncontent-type: %b\r\n%b\r\n\r\n" % (
            TARGET, host_field(endpoint), CONTENT_TYPE, framing,
        )  # fmt: skip
        outer = await connection.call(b"POST", head, body, chunked=sealed is None)
        exchange.phase = "open"
        try:
            return await self._open(exchange, request, outer, opener)
        except BaseException as error:
            outer.body.close()
            if isinstance(error, ProxyError):
                error.sent = True
            raise

    # --- sealing --------------------------------------------------------------------------------------------

    def _seal(self, exchange: Exchange, request: Request, epoch: bytes) -> tuple[Body, ResponseOpener]:
        now_s = self._clock()
        session = self._session(exchange.caller, now_s)
        expiry_ms = int(self._unix_clock() * 1000) + LIFETIME_MS
        left_s = remaining_s(exchange.deadline, now_s, "seal")
        http = self._http_head(exchange, request) if request.method else b""
        meta = build_request_head(RequestHead(budget_ms(left_s), exchange.id, exchange.service, http))
        body = request.body
        content = body.whole
        if content is not None and len(content) <= MAX_DATA_BYTES:
            message, opener = session.seal_whole(epoch, expiry_ms, meta, content, self._packing)
            return WholeBody(message), opener
        sealer = session.seal(epoch, expiry_ms, self._packing)
        if content is not None:
            return WholeBody(seal_all(sealer, meta, content)), sealer.opener()
        first = sealer.record(meta, b"", last=False)  # the receiver judges before the body has come
        return SealedBody(sealer, first, body), sealer.opener()

    def _session(self, caller: str, now_s: float) -> SenderSession:
        session = self._sessions.get(caller)
        if session is None or now_s - session.born_s > SESSION_S:
            receiver = self._receiver
            session = self._sessions[caller] = SenderSession(
                self._keys[caller], receiver.name, receiver.public_key, self._random(32),
                cipher=self._cipher, psk=receiver.psk, born_s=now_s,
            )  # fmt: skip
        return session

    def _http_head(self, exchange: Exchange, request: Request) -> bytes:
        host = request.host or exchange.service.encode()  # HTTP/1.0 may leave it out, HTTP/1.1 may not
        parts = [
            b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method, request.target, host),
            request.fields,
            self._fields.of(request.peer, request.control),
        ]
        control = request.control
        if control is not None and DEAD_TIME in control:
            parts.append(b"%b: %b\r\n" % (DEAD_TIME, control[DEAD_TIME]))
        if request.body.length is not None and request.has_body:
            parts.append(b"content-length: %d\r\n\r\n" % request.body.length)
        else:
            parts.append(b"\r\n")
        return b"".join(parts)

    # --- opening --------------------------------------------------------------------------------------------

    async def _open(
        self, exchange: Exchange, request: Request, outer: Response, opener: ResponseOpener
    ) -> Response | bytes:
        sealed = outer.body.whole
        if outer.status != 200:
            raise ProxyError(
                RESPONSE_UNSEALED, f"{exchange.endpoint} answered {outer.status} in the clear", sent=True
            )
        if sealed is not None:
            chunks = opener.feed(sealed)
            opener.eof()
        else:
            chunks = []
            while not chunks:
                sealed = await outer.body.read()
                if sealed:
                    chunks = opener.feed(sealed)
                else:
                    opener.eof()
        head = parse_response_head(chunks[0])
        if isinstance(head, Challenge):
            return head.epoch
        if isinstance(head, Refusal):
            exchange.cause = head.cause
        return self._response(request.method, head.http, chunks, opener, outer.body)

    def _response(
        self, method: bytes, http: bytes, chunks: list[Chunk], opener: ResponseOpener, outer: Body
    ) -> Response:
        """Judge the sealed head as strictly as one in the clear; frame the body by the records alone."""
        head = self._parser.response(http)
        if head.chunked or head.status < 200:
            raise ProxyError(RESPONSE_MALFORMED, "a sealed answer is final and frames its body by records")
        response = Response(head.status, head.reason, head.fields, WholeBody(b""), has_date=head.has_date)
        length = head.length
        if method == b"HEAD" or head.status in (204, 304):
            response.declared_length, length = length, 0
        if opener.finished:
            data = chunks[0].data if len(chunks) == 1 else b"".join([chunk.data for chunk in chunks])
            if length is not None and length != len(data):
                raise ProxyError(RESPONSE_BROKEN, "the body has another length than its head says")
            if len(chunks) == 1 or not chunks[-1].meta:
                response.body = WholeBody(data)
                return response
        chunks[0] = Chunk(b"", chunks[0].data, chunks[0].last)
        response.body = OpenedBody(chunks, opener, outer, length, None, RESPONSE_BROKEN, BODY_TOO_LARGE)
        return response
