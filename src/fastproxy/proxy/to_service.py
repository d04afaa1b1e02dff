"""The way from the in proxy to a service: plain HTTP/1.1, every message serialised anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from fastproxy.model import Body, Content, Endpoint, Exchange, Response, host_field
from fastproxy.net.http1 import end_of_head
from fastproxy.net.pool import Pools
from fastproxy.policy.deadline import deadline_passed
from fastproxy.proxy.fields import BUDGET, EXCHANGE
from fastproxy.proxy.transport import Outgoing

_EXCHANGE_NAME = b"%b: " % EXCHANGE
_BUDGET_NAME = b"\r\n%b: " % BUDGET
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
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        """Carry a request to `endpoint` and wait for the head of the answer; see `Transport.attempt`."""
        connection = self._pools.take(endpoint)
        if connection is None:
            exchange.phase = "connect"
            connection = await self._pools.acquire(endpoint)
            now_s = self._clock()
            if now_s >= exchange.deadline:  # the wait for a connection used the time up
                connection.release()
                raise deadline_passed("connect")
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
            outgoing.framing or _framing(outgoing, length),
        )
        if type(content) is bytes:
            answer = connection.send(outgoing.method, b"".join((*head, content)))
        else:
            answer = connection.send_stream(
                outgoing.method, b"".join(head), cast(Body, content), chunked=length is None
            )
        try:
            return await answer
        except BaseException:
            connection.abandon(answer)
            raise


def _framing(outgoing: Outgoing, length: int | None) -> bytes:
    """The last lines of the head."""
    if length is None:
        return b"\r\ntransfer-encoding: chunked\r\n\r\n"
    if length or outgoing.has_body or outgoing.method in _WITH_BODY:
        return b"\r\n" + end_of_head(length)
    return b"\r\n\r\n"
