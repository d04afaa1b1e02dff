"""The in proxy's side of envelope version 2 over HTTP: opening requests, sealing answers.

Whose key it was is known once the first record is open; everything before that is answered in the clear,
alike for every cause, and everything after it sealed and bound to the request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from fastproxy.errors import (
    BODY_TOO_LARGE,
    CODING_UNSUPPORTED,
    EPOCH_MISMATCH,
    MALFORMED_REQUEST,
    MESSAGE_BROKEN,
    NOT_AN_ENVELOPE,
    ProxyError,
)
from fastproxy.model import Body, Request, Response, WholeBody
from fastproxy.net.http1 import HeadParser
from fastproxy.proxy.over_http import CONTENT_TYPE, TARGET
from fastproxy.proxy.sealed_body import OpenedBody, SealedBody, seal_all
from fastproxy.wire.envelope import (
    Challenge,
    Refusal,
    ServiceResponse,
    build_response_head,
    parse_request_head,
)
from fastproxy.wire.receiver import OpenedRequest, ProvenRefusalError, Receiver
from fastproxy.wire.records import MAX_DATA_BYTES, Chunk, Packing
from fastproxy.wire.responses import ResponseBinding

_FIELDS = b"content-type: %b\r\ncache-control: no-store\r\n" % CONTENT_TYPE


class Received(NamedTuple):
    """A request whose sender is proven.

    caller: by name. binding: seals the answer. exchange_id, service, budget_ms: from the sealed head.
    request: the inner one, judged; None when `error` says why it can't be served.
    """

    caller: str
    binding: ResponseBinding
    exchange_id: str = ""
    service: str = ""
    budget_ms: int = 0
    request: Request | None = None
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
        if outer.target != TARGET or outer.method != b"POST":
            raise ProxyError(NOT_AN_ENVELOPE)
        try:
            opened, rest = await self._open_first(outer)
        except ProvenRefusalError as refusal:
            return Received(refusal.caller.name, refusal.binding, error=refusal)
        caller, binding = opened.caller.name, opened.binding
        try:
            head = parse_request_head(opened.chunk.meta)
        except ProxyError as error:
            return Received(caller, binding, error=error)
        try:
            request = self._inner(head.http, opened, rest, outer)
        except ProxyError as error:
            return Received(caller, binding, head.exchange_id, head.service, error=error)
        return Received(caller, binding, head.exchange_id, head.service, head.budget_ms, request)

    async def _open_first(self, outer: Request) -> tuple[OpenedRequest, bytes]:
        """Read as much as the first record needs; the opener of the rest bounds how much that can be."""
        receiver, body = self._receiver, outer.body
        now_ms = int(self._unix_clock() * 1000)
        buffer = body.whole
        if buffer is not None:
            opened = receiver.open_head(
                buffer, now_ms, complete=True, admit_newcomer=self._admit_newcomer, peer=outer.peer
            )
            assert opened is not None
            return opened, buffer[opened.consumed_bytes :]
        buffer = b""
        while True:
            data = await body.read()
            buffer += data
            opened = receiver.open_head(
                buffer, now_ms, complete=not data, admit_newcomer=self._admit_newcomer, peer=outer.peer
            )
            if opened is not None:
                return opened, buffer[opened.consumed_bytes :]

    def _inner(self, http: bytes, opened: OpenedRequest, rest: bytes, outer: Request) -> Request:
        """Judge the sealed head as strictly as one in the clear; frame the body by the records alone."""
        head = self._parser.request(http)
        if head.chunked:
            raise ProxyError(CODING_UNSUPPORTED, "a sealed request frames its body by records")
        if head.absolute or head.expects_continue:
            raise ProxyError(
                MALFORMED_REQUEST, "a sealed request has a path as its target and expects nothing"
            )
        length, limit = head.length, self._limit
        if limit is not None and length is not None and length > limit:
            raise ProxyError(BODY_TOO_LARGE, f"{length} bytes, {limit} allowed")
        chunk = opened.chunk
        body: Body
        if chunk.last:
            if length is not None and length != len(chunk.data):
                raise ProxyError(MESSAGE_BROKEN, "the body has another length than its head says")
            if limit is not None and len(chunk.data) > limit:
                raise ProxyError(BODY_TOO_LARGE, f"{len(chunk.data)} bytes, {limit} allowed")
            body = WholeBody(chunk.data)
        else:
            opener = opened.opener()
            chunks = [Chunk(b"", chunk.data, last=False)]
            if rest:
                chunks += opener.feed(rest)
            body = OpenedBody(chunks, opener, outer.body, length, limit, MESSAGE_BROKEN, BODY_TOO_LARGE)
        return Request(
            head.method, head.target, head.fields, head.host, body,
            length is not None, peer=outer.peer, control=head.control,
        )  # fmt: skip

    def challenge(self, binding: ResponseBinding) -> Response:
        """The answer to a request for another epoch: the present one, sealed and bound to that request."""
        meta = build_response_head(Challenge(self._receiver.epoch))
        return _outer(WholeBody(binding.seal_whole(self._random(16), meta, b"")))

    def seal(
        self, binding: ResponseBinding, response: Response, fields: bytes, packing: Packing, refusal: str
    ) -> Response:
        """Seal an answer, whole or as it comes.

        Args:
            binding: of the request.
            response: of the service, or this proxy's refusal.
            fields: further header lines for its head.
            packing: compression and padding.
            refusal: the cause's label when this proxy refuses, else "".
        """
        body = response.body
        content = body.whole
        length = response.declared_length if response.declared_length is not None else body.length
        http = b"".join(
            (
                b"HTTP/1.1 %d %b\r\n" % (response.status, response.reason),
                response.fields,
                fields,
                b"\r\n"
                if length is None or response.status == 204
                else b"content-length: %d\r\n\r\n" % length,
            )
        )
        meta = build_response_head(Refusal(refusal, http) if refusal else ServiceResponse(http))
        random = self._random(16)
        if content is not None:
            if len(content) <= MAX_DATA_BYTES:
                return _outer(WholeBody(binding.seal_whole(random, meta, content, packing)))
            return _outer(WholeBody(seal_all(binding.sealer(random, packing), meta, content)))
        sealer = binding.sealer(random, packing)
        return _outer(SealedBody(sealer, sealer.record(meta, b"", last=False), body))


def is_challenge(error: ProxyError) -> bool:
    """Whether the answer to this error is a challenge."""
    return error.cause is EPOCH_MISMATCH


def _outer(body: Body) -> Response:
    return Response(200, b"OK", _FIELDS, body)
