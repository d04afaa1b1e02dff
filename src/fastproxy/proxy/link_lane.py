"""The short way over a link: what of a request's frame is the same for all whose heads decide the same.

All of it is known beforehand but for stream, exchange id, lengths, the rest of the head and the content. The
long way is `over_link`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastproxy.model import NO_FIELDS, Content, Endpoint, Exchange, Response, ResponseHead
from fastproxy.net.link.caller import CallerLink
from fastproxy.net.link.pool import LinkPool
from fastproxy.proxy.transport import Begun, Outgoing
from fastproxy.wire.link.frames import END, HEADER, LENGTH_BITS, REQUEST
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
        "_meta_bytes",
        "_pool",
        "_start",
        "_tail_bytes",
        "_transport",
        "_word",
        "endpoint",
    )

    def __init__(
        self,
        transport: OverLink,
        endpoint: Endpoint,
        pool: LinkPool,
        meta: bytes,
        exchange_id: str,
    ) -> None:
        self._transport = transport
        self.endpoint = endpoint
        self._pool = pool
        self._meta_bytes = len(meta)
        self._start, _, self._after_id = meta.partition(exchange_id.encode())
        self._id_bytes = len(exchange_id)
        self._fit(len(NO_FIELDS), 0)

    def _fit(self, tail_bytes: int, content_bytes: int) -> None:
        """Take the lengths of a request, of which most are as long as the one before.

        Args:
            tail_bytes: of its head, behind `meta`.
        """
        self._tail_bytes, self._content_bytes = tail_bytes, content_bytes
        meta_bytes = self._meta_bytes + tail_bytes
        self._before_id = meta_bytes.to_bytes(4, "big") + self._start
        self._word = (REQUEST | END) << LENGTH_BITS | (4 + meta_bytes + content_bytes)

    def send(self, flight: OutFlight, now_s: float) -> bool:
        """Send a request, if the link takes one; see `OutLane`."""
        link = self._pool.current
        exchange_id, framing, rest, content = (
            flight.exchange_id,
            flight.head.framing,
            flight.rest,
            flight.content,
        )
        content_bytes = len(content)
        if (
            link is None
            or not link.is_open
            or link.credit < content_bytes
            or len(link.streams) >= link.max_streams
            or len(exchange_id) != self._id_bytes
        ):
            return False
        tail_bytes = len(framing) + len(rest)
        if tail_bytes != self._tail_bytes or content_bytes != self._content_bytes:
            if self._meta_bytes + tail_bytes > _META_LIMIT_BYTES:
                return False
            self._fit(tail_bytes, content_bytes)
        header = HEADER.pack(self._word, link.next_stream)
        flight.upstream = link
        flight.stream_id = link.begin(
            flight,
            b"".join((header, self._before_id, exchange_id, self._after_id, framing, rest, content)),
            content_bytes,
        )
        return True

    def open(self, flight: OutFlight, outer: Response) -> tuple[ResponseHead, bytes] | None:
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
