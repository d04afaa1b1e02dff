"""The short way over a link: what of a request's frame is the same for all whose heads decide the same.

All of it is known beforehand but for stream, exchange id, lengths, the rest of the head and the content. The
long way is `over_link`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastproxy.model import Content, Endpoint, Exchange, Response, ResponseHead
from fastproxy.net.link.caller import CallerLink
from fastproxy.net.link.pool import LinkPool
from fastproxy.proxy.transport import Begun, Outgoing
from fastproxy.wire.link.frames import END, HEADER, LENGTH_BITS, MAX_DATA_BYTES, REQUEST
from fastproxy.wire.link.records import MAX_PLAINTEXT_BYTES

if TYPE_CHECKING:
    from fastproxy.proxy.out_flow import OutFlight
    from fastproxy.proxy.over_link import OverLink


_META_LIMIT_BYTES = MAX_PLAINTEXT_BYTES // 3
"""A larger head goes the long way, in a frame of its own."""


class LinkLane:
    """The way of requests whose heads decide the same to one endpoint of a receiver.

    Args:
        transport: the long way.
        endpoint, pool: where to, and the link there.
        meta: the head of a request up to its length, with this exchange id, which all others are as long as.
    """

    __slots__ = (
        "_after_id",
        "_before_id",
        "_content_bytes",
        "_id_bytes",
        "_meta",
        "_pool",
        "_rest_bytes",
        "_transport",
        "_word",
        "endpoint",
    )

    def __init__(
        self, transport: OverLink, endpoint: Endpoint, pool: LinkPool, meta: bytes, exchange_id: str
    ) -> None:
        self._transport = transport
        self.endpoint = endpoint
        self._pool = pool
        self._id_bytes = len(exchange_id)
        self._meta = meta.split(exchange_id.encode(), 1)
        self._rest_bytes = self._content_bytes = -1
        self._before_id = self._after_id = b""
        self._word = 0

    def _fit(self, rest_bytes: int, content_bytes: int, framing: bytes) -> bool:
        """Take the lengths of a request; most have the same. False: it is too large for a frame."""
        before, after = self._meta
        meta_bytes = len(before) + self._id_bytes + len(after) + len(framing) + rest_bytes
        if meta_bytes > _META_LIMIT_BYTES or content_bytes > MAX_DATA_BYTES:
            return False
        self._rest_bytes, self._content_bytes = rest_bytes, content_bytes
        self._before_id, self._after_id = meta_bytes.to_bytes(4, "big") + before, after + framing
        self._word = (REQUEST | END) << LENGTH_BITS | (4 + meta_bytes + content_bytes)
        return True

    def send(self, flight: OutFlight, now_s: float) -> bool:
        """Send a request, if the link takes one; see `OutLane`."""
        link = self._pool.current
        exchange_id, rest, content = flight.exchange_id, flight.rest, flight.content
        rest_bytes, content_bytes = len(rest), len(content)
        if (
            link is None
            or not link.is_open
            or link.credit < content_bytes
            or len(link.streams) >= link.max_streams
            or len(exchange_id) != self._id_bytes
            or (
                (rest_bytes != self._rest_bytes or content_bytes != self._content_bytes)
                and not self._fit(rest_bytes, content_bytes, flight.head.framing)
            )
        ):
            return False
        header = HEADER.pack(self._word, link.next_stream)
        flight.upstream = link
        flight.stream_id = link.begin(
            flight,
            b"".join((header, self._before_id, exchange_id, self._after_id, rest, content)),
            content_bytes,
        )
        return True

    def open(
        self, flight: OutFlight, outer: ResponseHead, sealed: bytes
    ) -> tuple[ResponseHead, bytes] | None:
        """Ordinary answers don't come here: the link opens them, and answers by `OutFlight.answer`."""
        return None

    def abandon(self, flight: OutFlight) -> None:
        """Nobody waits for its answer any more."""
        link = flight.upstream
        if type(link) is CallerLink:
            link.abandon(flight.stream_id)

    async def resume(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, begun: Begun
    ) -> Response:
        """Go on in the long way; see `Lane`."""
        exchange.phase = "wait"
        return self._transport.note(exchange, await begun.answer)
