"""The in proxy's side of envelope version 2 over HTTP: opening requests, sealing answers.

Whose key it was is known once the first record is open; everything before that is answered in the clear,
alike for every cause, and everything after it sealed and bound to the request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from msgspec import Struct

from fastproxy.errors import (
    BODY_TOO_LARGE,
    CODING_UNSUPPORTED,
    MALFORMED_REQUEST,
    MESSAGE_BROKEN,
    NOT_AN_ENVELOPE,
    ProxyError,
)
from fastproxy.model import Content, Request, RequestHead, Response
from fastproxy.net.http1 import HeadParser, length_line
from fastproxy.proxy.over_http import CONTENT_TYPE, TARGET
from fastproxy.proxy.sealed_body import NO_MORE, OpenedBody, SealedBody, seal_all
from fastproxy.wire.envelope import (
    RESPONSE_NONCE_BYTES,
    Challenge,
    Refusal,
    ServiceResponse,
    build_response_head,
    parse_request_head,
)
from fastproxy.wire.receiver import OpenedRequest, ProvenRefusalError, Receiver
from fastproxy.wire.records import MAX_DATA_BYTES, Chunk, Packing
from fastproxy.wire.responses import ResponseBinding

_START = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-store\r\n" % CONTENT_TYPE


class Received(Struct):
    """A request whose sender is proven.

    caller: by name. binding: seals the answer. exchange_id, service, budget_ms: from the sealed head.
    head, content: of the inner request, judged; head is None when `error` says why it can't be served.
    """

    caller: str
    binding: ResponseBinding
    exchange_id: str = ""
    service: str = ""
    budget_ms: int = 0
    head: RequestHead | None = None
    content: Content = b""
    error: ProxyError | None = None


class HttpReceiver:
    """Opens requests and seals answers.

    Args:
        receiver: keys, sessions and replay windows.
        parser: judges the heads inside sealed requests.
        body_limit_bytes: bound on opened bodies; None for no limit.
        admit_newcomer: called with the peer's address before curve arithmetic is spent on a new session.
        unix_clock: seconds since 1970. random: n random bytes.
    """

    def __init__(
        self,
        receiver: Receiver,
        parser: HeadParser,
        body_limit_bytes: int | None,
        admit_newcomer: Callable[[str], None],
        unix_clock: Callable[[], float],
        random: Callable[[int], bytes],
    ) -> None:
        self._receiver = receiver
        self._parser = parser
        self._limit = body_limit_bytes
        self._admit_newcomer = admit_newcomer
        self._unix_clock = unix_clock
        self._random = random

    async def receive(self, outer: Request) -> Received:
        """Open a request as far as its head.

        Raises:
            ProxyError: the sender isn't proven; answer in the clear.
        """
        if outer.head.target != TARGET or outer.head.method != b"POST":
            raise ProxyError(NOT_AN_ENVELOPE)
        sealed = outer.content
        try:
            if isinstance(sealed, bytes):
                opened = self._open(sealed, outer.peer, complete=True)
                assert opened is not None
            else:
                opened = None
                buffer = b""
                while opened is None:  # the receiver bounds how much a first record can be
                    piece = await sealed.read()
                    buffer += piece
                    opened = self._open(buffer, outer.peer, complete=not piece)
        except ProvenRefusalError as refusal:
            return Received(refusal.caller.name, refusal.binding, error=refusal)
        received = Received(opened.caller.name, opened.binding)
        try:
            head = parse_request_head(opened.chunk.meta)
            received.exchange_id, received.service, received.budget_ms = (
                head.exchange_id,
                head.service,
                head.budget_ms,
            )
            rest = sealed if isinstance(sealed, bytes) else buffer
            more = NO_MORE if isinstance(sealed, bytes) else sealed
            received.head = inner = self._judge(head.http)
            chunk = opened.chunk
            if chunk.last:
                self._check_length(inner, len(chunk.data))
                received.content = chunk.data
            else:
                opener = opened.opener()
                chunks = [Chunk(b"", chunk.data, last=False), *opener.feed(rest[opened.consumed_bytes :])]
                received.content = OpenedBody(
                    chunks, opener, more, inner.length, self._limit, MESSAGE_BROKEN, BODY_TOO_LARGE
                )
        except ProxyError as error:
            received.error = error
        return received

    def _open(self, buffer: bytes, peer: str, *, complete: bool) -> OpenedRequest | None:
        return self._receiver.open_head(
            buffer,
            int(self._unix_clock() * 1000),
            complete=complete,
            admit_newcomer=self._admit_newcomer,
            peer=peer,
        )

    def _judge(self, http: bytes) -> RequestHead:
        """Judge the sealed head as strictly as one in the clear; frame the body by the records alone."""
        head = self._parser.request(http)
        if head.chunked:
            raise ProxyError(CODING_UNSUPPORTED, "a sealed request frames its body by records")
        if head.absolute or head.expects_continue:
            raise ProxyError(
                MALFORMED_REQUEST, "a sealed request has a path as its target and expects nothing"
            )
        if self._limit is not None and head.length is not None and head.length > self._limit:
            raise ProxyError(BODY_TOO_LARGE, f"{head.length} bytes, {self._limit} allowed")
        return head

    def _check_length(self, head: RequestHead, received_bytes: int) -> None:
        if head.length is not None and head.length != received_bytes:
            raise ProxyError(MESSAGE_BROKEN, "the body has another length than its head says")
        if self._limit is not None and received_bytes > self._limit:
            raise ProxyError(BODY_TOO_LARGE, f"{received_bytes} bytes, {self._limit} allowed")

    def challenge(self, binding: ResponseBinding) -> Response:
        """The answer to a request for another epoch: the present one, sealed and bound to that request."""
        meta = build_response_head(Challenge(self._receiver.epoch))
        return Response(200, _START, binding.seal_whole(self._random(RESPONSE_NONCE_BYTES), meta, b""))

    def seal(
        self,
        binding: ResponseBinding,
        method: bytes,
        response: Response,
        fields: bytes,
        packing: Packing,
        refusal: str,
    ) -> Response:
        """Seal an answer, whole or as it comes.

        Args:
            binding, method: of the request.
            response: of the service, or this proxy's refusal.
            fields: further header lines for its head.
            packing: compression and padding.
            refusal: the cause's label when this proxy refuses, else "".
        """
        content = response.content
        length = response.declared_length
        if method == b"HEAD":
            if refusal:  # a service's answer comes without content, a refusal is made with it
                length, content = len(cast(bytes, content)), b""
        elif length is None and response.status not in (204, 304):
            length = len(content) if isinstance(content, bytes) else content.length
        framing = b"\r\n" if length is None else length_line(length) + b"\r\n"
        http = b"".join((response.start, fields, framing))
        meta = build_response_head(Refusal(refusal, http) if refusal else ServiceResponse(http))
        random = self._random(RESPONSE_NONCE_BYTES)
        if isinstance(content, bytes):
            if len(content) <= MAX_DATA_BYTES:
                return Response(200, _START, binding.seal_whole(random, meta, content, packing))
            return Response(200, _START, seal_all(binding.sealer(random, packing), meta, content))
        sealer = binding.sealer(random, packing)
        return Response(200, _START, SealedBody(sealer, sealer.record(meta, b"", last=False), content))
