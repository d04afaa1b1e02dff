"""The attempt loop that both proxies use: deadline, pick, send, record; once more?

Every exchange takes this way to its next hop, a receiver or a service. What carries it there is a
`Transport`; where to and how often is decided by policies; this loop only asks them in order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, cast

from fastproxy.errors import (
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    LINK_REFUSED,
    NO_ENDPOINT,
    STREAM_REFUSED,
    ProxyError,
)
from fastproxy.model import Body, Content, Endpoint, Exchange, Response
from fastproxy.policy.balance import Balancer
from fastproxy.policy.deadline import deadline_passed
from fastproxy.policy.retry import may_repeat
from fastproxy.proxy.kept_body import KeptBody
from fastproxy.proxy.lanes import LaneRoom, Lanes
from fastproxy.proxy.transport import Begun, Lane, Outgoing, Transport

_NO_CONNECTION = (CONNECT_REFUSED, CONNECT_TIMEOUT, LINK_REFUSED)
_MAY_RETURN = (CONNECT_REFUSED, LINK_REFUSED, STREAM_REFUSED)
Recover = Callable[[Exchange, tuple[Endpoint, ...]], Awaitable[bool]]
ATTEMPTS = 5
"""Most attempts of one exchange; protects endpoints that are all in trouble from a storm."""


class Endpoints(Protocol):
    """Where the endpoints of a next hop come from."""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All that are known now."""
        ...

    @property
    def missing(self) -> str:
        """Why none is known, where none is."""
        ...


class NextHop:
    """A service, or the receiver in front of one, as a place to forward to.

    source: its endpoints. balancer: spreads attempts over them. transport: the way there.

    Args:
        name: of the service, for logs and metrics.
        source, balancer, transport: as above.
        timeout_s: for the whole exchange.
        repeat_idempotent: whether an idempotent request goes out again after its connection was lost.
        clock: monotonic time in seconds.
        room: bounds the lanes of all hops of a proxy.
        recover: waits for one of the endpoints to return after none took a connection, or all refused to take
            the request; False when it gives up. None where nobody waits, and nobody refuses.
    """

    __slots__ = (
        "_clock",
        "_recover",
        "_repeat_idempotent",
        "_room",
        "balancer",
        "name",
        "source",
        "timeout_s",
        "transport",
    )

    def __init__(
        self,
        name: str,
        source: Endpoints,
        balancer: Balancer,
        transport: Transport,
        timeout_s: float,
        repeat_idempotent: bool,
        clock: Callable[[], float],
        room: LaneRoom,
        recover: Recover | None = None,
    ) -> None:
        self.name = name
        self.timeout_s = timeout_s
        self.source = source
        self.balancer = balancer
        self.transport = transport
        self._repeat_idempotent = repeat_idempotent
        self._clock = clock
        self._room = room
        self._recover = recover

    def lanes(
        self, caller: str, outgoing: Outgoing, exchange_id: str, endpoint: Endpoint
    ) -> Lanes[Lane] | None:
        """Compile the short way to the endpoints of now (`Transport.lane`).

        Args:
            caller, outgoing, exchange_id: as for `Transport.lane`.
            endpoint: the one that an exchange has just gone to.

        Returns:
            None when there is none to that one: then there will hardly be one to the others.
        """
        transport, timeout_s = self.transport, self.timeout_s

        def make(place: Endpoint) -> Lane | None:
            return transport.lane(caller, outgoing, place, exchange_id, timeout_s)

        if make(endpoint) is None:
            return None
        return Lanes(self.source.endpoints, self.balancer, make, self._room)

    def avoid(self, endpoint: Endpoint) -> None:
        """An endpoint is about to leave: go elsewhere, as far as there is another."""
        self.balancer.mark_leaving(endpoint, self._clock())

    async def forward(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, begun: Begun | None = None
    ) -> Response:
        """Carry a request there and return the answer, its body perhaps still on its way.

        Args:
            exchange: its deadline is set.
            outgoing, content: the request.
            begun: a first attempt that was made on the short way.

        Raises:
            ProxyError: no attempt succeeded; it is the error of the last one.
        """
        balancer = self.balancer
        if type(content) is not bytes and self._recover is not None and not outgoing.upgrade:
            content = KeptBody(cast(Body, content))  # who may refuse a stream may do so while it comes
        tried: tuple[Endpoint, ...] = ()  # those that couldn't be connected to
        resends = attempts = 0
        failure: ProxyError | None = None
        while True:
            now_s = self._clock()
            if now_s >= exchange.deadline and begun is None:  # what is past its deadline isn't sent
                raise deadline_passed("pick")
            if begun is not None:
                endpoint: Endpoint | None = begun.lane.endpoint
            else:
                if not self.source.endpoints:
                    raise ProxyError(NO_ENDPOINT, self.source.missing)
                endpoint = balancer.pick(self.source.endpoints, tried, now_s)
            if endpoint is None:
                assert failure is not None
                if (
                    self._recover is not None
                    and failure.cause in _MAY_RETURN
                    and await self._recover(exchange, self.source.endpoints)
                ):
                    tried = ()
                    continue
                try:
                    raise failure
                finally:
                    failure = None  # see below
            exchange.endpoint = endpoint
            exchange.attempts = attempts = attempts + 1
            try:
                if begun is not None:
                    first, begun = begun, None
                    response = await first.lane.resume(exchange, outgoing, content, first)
                else:
                    response = await self.transport.attempt(exchange, outgoing, content, endpoint, now_s)
            except ProxyError as error:
                now_s = self._clock()
                if isinstance(content, KeptBody):
                    content.rewind()
                if error.cause in _NO_CONNECTION:
                    balancer.mark_failing(endpoint, now_s)
                    tried = (*tried, endpoint)
                elif error.cause is STREAM_REFUSED:  # it lives, and says itself when it takes more
                    tried = (*tried, endpoint)
                elif error.sent and not self._repeat_idempotent:
                    raise
                if not may_repeat(
                    error,
                    outgoing.method,
                    attempts=attempts,
                    attempts_limit=ATTEMPTS,
                    resends=resends,
                    body_in_hand=isinstance(content, bytes) or not content.started,
                    left_s=exchange.deadline - now_s,
                ):
                    raise
                resends += error.sent
                # A traceback has this frame and so the content: kept here, both would wait for the collector.
                failure = error.with_traceback(None)
            else:
                if balancer.failing:
                    balancer.mark_working(endpoint)
                return response
