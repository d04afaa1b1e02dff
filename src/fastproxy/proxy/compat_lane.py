"""The short way over compat: what of a message is the same for all requests whose heads decide the same.

All bytes in front of the sealed body are known beforehand but for its length, and the rest of the head. The
long way is `over_compat`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastproxy.model import Content, Endpoint, Exchange, Response, ResponseHead
from fastproxy.net.client import ClientConnection
from fastproxy.net.http1 import length_line
from fastproxy.net.pool import Pool
from fastproxy.proxy.transport import Begun, Outgoing
from fastproxy.wire.compat.sealing import CompatSender

if TYPE_CHECKING:
    from fastproxy.proxy.out_flow import OutFlight
    from fastproxy.proxy.over_compat import OverCompat


class CompatLane:
    """The way of requests whose heads decide the same to one endpoint of an in proxy.

    Args:
        transport: the long way.
        endpoint, pool: where to, and the connections there.
        sender: seals bodies, and opens those of answers up to `limit_bytes`.
        start: head of the request, but for its framing and its rest.
    """

    __slots__ = ("_limit_bytes", "_pool", "_sender", "_start", "_transport", "endpoint")

    def __init__(
        self,
        transport: OverCompat,
        endpoint: Endpoint,
        pool: Pool,
        sender: CompatSender,
        start: bytes,
        limit_bytes: int,
    ) -> None:
        self._transport = transport
        self.endpoint = endpoint
        self._pool = pool
        self._sender = sender
        self._start = start
        self._limit_bytes = limit_bytes

    def send(self, flight: OutFlight, now_s: float) -> bool:
        """Seal a request and send it, if a connection is free; see `OutLane`."""
        idle = self._pool.idle
        if not idle:
            return False
        message = self._sender.seal(flight.content)
        upstream = idle.pop()  # after all that could go wrong: it would be lost to the pool
        if upstream.closed:
            return False
        flight.upstream = upstream
        upstream.carry(flight)
        upstream.write(b"".join((self._start, length_line(len(message)), flight.rest, message)))
        return True

    def open(
        self, flight: OutFlight, outer: ResponseHead, sealed: bytes
    ) -> tuple[ResponseHead, bytes] | None:
        """Open an ordinary answer; see `OutLane`. One that is not a 200 may be a refusal."""
        if outer.status != 200 or not outer.has_date:
            return None
        return outer, self._sender.open_response(sealed, self._limit_bytes)

    def abandon(self, flight: OutFlight) -> None:
        """Nobody waits for its answer any more; see `OutLane`."""
        upstream = flight.upstream
        if type(upstream) is ClientConnection:
            upstream.abandon(flight)

    async def resume(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, begun: Begun
    ) -> Response:
        """Go on in the long way; see `Lane`."""
        exchange.phase = "wait"
        return await self._transport.finish(exchange, outgoing, self.endpoint, await begun.answer)
