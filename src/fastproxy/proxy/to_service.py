"""The way from the in proxy to a service: plain HTTP/1.1, every message serialised anew."""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.model import Content, Endpoint, Exchange, Response, host_field
from fastproxy.net.http1 import length_line
from fastproxy.net.pool import Pools
from fastproxy.policy.deadline import budget_ms, remaining_s
from fastproxy.proxy.fields import BUDGET, EXCHANGE
from fastproxy.proxy.transport import Outgoing

_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))


class ToService:
    """Carries exchanges to one service.

    Args:
        pools: connections by endpoint.
        clock: monotonic time in seconds.
    """

    __slots__ = ("_clock", "_pools")

    def __init__(self, pools: Pools, clock: Callable[[], float]) -> None:
        self._pools = pools
        self._clock = clock

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint
    ) -> Response:
        """Carry a request to `endpoint` and wait for the head of the answer; see `Transport.attempt`."""
        exchange.phase = "connect"
        connection = self._pools.take(endpoint) or await self._pools.acquire(endpoint)
        try:
            left_s = remaining_s(exchange.deadline, self._clock(), "connect")
        except BaseException:  # the wait for a connection used the time up
            connection.release()
            raise
        exchange.phase = "wait"
        length = len(content) if isinstance(content, bytes) else content.length
        if length is None:
            framing = b"transfer-encoding: chunked\r\n\r\n"
        elif length or outgoing.has_body or outgoing.method in _WITH_BODY:
            framing = length_line(length) + b"\r\n"
        else:
            framing = b"\r\n"
        head = b"".join(
            (
                outgoing.line,
                outgoing.host or host_field(endpoint),
                outgoing.fields,
                b"%b: %b\r\n%b: %d\r\n" % (EXCHANGE, exchange.id.encode(), BUDGET, budget_ms(left_s)),
                framing,
            )
        )
        return await connection.call(outgoing.method, head, content, chunked=length is None)
