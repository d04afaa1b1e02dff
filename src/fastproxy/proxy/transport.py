"""What a way to the next hop can do: one attempt to carry an exchange there.

The attempt loop (`forward.py`) knows of nothing else. `over_http` and `over_compat` carry to an in proxy,
sealed; `to_service` carries to a service, plain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, structs

from fastproxy.model import NO_FIELDS, Content, Endpoint, Exchange, Response, ResponseHead
from fastproxy.net.client import ClientConnection
from fastproxy.net.drive import Waiter
from fastproxy.net.pool import Pools
from fastproxy.policy.deadline import deadline_passed

if TYPE_CHECKING:
    from fastproxy.proxy.out_flow import OutFlight


class Outgoing(Struct, frozen=True):
    """A request's head on its way to the next hop, serialised.

    All but `framing` and `rest` is the same for all requests whose heads decide the same.

    line: b"METHOD target HTTP/1.1\\r\\nhost: ". host: the Host to send, or b"" for the endpoint's own.
    fields: all others, each with its line end, but for framing and what changes with every request.
    has_body: whether a body was declared.
    head: all of these in one piece, where the host is known beforehand.
    target: the one in `line`, where a transport writes a line of its own.
    upgrade: the protocols that it asks to go over to (`RequestHead.upgrade`); the lines are among `fields`.
    expects_continue: its sender waits for a 100 (Continue) before it sends the content, unless that is here
        already. Reading the content is what sends it: a transport that can ask the far side first doesn't
        read before.
    framing: the line of its length, if the caller has declared one; a transport may have to frame it anew.
    rest: what ends the head: the fields that decide nothing, and the empty line (`Request.rest`).
    """

    method: bytes
    line: bytes
    host: bytes
    fields: bytes
    has_body: bool
    head: bytes = b""
    target: bytes = b""
    upgrade: bytes = b""
    expects_continue: bool = False
    framing: bytes = b""
    rest: bytes = NO_FIELDS

    def ending(self, framing: bytes, rest: bytes) -> Outgoing:
        """The head of a request that ends so."""
        if rest == NO_FIELDS and not framing:
            return self
        return structs.replace(self, framing=framing, rest=rest)


class Lane(Protocol):
    """The short way of requests whose heads decide the same to one endpoint (see `out_flow`)."""

    endpoint: Endpoint

    async def resume(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, begun: Begun
    ) -> Response:
        """Carry an attempt that was begun here to its end, as `Transport.attempt` does."""
        ...


class Begun(Struct, frozen=True):
    """An exchange that began on the short way and goes on in the long one.

    started_s: monotonic time in seconds. lane: where its first attempt went.
    answer: what came of that: the answer, perhaps only its head, or an error.
    exchange_id: when this proxy made it. bound_to: what a sealed answer must be bound to.
    """

    started_s: float
    lane: Lane
    answer: Waiter[Response]
    exchange_id: str = ""
    bound_to: bytes = b""


class Transport(Protocol):
    """A way to the next hop.

    tunnels: whether it carries what comes after a 101, both ways at once.
    """

    tunnels: bool

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        """Carry a request to `endpoint` and wait for the head of the answer.

        Args:
            exchange: its deadline lies after `now_s`, monotonic time in seconds.
            outgoing, content: the request.
            endpoint: one address of the next hop.

        Raises:
            ProxyError: with `sent` telling whether the next hop may have acted on a part of it.
        """
        ...

    def lane(
        self,
        caller: str,
        outgoing: Outgoing,
        endpoint: Endpoint,
        exchange_id: str,
        timeout_s: float,
    ) -> Lane | None:
        """Compile the short way for requests with this head, and any length and rest, to `endpoint`.

        Args:
            caller: who sends them. outgoing: what is the same in all of them.
            exchange_id: one as they will have. timeout_s: time that each of them has.

        Returns:
            None when there is none, or what it needs isn't known yet.
        """
        ...


class OutLane(Lane, Protocol):
    """A lane of the out proxy."""

    def send(self, flight: OutFlight, now_s: float) -> bool:
        """Send a request if a connection is free, and note in `flight` what its answer needs."""
        ...

    def abandon(self, flight: OutFlight) -> None:
        """Nobody waits for the answer any more."""
        ...

    def open(
        self, flight: OutFlight, outer: ResponseHead, sealed: bytes
    ) -> tuple[ResponseHead, bytes] | None:
        """Open an ordinary answer, which is here entirely; None for any other, which `resume` gets.

        Args:
            outer, sealed: head and content of the answer around it.

        Raises:
            ProxyError: it is broken.
        """
        ...


async def connect_in_time(
    pools: Pools, exchange: Exchange, endpoint: Endpoint, clock: Callable[[], float]
) -> tuple[ClientConnection, float]:
    """Wait for a connection to `endpoint`, where none is kept (`Pools.take`).

    Args:
        pools: connections by endpoint. clock: monotonic time in seconds.

    Returns:
        The connection, and the time by now.

    Raises:
        ProxyError: there is none to be had, or the wait used the time up; nothing was sent.
    """
    exchange.phase = "connect"
    connection = await pools.acquire(endpoint)
    now_s = clock()
    if now_s >= exchange.deadline:
        connection.release()
        raise deadline_passed("connect")
    return connection, now_s
