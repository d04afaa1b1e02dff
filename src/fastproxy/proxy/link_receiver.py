"""The in proxy's side of requests over a link: what a stream's head says, and how its answer looks.

The link has proven who calls before the first stream, so a head names no caller.
"""

from __future__ import annotations

from typing import cast

from fastproxy.errors import BODY_TOO_LARGE, HEADERS_TOO_LARGE, MESSAGE_BROKEN, ProxyError
from fastproxy.model import Body, Content, RequestHead, Response, ResponseHead
from fastproxy.net.framing import trailer_parser
from fastproxy.net.http1 import HeadParser, end_of_head
from fastproxy.net.link.received_stream import LinkReply, ReceivedStream
from fastproxy.net.link.receiver import Sealed
from fastproxy.proxy.fields import is_reserved
from fastproxy.proxy.way_in import Received, kind_of
from fastproxy.wire.envelope import Refusal, ServiceResponse, build_response_head, parse_request_head
from fastproxy.wire.records import PLAIN, WORD_BYTES, Packing, pack

PACKED_START_BYTES = WORD_BYTES
"""A record's prefix says more than a frame needs: its head begins so far behind."""


class LinkReceiver:
    """Reads requests and makes answers.

    Args:
        parser: judges the heads inside; for the short way as well.
        body_limit_bytes: bound on bodies; None for no limit.
        tunnel_idle_timeout_s: for a connection that has left HTTP, without a byte either way.
    """

    __slots__ = ("_limit", "_parse_trailers", "_tunnel_idle_timeout_s", "parser")

    def __init__(
        self, parser: HeadParser, body_limit_bytes: int | None, tunnel_idle_timeout_s: float
    ) -> None:
        self.parser = parser
        self._limit = body_limit_bytes
        self._tunnel_idle_timeout_s = tunnel_idle_timeout_s
        self._parse_trailers = trailer_parser(parser.limits, MESSAGE_BROKEN, HEADERS_TOO_LARGE)

    def receive(self, caller: str, sealed: Sealed, stream: ReceivedStream | None) -> Received:
        """Judge a request.

        Args:
            caller: who is proven to be at the other end.
            sealed: as it came. stream: where more of it comes; not needed for what is whole.
        """
        try:
            head = parse_request_head(sealed.meta)
        except ProxyError as error:
            return Received(caller, None, error=error)
        content: Content = sealed.data
        try:
            inner, rest = self.parser.request(head.http)
            if sealed.is_whole:
                self._check_length(inner, len(sealed.data))
            elif stream is not None:
                limit_bytes = None if inner.upgrade else self._limit  # a tunnel is no body
                content = stream.incoming(inner.length, limit_bytes, is_reserved, self._parse_trailers)
        except ProxyError as error:
            return Received(caller, None, head.exchange_id, head.service, head.budget_ms, error=error)
        kind = kind_of(head.service, inner) if sealed.is_whole else b""
        return Received(
            caller, None, head.exchange_id, head.service, head.budget_ms, inner, content, None, kind, rest
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

    def seal(
        self, binding: None, method: bytes, response: Response, fields: bytes, packing: Packing, refusal: str
    ) -> Response:
        """Make what goes back; see `way_in.AnswerSealer`."""
        head, content = response.head, response.content
        length = head.length
        if length is None and not head.bodiless and (refusal or method != b"HEAD"):
            length = len(content) if type(content) is bytes else cast(Body, content).length
        http = b"".join((head.start, fields, b"\r\n" if length is None else end_of_head(length)))
        meta = build_response_head(Refusal(refusal, http) if refusal else ServiceResponse(http))
        packed = pack(meta, b"", PLAIN)
        if not refusal and head.length is not None and head.has_date:
            head.plan = packed  # else the next answer has another length, or date
        if (
            refusal and method == b"HEAD"
        ):  # a service's answer comes without content, a refusal is made with it
            content = b""
        reply_head = ResponseHead(head.status, packed[PACKED_START_BYTES:])
        reply_head.upgrade = head.upgrade
        return LinkReply(reply_head, content, packing, self._tunnel_idle_timeout_s)
