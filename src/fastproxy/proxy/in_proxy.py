"""The in proxy: beside the service. Sealed requests come in, plain HTTP goes to the service.

`InProxy.handle` opens, which proves who calls, and seals the answer; `InProxy._serve` is the order of things
between: privilege, rate, deadline, then the way to the service. Nothing is decided on what a message says of
its sender.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from msgspec import Struct

from fastproxy.errors import EPOCH_MISMATCH, OVERLOADED, SERVICE_UNKNOWN, ProxyError
from fastproxy.model import Exchange, Request, RequestHead, Response
from fastproxy.net.connection import Connection
from fastproxy.policy.deadline import set_deadline
from fastproxy.policy.path import canonical_path
from fastproxy.policy.privilege import NO_ROUTE, Privileges, Route
from fastproxy.policy.ratelimit import RateLimiter
from fastproxy.proxy.fields import BUDGET, CALLER, DEAD_TIME, PLANS_PER_HEAD, HopFields, dead_time_line
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.http_receiver import HttpReceiver, Received
from fastproxy.proxy.recorder import CALLER_GONE, Recorder
from fastproxy.proxy.refusals import Refusals
from fastproxy.proxy.transport import Outgoing
from fastproxy.wire.records import PLAIN, Packing

_CHALLENGED = "challenged"


class LocalService(NamedTuple):
    """A service behind this proxy: the way to it, and how its answers are packed.

    host: the Host that it gets: "endpoint", "caller", or the value itself.
    """

    hop: NextHop
    packing: Packing
    host: str

    @property
    def host_field(self) -> bytes:
        """The fixed Host, or b"" for the endpoint's."""
        return b"" if self.host in ("endpoint", "caller") else self.host.encode()


class Plan(Struct, frozen=True):
    """What is decided on requests of one caller to one service with the same head, from the same peer.

    target: canonical, as it was judged. rate_key: whose rate it counts towards.
    dead_time, timeout_ms: what the caller says of its deadline, if anything.
    """

    route: Route
    target: bytes
    rate_key: tuple[str, str]
    outgoing: Outgoing
    dead_time: bytes | None
    timeout_ms: bytes | None


