"""The way from the in proxy to a service: plain HTTP/1.1, every message serialised anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from fastproxy.errors import DEADLINE_EXCEEDED, ProxyError
from fastproxy.model import Body, Content, Endpoint, Exchange, Response, host_field
from fastproxy.net.client import ClientConnection
from fastproxy.net.http1 import length_line
from fastproxy.net.pool import Pool, Pools
from fastproxy.proxy.fields import BUDGET, EXCHANGE
from fastproxy.proxy.transport import Begun, Outgoing, connect_in_time

_EXCHANGE_NAME = b"%b: " % EXCHANGE
_BUDGET_NAME = b"\r\n%b: " % BUDGET
_NOT_READ = ", the service hadn't read the request whole"
_NOT_SENT = ", the caller hadn't sent the request whole"
_WITH_BODY = frozenset((b"POST", b"PUT", b"PATCH"))


class ToService:
    """Carries exchanges to one service.

    Args:
        pools: connections by endpoint.
        clock: monotonic time in seconds.
    """

    __slots__ = ("_clock", "_pools")

    tunnels = True

    def __init__(self, pools: Pools, clock: Callable[[], float]) -> None:
        self._pools = pools
        self._clock = clock

    def lane(
        self,
        caller: str,
        outgoing: Outgoing,
        endpoint: Endpoint,
        exchange_id: str,
        timeout_s: float,
    ) -> ServiceLane | None:
        """Compile the short way to `endpoint`; see `Transport.lane`."""
        pool = self._pools.pool(endpoint)
        if pool is None:
            return None
        return ServiceLane(endpoint, pool, outgoing)

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        """Carry a request to `endpoint` and wait for the head of the answer; see `Transport.attempt`."""
        connection = self._pools.take(endpoint)
        if connection is None:
            connection, now_s = await connect_in_time(self._pools, exchange, endpoint, self._clock)
        exchange.phase = "wait"
        length = len(content) if type(content) is bytes else content.length  # type: ignore[union-attr]
        head = (
            outgoing.line,
            outgoing.host or host_field(endpoint),
            outgoing.fields,
            _EXCHANGE_NAME,
            exchange.id.encode(),
            _BUDGET_NAME,
            str(int((exchange.deadline - now_s) * 1000) or 1).encode(),
            _framing(outgoing, length),
            outgoing.rest,
        )
        if type(content) is bytes:
            answer = connection.send(outgoing.method, b"".join((*head, content)), exchange.inform)
        else:
            answer = connection.send_stream(
                outgoing.method,
                b"".join(head),
                cast(Body, content),
                chunked=length is None,
                inform=exchange.inform,
                upgrade=outgoing.upgrade,
            )
        try:
            return await answer
        except BaseException as error:
            if isinstance(error, ProxyError) and error.cause is DEADLINE_EXCEEDED and connection.is_sending:
                error.detail += _NOT_READ if connection.is_unread else _NOT_SENT
            connection.abandon(answer)
            raise


def _framing(outgoing: Outgoing, length: int | None) -> bytes:
    """The lines of the head that frame the content, and the line end before them."""
    if outgoing.upgrade:
        return b"\r\n"
    if length is None:
        return b"\r\ntransfer-encoding: chunked\r\n"
    if length or outgoing.has_body or outgoing.method in _WITH_BODY:
        return b"\r\n" + length_line(length)
    return b"\r\n"


class ServiceLane:
    """The short way of requests whose heads decide the same to one endpoint of a service (see `in_flow`).

    Args:
        endpoint, pool: where to, and the connections there.
        outgoing: what is the same in all of them.
    """

    __slots__ = ("_budget_ms", "_end", "_framing", "_pool", "_start", "endpoint")

    def __init__(self, endpoint: Endpoint, pool: Pool, outgoing: Outgoing) -> None:
        self.endpoint = endpoint
        self._pool = pool
        self._start = b"".join(
            (outgoing.line, outgoing.host or host_field(endpoint), outgoing.fields, _EXCHANGE_NAME)
        )
        self._framing = b"\r\n" if outgoing.has_body else _framing(outgoing, 0)
        self._budget_ms = -1  # the one that `_end` says; most calls come with the same
        self._end = b""

    def send(self, exchange_id: bytes, left_s: float, rest: bytes, content: bytes) -> ClientConnection | None:
        """Send a request, if a connection is free; return the connection, for `carry`.

        Args:
            left_s: time left for the exchange.
            rest: the line of the length, if a body was declared, and the rest of the head. content: its body.
        """
        idle = self._pool.idle
        if not idle:
            return None
        budget_ms = int(left_s * 1000) or 1
        if budget_ms != self._budget_ms:
            self._budget_ms = budget_ms
            self._end = b"%b%d%b" % (_BUDGET_NAME, budget_ms, self._framing)
        message = b"".join((self._start, exchange_id, self._end, rest, content))
        upstream = idle.pop()  # after all that could go wrong: it would be lost to the pool
        if upstream.closed:
            return None
        upstream.write(message)
        return upstream

    async def resume(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, begun: Begun
    ) -> Response:
        """The answer goes on as it came; see `Lane`."""
        return await begun.answer
