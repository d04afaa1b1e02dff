"""The way from the in proxy to a service: plain HTTP/1.1, every message serialised anew."""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint, Exchange, Request, Response, host_field
from fastproxy.net.pool import Pools
from fastproxy.policy.deadline import budget_ms, remaining_s
from fastproxy.proxy.fields import BUDGET, CALLER, DEAD_TIME, EXCHANGE, HopFields

_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))


class ToService:
    """Carries exchanges to one service.

    Args:
        pools: connections by endpoint.
        fields: writes Via and its like.
        host: the Host that the service gets: "endpoint", "caller", or the value itself.
        clock: monotonic time in seconds.
    """

    __slots__ = ("_clock", "_fields", "_host", "_pools")

    def __init__(self, pools: Pools, fields: HopFields, host: str, clock: Callable[[], float]) -> None:
        self._pools = pools
        self._fields = fields
        self._host = host
        self._clock = clock

    async def attempt(self, exchange: Exchange, request: Request, endpoint: Endpoint) -> Response:
        """Carry the request to `endpoint` and wait for the head of the answer; see `Transport.attempt`."""
        exchange.phase = "connect"
        connection = await self._pools.acquire(endpoint)
        exchange.phase = "wait"
        body = request.body
        chunked = body.whole is None and body.length is None
        try:
            head = self._head(exchange, request, endpoint, chunked)
        except ProxyError:  # the wait for a connection used the time up
            connection.release()
            raise
        return await connection.call(request.method, head, body, chunked=chunked)

    def _head(self, exchange: Exchange, request: Request, endpoint: Endpoint, chunked: bool) -> bytes:
        if self._host == "endpoint":
            host = host_field(endpoint)
        elif self._host == "caller":
            host = request.host or host_field(endpoint)
        else:
            host = self._host.encode()
        left_s = remaining_s(exchange.deadline, self._clock(), "connect")
        parts = [
            b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (request.method, request.target, host),
            request.fields,
            self._fields.of(request.peer, request.control),
            b"%b: %b\r\n%b: %b\r\n%b: %d\r\n"
            % (CALLER, exchange.caller.encode(), EXCHANGE, exchange.id.encode(), BUDGET, budget_ms(left_s)),
        ]
        control = request.control
        if control is not None and DEAD_TIME in control:
            parts.append(b"%b: %b\r\n" % (DEAD_TIME, control[DEAD_TIME]))
        body = request.body
        if chunked:
            parts.append(b"transfer-encoding: chunked\r\n\r\n")
        elif body.length or request.has_body or request.method in _WITH_BODY:
            parts.append(b"content-length: %d\r\n\r\n" % (body.length or 0))
        else:
            parts.append(b"\r\n")
        return b"".join(parts)
