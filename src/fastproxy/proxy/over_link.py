"""The way from the out proxy to a receiver over a link: each attempt is a stream.

The link has proven the receiver before a byte of a request is sent, and seals what passes. `docs/wire.md` has
the bytes; `net.link` keeps the links.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from fastproxy.errors import CONNECTION_LOST, ProxyError
from fastproxy.model import Content, Endpoint, Exchange, Response, ResponseHead
from fastproxy.net.drive import Waiter
from fastproxy.net.link.call_stream import LinkAnswer
from fastproxy.net.link.pool import LinkPools
from fastproxy.policy.deadline import deadline_passed
from fastproxy.proxy.link_lane import LinkLane
from fastproxy.proxy.transport import Outgoing
from fastproxy.wire.envelope import build_request_head, service_field
from fastproxy.wire.records import PLAIN, Packing


class _Answer(Waiter[Response]):
    """Waits for the answer to one attempt. inform: gets the interim ones."""

    inform: Callable[[ResponseHead], None] | None = None


class OverLink:
    """Carries exchanges of one service to its receiver.

    Args:
        service: its name, for the receiver.
        pools: links to the receiver, by caller.
        packing: how content is compressed and padded.
        clock: monotonic time in seconds.
    """

    tunnels = True

    def __init__(
        self,
        service: str,
        pools: Mapping[str, LinkPools],
        packing: Packing,
        clock: Callable[[], float],
    ) -> None:
        self._service_field = service_field(service)
        self._pools = pools
        self._packing = packing
        self._clock = clock

    def lane(
        self,
        caller: str,
        outgoing: Outgoing,
        endpoint: Endpoint,
        exchange_id: str,
        timeout_s: float,
    ) -> LinkLane | None:
        """Compile the short way to `endpoint`; see `Transport.lane`."""
        meta = build_request_head(int(timeout_s * 1000), exchange_id, self._service_field, outgoing.head)
        if self._packing is not PLAIN:
            return None
        pool = self._pools[caller].pool(endpoint)
        return LinkLane(self, endpoint, pool, meta, exchange_id)

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        """Send a request to `endpoint` and wait for the head of the answer; see `Transport.attempt`."""
        pool = self._pools[exchange.caller].pool(endpoint)
        link = pool.take()
        if link is None:
            exchange.phase = "connect"
            link = await pool.acquire()
            now_s = self._clock()
            if now_s >= exchange.deadline:  # the wait for a link used the time up
                raise deadline_passed("connect")
        if link.choked:  # what waits here was not sent: it can go elsewhere when the link ends
            await link.until_read()
            now_s = self._clock()
            if not link.ready:
                raise ProxyError(CONNECTION_LOST, f"{endpoint}: the link has ended")
        exchange.phase = "wait"
        meta = build_request_head(
            int((exchange.deadline - now_s) * 1000) or 1,
            exchange.id,
            self._service_field,
            outgoing.head + outgoing.framing + outgoing.rest,
        )
        answer = _Answer(inform=exchange.inform)
        stream = link.open(
            answer,
            meta,
            content,
            self._packing,
            is_head=outgoing.method == b"HEAD",
            expects_continue=outgoing.expects_continue,
            upgrade=outgoing.upgrade,
        )
        try:
            return self.note(exchange, await answer)
        except BaseException:
            stream.cancel()
            raise

    async def greet(self, exchange: Exchange, endpoint: Endpoint) -> None:
        """Have an endpoint prove that it knows the caller of an exchange, without a request: make a link.

        An in proxy answers the handshake of no one else.

        Raises:
            ProxyError: no link was made.
        """
        await self._pools[exchange.caller].pool(endpoint).acquire()

    def note(self, exchange: Exchange, response: Response) -> Response:
        """Note with the exchange when it is the in proxy itself that answers."""
        if type(response) is LinkAnswer and response.refusal:
            exchange.cause = response.refusal
        return response

    async def recover(self, exchange: Exchange, endpoints: Iterable[Endpoint]) -> bool:
        """Wait for an endpoint to return, after none took a link; see `NextHop`."""
        exchange.phase = "connect"
        return await self._pools[exchange.caller].recover(endpoints)
