"""The in proxy: beside the service. Sealed requests come in, plain HTTP goes to the service.

`InProxy.handle` opens, which proves who calls, forwards, and seals the answer; `InProxy._admit` is the order
of things before anything is forwarded: privilege, rate, deadline. Nothing is decided on what a message
says of its sender, unless a config of `compat` takes callers at their word. How a request is opened and its
answer made is up to the way that it came (`way_in.py`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

from msgspec import Struct

from fastproxy.bounds import Room
from fastproxy.errors import (
    EPOCH_MISMATCH,
    NOT_AN_ENVELOPE,
    SERVICE_UNKNOWN,
    UPGRADE_UNSUPPORTED,
    ProxyError,
)
from fastproxy.model import Exchange, Request, RequestHead, Response, ResponseHead
from fastproxy.net.connection import Connection, complete
from fastproxy.net.http1 import may_remember
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.upgrade import upgrade_lines
from fastproxy.policy.deadline import set_deadline
from fastproxy.policy.path import canonical_path
from fastproxy.policy.privilege import NO_ROUTE, Privileges, Route
from fastproxy.policy.rate_uses import RateUses
from fastproxy.policy.ratelimit import Limiter
from fastproxy.proxy.exchange_room import ExchangeRoom
from fastproxy.proxy.fields import BUDGET, CALLER, DEAD_TIME, PLANS_PER_HEAD, HopFields, dead_time_line
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.known_call import KnownCall, Taken
from fastproxy.proxy.lanes import Lanes
from fastproxy.proxy.link_flow import LinkFlow
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.refusals import Refusals
from fastproxy.proxy.to_service import ServiceLane
from fastproxy.proxy.transport import Outgoing
from fastproxy.proxy.way_in import Received, ShortWayIn, WayBack, WayIn
from fastproxy.wire.records import PLAIN, Packing

if TYPE_CHECKING:
    from fastproxy.telemetry.tracing import TracedExchange

_CHALLENGED = "challenged"


class Edge(Protocol):
    """What a request came over: a connection, or a stream of a link.

    bytes_in, bytes_out: content of the request and of the answer. date_line: a Date field for now.
    waited_s: for how long what answers it has waited; in seconds.
    """

    bytes_in: int
    bytes_out: int

    @property
    def date_line(self) -> bytes: ...
    @property
    def waited_s(self) -> float: ...

    def set_deadline(self, exchange: Exchange) -> None: ...
    def inform(self, head: ResponseHead) -> None: ...
    def respond(self, response: Response, fields: bytes = b"") -> Awaitable[None] | None: ...


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
    """What is decided on requests of one caller to one service, from one peer, whose heads decide the same.

    target: canonical, as it was judged. rate_key: whose rate it counts towards.
    dead_time, timeout_ms: what the caller says of its deadline; is_dated: whether it says anything.
    """

    service: LocalService
    route: Route
    target: bytes
    rate_key: tuple[str, str]
    outgoing: Outgoing
    dead_time: bytes | None
    timeout_ms: bytes | None
    is_dated: bool


class InProxy(ExchangeRoom):
    """Handles sealed requests of out proxies.

    flow, link_flow: the short ways of ordinary calls in envelopes and over links, where there are any.
    link_way: how what came over links is answered, where they are taken.
    rate_uses: how close callers are to their rates.

    Args:
        ways: by what the targets of their requests begin with; the last one takes what fits none.
        refusals: answers what never became a request.
        services: by name.
        privileges: who may call what. limiter: how often.
        enforce: False lets pass, counted and logged, what privilege and rate would refuse.
        fields: writes Via.
        recorder: notes every exchange.
        room: bound on exchanges at a time.
        new_id: makes ids for what can't be opened.
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
    """

    def __init__(
        self,
        ways: Sequence[tuple[bytes, WayIn]],
        refusals: Refusals,
        services: Mapping[str, LocalService],
        privileges: Privileges,
        limiter: Limiter,
        enforce: bool,
        fields: HopFields,
        recorder: Recorder,
        room: Room,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
    ) -> None:
        super().__init__(room, recorder)
        self._ways = tuple(ways)
        self._refusals = refusals
        self._services = services
        self._privileges = privileges
        self._limiter = limiter
        self._enforce = enforce
        self._hop_fields = fields
        self._via = fields.via
        self._new_id = new_id
        self._clock = clock
        self._unix_clock = unix_clock
        self.flow: ShortWayIn | None = None
        self.link_flow: LinkFlow | None = None
        self.rate_uses = RateUses(limiter)
        self.link_way: WayBack | None = None

    def take_privileges(self, privileges: Privileges) -> None:
        """Decide by these from now on: callers came or went. What is known of a caller's routes stays."""
        self._privileges = privileges

    async def handle(self, outer: Request, connection: Connection, taken: Taken | None = None) -> None:
        """Answer one request that came sealed over HTTP; `taken` when the short way has opened it."""
        way = self._way_of(outer.head.target)
        exchange = self._begin_exchange(taken, outer.peer)
        try:
            exchange.phase = "open"  # who is calling, proven?
            try:
                if way is None:
                    raise ProxyError(NOT_AN_ENVELOPE, "nothing but links is taken here: see `listen.accept`")
                if taken is not None:
                    received: Received = taken.received
                else:
                    received = way.receiver.receive_single(outer) or await self._receive(
                        exchange, way, outer, connection
                    )
            except ProxyError as error:  # nobody is proven: in the clear, and telling nothing
                exchange.id = self._new_id()
                refusals = self._refusals if way is None else way.back.refusals
                await complete(connection.respond(refusals.answer(exchange, error)))
                return
            await self._serve(exchange, way.back, received, connection, taken, outer, self.flow)
        except BaseException as error:
            self._recorder.broke_off(exchange, error)
            raise
        finally:
            self._end_exchange(exchange, connection)

    async def handle_stream(self, stream: ReceivedStream, taken: Taken) -> None:
        """Answer one request that came over a link, which has proven who calls."""
        exchange = self._begin_exchange(taken, stream.link.peer)
        assert self.link_way is not None
        try:
            await self._serve(exchange, self.link_way, taken.received, stream, taken, stream, self.link_flow)
        except BaseException as error:
            self._recorder.broke_off(exchange, error)
            raise
        finally:
            self._end_exchange(exchange, stream)

    def _begin_exchange(self, taken: Taken | None, peer: str) -> Exchange:
        self.in_flight += 1
        begun = None if taken is None else taken.begun
        if begun is None:
            return self._begin("", self._clock(), peer)
        return self._recorder.resume("", begun.started_s, peer)

    def _end_exchange(self, exchange: Exchange, edge: Edge) -> None:
        self.in_flight -= 1
        exchange.inform = None  # a short way may keep the exchange, and must not keep the edge by it
        if exchange.cause != _CHALLENGED:
            self._recorder.end(exchange, edge.bytes_in, edge.bytes_out, edge.waited_s)

    async def _serve(
        self,
        exchange: Exchange,
        way: WayBack,
        received: Received,
        edge: Edge,
        taken: Taken | None,
        origin: Any,
        flow: ShortWayIn | None,
    ) -> None:
        """Carry a request of a proven caller to its service, and send the answer back.

        Args:
            way: how it is answered. edge: where. taken: when the short way had it before.
            origin: what it came in, for `flow`, the short way there, if there is one.
        """
        exchange.id, exchange.caller = received.exchange_id or self._new_id(), received.caller
        refusal = ""
        watch = self._watch
        if watch is not None and received.head is not None:
            received.content = watch.request(exchange, received.head, received.rest, received.content)
        try:
            is_counted = taken is not None and taken.is_counted
            # which service, privilege, rate, deadline
            plan, is_known = self._admit(exchange, received, is_counted)
            edge.set_deadline(exchange)
            if way.both_ways:
                exchange.inform = edge.inform
            elif plan.outgoing.upgrade:
                raise ProxyError(UPGRADE_UNSUPPORTED, "the way that it came carries HTTP only")
            # pick an endpoint of the service, forward, wait
            begun = None if taken is None else taken.begun
            ending = received.rest
            if self._tracer is not None:
                ending = self._tracer.begin(cast("TracedExchange", exchange), ending, may_start=begun is None)
            outgoing = plan.outgoing.ending(b"", ending)
            response = await plan.service.hop.forward(exchange, outgoing, received.content, begun)
            if way.hold is not None and (held := way.hold(response)) is not None:
                response = await held
            if is_known and received.kind and flow is not None:
                self._compile(flow, exchange, origin, received, plan)
            exchange.phase = "answer"  # a refusal keeps the phase in which it was made
            packing = plan.service.packing
        except ProxyError as error:
            error.with_traceback(None)  # whose frames have `received`, which may have the error
            if error.cause is EPOCH_MISMATCH and way.challenge is not None:
                self._note_challenge(exchange)
                await complete(edge.respond(way.challenge(received.binding)))
                return
            self._recorder.find_trace(exchange, received.rest)
            response = way.refusals.answer(exchange, error)
            refusal, packing = exchange.cause, self._packing(received.service)
        except Exception:  # fail closed, and never without an answer
            self._recorder.find_trace(exchange, received.rest)
            response = way.refusals.answer_mistake(exchange)
            refusal, packing = exchange.cause, self._packing(received.service)
        exchange.status = response.head.status
        if watch is not None:
            watch.answer(exchange, response)
        fields = self._via if response.head.has_date else self._via + edge.date_line
        # whatever comes of a request whose sender is proven, its receiver makes the answer
        rest = edge.respond(
            way.receiver.seal(received.binding, exchange.method, response, fields, packing, refusal)
        )
        if rest is not None:
            await rest

    def _way_of(self, target: bytes) -> WayIn | None:
        """Which way a request came, by its target; None where only links are taken."""
        for prefix, way in self._ways:
            if target.startswith(prefix):
                return way
        return self._ways[-1][1] if self._ways else None

    def _compile(
        self, flow: ShortWayIn, exchange: Exchange, origin: Any, received: Received, plan: Plan
    ) -> None:
        """Let the next request of this kind take the short way."""
        if exchange.seen is not None:
            return
        head, hop = cast(RequestHead, received.head), plan.service.hop
        known = flow.recall(origin, received.caller, received.kind)
        if known is not None and known.endpoints is hop.source.endpoints:
            return
        if not head.is_plain or head.left_out or plan.is_dated or plan.route is NO_ROUTE:
            return
        if plan.service.packing is not PLAIN or not may_remember(received.kind):
            return
        assert exchange.endpoint is not None
        lanes = hop.lanes(received.caller, plan.outgoing, "", exchange.endpoint)
        if lanes is not None:
            call = KnownCall(
                plan.route.rate,
                plan.rate_key,
                hop,
                hop.source.endpoints,
                cast(Lanes[ServiceLane], lanes),
                exchange,
                self._recorder.series(received.caller, received.service, plan.route.name),
                head.field_count,
            )
            flow.keep(origin, received.caller, received.kind, call)

    async def _receive(
        self, exchange: Exchange, way: WayIn, outer: Request, connection: Connection
    ) -> Received:
        """Open what isn't here entirely, or not as it should be."""
        if type(outer.content) is not bytes:  # strangers could drip it for ever
            exchange.deadline = exchange.started + way.open_timeout_s
            connection.set_deadline(exchange)
        return await way.receiver.receive(outer)

    def _note_challenge(self, exchange: Exchange) -> None:
        """A sender is told this receiver's epoch; no exchange has taken place."""
        exchange.cause = _CHALLENGED
        self._recorder.challenged()

    def _packing(self, service: str) -> Packing:
        """How answers of this proxy itself are packed: as the service's, so that they can't be told apart."""
        known = self._services.get(service)
        return PLAIN if known is None else known.packing

    def _admit(self, exchange: Exchange, received: Received, is_counted: bool) -> tuple[Plan, bool]:
        """The order of things at this hop, once the caller is proven; each step may refuse.

        Args:
            is_counted: the request was found within the limit of exchanges, and counts towards its rate.

        Returns:
            The plan, and whether it was known already.
        """
        if received.error is not None:
            raise received.error
        head = received.head
        assert head is not None
        exchange.method, exchange.path = head.method, head.target
        if not is_counted and self.in_flight > self.in_flight_limit:  # before any work is done for it
            self._ask_for_room()
        # which service, and may this caller call this route?
        key = (received.caller, received.service, exchange.peer)
        known = head.plans.get(key)
        plan = known or self._plan(exchange, head, key)
        route = plan.route
        exchange.service, exchange.route, exchange.path = key[1], route.name, plan.target
        exchange.phase = "rate"  # within its rate? After privilege: only routes that exist have one.
        if route.rate is not None and not is_counted:
            try:
                self._limiter.check(plan.rate_key, route.rate, exchange.started)
            except ProxyError as error:
                self.rate_uses.note(key[0], key[1], route)
                self._enforced(exchange, error)
        exchange.phase = "deadline"  # before its deadline?
        if plan.is_dated:
            exchange.deadline = self._deadline(exchange, plan, received.budget_ms)
        else:
            timeout_s, budget_s = plan.service.hop.timeout_s, received.budget_ms / 1000
            exchange.deadline = exchange.started + (budget_s if 0 < budget_s < timeout_s else timeout_s)
        return plan, known is not None

    def _deadline(self, exchange: Exchange, plan: Plan, sealed_budget_ms: int) -> float:
        """The deadline, as monotonic time, of a request whose head says something of it."""
        return set_deadline(
            exchange.started,
            self._unix_clock(),
            plan.service.hop.timeout_s,
            dead_time=plan.dead_time,
            timeout_ms=plan.timeout_ms,
            sealed_budget_ms=sealed_budget_ms,
        )

    def _plan(self, exchange: Exchange, head: RequestHead, key: tuple[str, str, str]) -> Plan:
        """Decide what head, proven caller and service decide; it is kept with the head.

        Args:
            key: caller, service and peer.
        """
        exchange.phase = "route"  # which service?
        service = self._services.get(key[1])
        if service is None:
            raise ProxyError(SERVICE_UNKNOWN, "the request names no service of the in proxy's config")
        exchange.service = key[1]
        exchange.phase = "privilege"  # may this caller call this route?
        try:
            route, target = self._privileges.admit(key[0], key[1], head.method, head.target)
        except ProxyError as error:
            if error.cause.phase != "privilege":  # a path of two readings is refused in any case
                raise
            self._enforced(exchange, error)
            path, query = canonical_path(head.target)
            route, target = NO_ROUTE, path + query
        if route.rate is not None:
            self.rate_uses.note(key[0], key[1], route)
        dead_time = head.control.get(DEAD_TIME)
        plan = Plan(
            service,
            route,
            target,
            (key[0], route.rate_key),
            Outgoing(
                head.method,
                b"%b %b HTTP/1.1\r\nhost: " % (head.method, target),
                head.host if service.host == "caller" else service.host_field,
                b"\r\n%b%b%b%b%b: %b\r\n"
                % (
                    head.fields,
                    self._hop_fields.of(key[2], head.control),
                    dead_time_line(dead_time),
                    upgrade_lines(head),
                    CALLER,
                    key[0].encode(),
                ),
                head.has_body,
                upgrade=head.upgrade,
            ),
            dead_time,
            head.control.get(BUDGET),
            is_dated=not head.control.keys().isdisjoint((DEAD_TIME, BUDGET)),
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