class InProxy:
    """Handles sealed requests of out proxies.

    Args:
        name: of this receiver.
        receiver: opens requests and seals answers.
        services: by name.
        privileges: who may call what. limiter: how often.
        enforce: False lets pass, counted and logged, what privilege and rate would refuse.
        fields: writes Via.
        recorder: notes every exchange.
        in_flight_limit: bound on exchanges at a time.
        open_timeout_s: for the first record to arrive, which proves who calls.
        new_id: makes ids for what can't be opened.
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
    """

    def __init__(
        self,
        name: str,
        receiver: HttpReceiver,
        services: Mapping[str, LocalService],
        privileges: Privileges,
        limiter: RateLimiter,
        enforce: bool,
        fields: HopFields,
        recorder: Recorder,
        in_flight_limit: int,
        open_timeout_s: float,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
    ) -> None:
        self._refusals = Refusals(name, "in", recorder, new_id)
        self._receiver = receiver
        self._services = services
        self._privileges = privileges
        self._limiter = limiter
        self._enforce = enforce
        self._hop_fields = fields
        self._via = fields.via
        self._recorder = recorder
        self._in_flight_limit = in_flight_limit
        self._open_timeout_s = open_timeout_s
        self._new_id = new_id
        self._clock = clock
        self._unix_clock = unix_clock
        self.in_flight = 0

    async def handle(self, outer: Request, connection: Connection) -> None:
        """Answer one envelope."""
        exchange = self._recorder.begin("", outer.peer)
        self.in_flight += 1
        try:
            exchange.phase = "open"  # who is calling, proven?
            if not isinstance(outer.content, bytes):  # strangers could drip a first record for ever
                exchange.deadline = exchange.started + self._open_timeout_s
                connection.set_deadline(exchange)
            try:
                received = await self._receiver.receive(outer)
            except ProxyError as error:  # nobody is proven: in the clear, and telling nothing
                exchange.id = self._new_id()
                response = self._refusals.answer(exchange, error)
            else:
                exchange.id, exchange.caller = received.exchange_id or self._new_id(), received.caller
                response = await self._answer(exchange, received, connection)
            await connection.respond(response)
        except ProxyError as error:
            exchange.cause = exchange.cause or error.cause.label
            raise
        except asyncio.CancelledError:
            exchange.cause = exchange.cause or CALLER_GONE
            raise
        finally:
            self.in_flight -= 1
            if exchange.cause != _CHALLENGED:
                self._recorder.end(exchange, connection.bytes_in, connection.bytes_out)

    async def _answer(self, exchange: Exchange, received: Received, connection: Connection) -> Response:
        """Serve a request whose sender is proven; whatever comes of it, the answer is sealed."""
        packing = PLAIN
        refusal = ""
        try:
            if received.error is not None:
                raise received.error
            service = self._services.get(received.service)
            if service is not None:
                packing = service.packing
            response = await self._serve(exchange, received, service, connection)
        except ProxyError as error:
            if error.cause is EPOCH_MISMATCH:
                exchange.cause = _CHALLENGED
                self._recorder.challenged()
                return self._receiver.challenge(received.binding)
            response = self._refusals.answer(exchange, error)
            refusal = exchange.cause
        except Exception:  # fail closed, and never without an answer
            response = self._refusals.answer_mistake(exchange)
            refusal = exchange.cause
        else:
            exchange.phase = "answer"  # a refusal keeps the phase in which it was made
        exchange.status = response.status
        fields = self._via if response.has_date else self._via + connection.date_line
        return self._receiver.seal(received.binding, exchange.method, response, fields, packing, refusal)

    async def _serve(
        self,
        exchange: Exchange,
        received: Received,
        service: LocalService | None,
        connection: Connection,
    ) -> Response:
        """The order of things at this hop; each step may refuse."""
        head = cast(RequestHead, received.head)
        exchange.method, exchange.path = head.method, head.target
        if self.in_flight > self._in_flight_limit:  # before any work is done for it
            raise ProxyError(OVERLOADED, f"{self._in_flight_limit} allowed", retry_after_s=1)
        exchange.phase = "route"  # which service?
        if service is None:
            raise ProxyError(SERVICE_UNKNOWN, "the request names no service of the in proxy's config")
        exchange.service = service.hop.name
        exchange.phase = "privilege"  # may this caller call this route?
        key = (received.caller, received.service, exchange.peer)
        plan = head.plans.get(key) or self._plan(exchange, head, service, key)
        exchange.route, exchange.path = plan.route.pattern, plan.target
        exchange.phase = "rate"  # within its rate? After privilege: only routes that exist have one.
        if plan.route.rate is not None:
            try:
                self._limiter.check(plan.rate_key, plan.route.rate, exchange.started)
            except ProxyError as error:
                self._enforced(exchange, error)
        exchange.phase = "deadline"  # before its deadline?
        exchange.deadline = set_deadline(
            exchange.started,
            self._unix_clock(),
            service.hop.timeout_s,
            dead_time=plan.dead_time,
            timeout_ms=plan.timeout_ms,
            sealed_budget_ms=received.budget_ms,
        )
        connection.set_deadline(exchange)
        # pick an endpoint of the service, forward, wait
        return await service.hop.forward(exchange, plan.outgoing, received.content)

    def _plan(
        self, exchange: Exchange, head: RequestHead, service: LocalService, key: tuple[str, str, str]
    ) -> Plan:
        """Decide what head, proven caller and service decide; it is kept with the head."""
        try:
            route, target = self._privileges.admit(key[0], key[1], head.method, head.target)
        except ProxyError as error:
            if error.cause.phase != "privilege":  # a path of two readings is refused in any case
                raise
            self._enforced(exchange, error)
            path, query = canonical_path(head.target)
            route, target = NO_ROUTE, path + query
        dead_time = head.control.get(DEAD_TIME)
        plan = Plan(
            route,
            target,
            (key[0], route.rate_key),
            Outgoing(
                head.method,
                b"%b %b HTTP/1.1\r\nhost: " % (head.method, target),
                head.host if service.host == "caller" else service.host_field,
                b"\r\n%b%b%b%b: %b\r\n"
                % (
                    head.fields,
                    self._hop_fields.of(key[2], head.control),
                    dead_time_line(dead_time),
                    CALLER,
                    key[0].encode(),
                ),
                head.has_body,
            ),
            dead_time,
            head.control.get(BUDGET),
        )
        if (
            len(head.plans) < PLANS_PER_HEAD and route is not NO_ROUTE
        ):  # what is only reported counts each time
            head.plans[key] = plan
        return plan

    def _enforced(self, exchange: Exchange, error: ProxyError) -> None:
        """Raise the refusal, or only note it where the config says so."""
        if self._enforce:
            raise error
        self._recorder.would_refuse(exchange, error)

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """Answer something that never became a request."""
        return self._refusals.answer_unread(error, peer)[1]
