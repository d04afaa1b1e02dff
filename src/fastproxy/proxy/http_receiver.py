"""The in proxy's side of envelope version 2 over HTTP: opening requests, sealing answers.

Whose key it was is known once the first record is open; everything before that is answered in the clear,
alike for every cause, and everything after it sealed and bound to the request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from fastproxy.errors import (
    BODY_TOO_LARGE,
    HEADERS_TOO_LARGE,
    MESSAGE_BROKEN,
    NOT_AN_ENVELOPE,
    ProxyError,
)
from fastproxy.model import Body, Content, Request, RequestHead, Response, ResponseHead
from fastproxy.net.framing import trailer_parser
from fastproxy.net.http1 import HeadParser, end_of_head
from fastproxy.proxy.over_http import CONTENT_TYPE, TARGET
from fastproxy.proxy.sealed_body import NO_MORE, OpenedBody, SealedBody, seal_all
from fastproxy.proxy.way_in import Received, kind_of
from fastproxy.wire.envelope import (
    RESPONSE_NONCE_BYTES,
    Challenge,
    Refusal,
    ServiceResponse,
    build_response_head,
    parse_request_head,
)
from fastproxy.wire.receiver import (
    OpenedRequest,
    PackedRequest,
    ProvenRefusalError,
    Receiver,
    unpacked,
)
from fastproxy.wire.records import MAX_DATA_BYTES, PLAIN, Chunk, Packing, pack
from fastproxy.wire.responses import ResponseBinding

ENVELOPE_HEAD = ResponseHead(
    200, b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncache-control: no-store\r\n" % CONTENT_TYPE
)


class HttpReceiver:
    """Opens requests and seals answers.

    Args:
        receiver: keys, sessions and replay windows.
        parser: judges the heads inside sealed requests; for the short way as well.
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
        self.parser = parser
        self._limit = body_limit_bytes
        self._parse_trailers = trailer_parser(parser.limits, MESSAGE_BROKEN, HEADERS_TOO_LARGE)
        self._admit_newcomer = admit_newcomer
        self._unix_clock = unix_clock
        self._random = random

    def receive_single(self, outer: Request) -> Received | None:
        """Open the ordinary request: of a known session, here entirely, in a single record, as it should be.

        None for any other, for `receive` to judge.
        """
        sealed = outer.content
        if type(sealed) is not bytes or outer.head.target != TARGET or outer.head.method != b"POST":
            return None
        packed = self._receiver.open_packed(sealed, int(self._unix_clock() * 1000))
        return None if packed is None else self.unpack(packed)

    def unpack(self, packed: PackedRequest) -> Received:
        """Judge a request that is open already."""
        try:
            return self._received(unpacked(packed), b"", NO_MORE)
        except ProvenRefusalError as refusal:
            return _refused(refusal)

    async def receive(self, outer: Request) -> Received:
        """Open a request as far as its head.

        Raises:
            ProxyError: the sender isn't proven; answer in the clear.
        """
        if outer.head.target != TARGET or outer.head.method != b"POST":
            raise ProxyError(NOT_AN_ENVELOPE)
        sealed = outer.content
        more: Body = NO_MORE
        try:
            if isinstance(sealed, bytes):
                buffer = sealed
                opened = self._open(sealed, outer.peer, complete=True)
                assert opened is not None
            else:
                opened = None
                buffer = b""
                more = sealed
                while opened is None:  # the receiver bounds how much a first record can be
                    piece = await sealed.read()
                    buffer += piece
                    opened = self._open(buffer, outer.peer, complete=not piece)
        except ProvenRefusalError as refusal:
            return _refused(refusal)
        return self._received(opened, buffer[opened.consumed_bytes :], more)

    def _received(self, opened: OpenedRequest, behind: bytes, more: Body) -> Received:
        """Judge what the first record holds; `behind` came behind it, `more` is still to come."""
        chunk, binding, caller = opened.chunk, opened.binding, opened.session.caller.name
        try:
            head = parse_request_head(chunk.meta)
        except ProxyError as error:
            return Received(caller, binding, error=error)
        try:
            inner, rest = self.parser.request(head.http)
            if not chunk.last:
                opener = opened.opener()
                chunks = [Chunk(b"", chunk.data, last=False), *opener.feed(behind)]
                content: Content = OpenedBody(
                    chunks, opener, more, inner.length, self._limit, MESSAGE_BROKEN, BODY_TOO_LARGE,
                    self._parse_trailers,
                )  # fmt: skip
            else:
                content = chunk.data
                if len(content) != inner.content_bytes:
                    self._check_length(inner, len(content))
        except ProxyError as error:
            return Received(caller, binding, head.exchange_id, head.service, head.budget_ms, error=error)
        kind = kind_of(head.service, inner) if chunk.last else b""
        return Received(
            caller, binding, head.exchange_id, head.service, head.budget_ms, inner, content, None, kind, rest
        )

    def _open(self, buffer: bytes, peer: str, *, complete: bool) -> OpenedRequest | None:
        return self._receiver.open_head(
            buffer,
            int(self._unix_clock() * 1000),
            complete=complete,
            admit_newcomer=self._admit_newcomer,
            peer=peer,
        )

    def _check_length(self, head: RequestHead, received_bytes: int) -> None:
        if head.length is not None and head.length != received_bytes:
            raise ProxyError(MESSAGE_BROKEN, "the body has another length than its head says")
        if self._limit is not None and received_bytes > self._limit:
            raise ProxyError(
                BODY_TOO_LARGE,
                f"{received_bytes} bytes, {self._limit} allowed",
                numbers={"limit_bytes": self._limit, "bytes": received_bytes},
            )

    def challenge(self, binding: ResponseBinding) -> Response:
        """The answer to a request for another epoch: the present one, sealed and bound to that request."""
        meta = build_response_head(Challenge(self._receiver.epoch))
        return Response(ENVELOPE_HEAD, binding.seal_single(self._random(RESPONSE_NONCE_BYTES), meta, b""))

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
        meta = self._meta(method, response, fields, refusal)
        random = self._random(RESPONSE_NONCE_BYTES)
        if (
            refusal and method == b"HEAD"
        ):  # a service's answer comes without content, a refusal is made with it
            content = b""
        if type(content) is bytes:
            if len(content) <= MAX_DATA_BYTES:
                return Response(ENVELOPE_HEAD, binding.seal_single(random, meta, content, packing))
            return Response(ENVELOPE_HEAD, seal_all(binding.sealer(random, packing), meta, content))
        sealer = binding.sealer(random, packing)
        first = sealer.record(meta, b"", last=False)
        return Response(ENVELOPE_HEAD, SealedBody(sealer, first, cast(Body, content)))

    def _meta(self, method: bytes, response: Response, fields: bytes, refusal: str) -> bytes:
        """Make the sealed head of an answer; one that is always the same is kept with the parsed head."""
        head, content = response.head, response.content
        length = head.length
        if length is None and not head.bodiless and (refusal or method != b"HEAD"):
            length = len(content) if type(content) is bytes else cast(Body, content).length
        http = b"".join((head.start, fields, b"\r\n" if length is None else end_of_head(length)))
        if refusal:
            return build_response_head(Refusal(refusal, http))
        meta = build_response_head(ServiceResponse(http))
        if head.length is not None and head.has_date:  # else the next answer has another length, or date
            head.plan = pack(meta, b"", PLAIN)
        return meta


def _refused(refusal: ProvenRefusalError) -> Received:
    """What is known of a request that is refused for its envelope: who asks, and which exchange it is, by
    which both proxies tell of it.
    """
    caller, binding = refusal.caller.name, refusal.binding
    try:
        head = parse_request_head(refusal.meta)
    except ProxyError:
        return Received(caller, binding, error=refusal)
    return Received(caller, binding, head.exchange_id, head.service, head.budget_ms, error=refusal)
