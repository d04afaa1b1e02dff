"""The out proxy: beside the caller. Plain HTTP comes in, sealed requests go out.

`OutProxy.handle` is the order of things: who is calling, which service, until when, then the
way to its receiver, where the request is sealed and the answer opened.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

from msgspec import Struct

from fastproxy.bounds import Room
from fastproxy.errors import CALLER_UNKNOWN, RESPONSE_MALFORMED, UPGRADE_UNSUPPORTED, ProxyError
from fastproxy.model import Body, Content, Exchange, Request, Response
from fastproxy.net.connection import Connection
from fastproxy.net.upgrade import check_switch, upgrade_lines
from fastproxy.policy.deadline import set_deadline
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.exchange_room import ExchangeRoom
from fastproxy.proxy.fields import BUDGET, DEAD_TIME, EXCHANGE, PLANS_PER_HEAD, HopFields, dead_time_line
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.lanes import Lanes
from fastproxy.proxy.out_flow import OutFlow
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.refusals import Refusals
from fastproxy.proxy.transport import Begun, Outgoing, OutLane

if TYPE_CHECKING:
    from fastproxy.net.flight import Flow
    from fastproxy.telemetry.tracing import TracedExchange, Tracer


class CallerRule(NamedTuple):
    """Who calls at this listener: always `fixed`, or the one of `names` that the field `header` names.

    header: in lower case.
    """

    fixed: str
    header: bytes = b""
    names: frozenset[str] = frozenset()


class RemoteService(NamedTuple):
    """A service behind an in proxy.

    hop: the way to it. refusals: answers what can't be carried there.
    hold: makes a request's body complete, where the transport can't carry one that is still coming.
    """

    hop: NextHop
    refusals: Refusals
    hold: Callable[[Content], Awaitable[bytes]] | None = None


class Plan(Struct, frozen=True):
    """What is decided on requests of one peer whose heads decide the same: it depends on nothing else.

    hop, hold: of the service.
    dead_time, timeout_ms: what the caller says of its deadline; is_dated: whether it says anything.
    """

    caller: str
    hop: NextHop
    hold: Callable[[Content], Awaitable[bytes]] | None
    outgoing: Outgoing
    dead_time: bytes | None
    timeout_ms: bytes | None
    is_dated: bool


class OutProxy(ExchangeRoom):
    """Handles requests of callers.

    Args:
        refusals: answers what never came to a service.
        caller_rule: how the caller is found. choice: how the service is.
        services: by name.
        fields: writes Via and its like.
        recorder: notes every exchange.
        room: bound on exchanges at a time.
        has_short_way: whether ordinary calls may take it.
        new_id: makes exchange ids.
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
    """

    def __init__(
        self,
        refusals: Refusals,
        caller_rule: CallerRule,
        choice: ServiceChoice,
        services: Mapping[str, RemoteService],
        fields: HopFields,
        recorder: Recorder,
        room: Room,
        has_short_way: bool,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
    ) -> None:
        super().__init__(room, recorder)
        self._refusals = refusals
        self.caller_rule = caller_rule
        self._choice = choice
        self._services = services
        self._hop_fields = fields
        self._own_fields = b"%b%b: " % (fields.via, EXCHANGE)
        self._has_short_way = has_short_way
        self._new_id = new_id
        self._clock = clock
        self._unix_clock = unix_clock

    async def handle(self, request: Request, connection: Connection, begun: Begun | None = None) -> None:
        """Answer one request of a caller; `begun` when it left on the short way (`out_flow`)."""
        if begun is None:
            exchange = self._begin(self._new_id(), self._clock(), request.peer)
        else:
            exchange = self._recorder.resume(begun.exchange_id, begun.started_s, request.peer)
        self.in_flight += 1
        watch = self._watch
        if watch is not None:
            request.content = watch.request(exchange, request.head, request.rest, request.content)
        try:
            try:
                if begun is None and self.in_flight > self.in_flight_limit:  # before any work is done for it
                    self._ask_for_room()
                # who is calling, and which service?
                known = request.head.plans.get(request.peer)
                plan = known or self._plan(exchange, request)
                exchange.caller, exchange.service = plan.caller, plan.hop.name
                exchange.method, exchange.path = plan.outgoing.method, request.head.target
                exchange.phase = "deadline"  # until when? From here on nothing can take longer.
                exchange.deadline = (
                    self._deadline(exchange, plan) if plan.is_dated else exchange.started + plan.hop.timeout_s
                )
                connection.set_deadline(exchange)
                exchange.inform = connection.inform
                ending = request.rest
                if self._tracer is not None:
                    ending = self._tracer.begin(
                        cast("TracedExchange", exchange), ending, may_start=begun is None
                    )
                content = request.content
                if plan.hold is not None:
                    content = await plan.hold(content)
                # pick an endpoint, seal and send, wait, open
                outgoing = plan.outgoing.ending(request.head.framing, ending)
                response = await plan.hop.forward(exchange, outgoing, content, begun)
                if response.head.status < 200:
                    _check_final(request.head.upgrade, response)
                if known is not None and self._has_short_way and not exchange.cause:
                    self._compile(exchange, request, plan)
                if exchange.cause:  # a refusal of the in proxy keeps the phase in which it was learned of
                    exchange.status = response.head.status
                    self._recorder.refused_by_next_hop(exchange, response.content)
                else:
                    exchange.phase = "answer"
            except ProxyError as error:
                self._recorder.find_trace(exchange, request.rest)
                response = self._refusals_of(exchange).answer(exchange, error)
            except Exception:  # fail closed, and never without an answer
                self._recorder.find_trace(exchange, request.rest)
                response = self._refusals_of(exchange).answer_mistake(exchange)
            exchange.status = response.head.status
            if watch is not None:
                watch.answer(exchange, response)
            fields = b"".join((self._own_fields, exchange.id.encode(), b"\r\n"))
            if not response.head.has_date:
                fields += connection.date_line
            rest = connection.respond(response, fields)
            if rest is not None:
                await rest
        except BaseException as error:
            self._recorder.broke_off(exchange, error)
            raise
        finally:
            self.in_flight -= 1
            exchange.inform = None  # a flow may keep the exchange, and must not keep the connection by it
            self._recorder.end(exchange, connection.bytes_in, connection.bytes_out, connection.waited_s)

    def _refusals_of(self, exchange: Exchange) -> Refusals:
        service = self._services.get(exchange.service)
        return self._refusals if service is None else service.refusals

    def _compile(self, exchange: Exchange, request: Request, plan: Plan) -> None:
        """Let the next request with this head take the short way."""
        head, hop, flows = request.head, plan.hop, request.head.flows
        if not head.is_plain or head.content_bytes < 0 or plan.is_dated or exchange.seen is not None:
            return
        if request.peer in flows or len(flows) >= PLANS_PER_HEAD:
            return
        assert exchange.endpoint is not None
        lanes = hop.lanes(plan.caller, plan.outgoing, self._new_id(), exchange.endpoint)
        if lanes is not None:
            flow = OutFlow(
                self,
                hop,
                cast(Lanes[OutLane], lanes),
                exchange,
                self._recorder,
                self._recorder.series(plan.caller, hop.name),
                self._own_fields,
                self._new_id,
                self._clock,
            )
            flows[request.peer] = flow if self._tracer is None else self._untraced(flow, self._tracer, plan)

    def _untraced(self, flow: Flow, tracer: Tracer, plan: Plan) -> Flow:
        """Keep what is to be recorded off a short way."""
        from fastproxy.proxy.untraced import UntracedFlow  # noqa: PLC0415 - loaded only where traces are on

        return UntracedFlow(flow, tracer, plan.caller, plan.hop.name)

    def _deadline(self, exchange: Exchange, plan: Plan) -> float:
        """The deadline, as monotonic time, of a request that says something of it."""
        return set_deadline(
            exchange.started,
            self._unix_clock(),
            plan.hop.timeout_s,
            dead_time=plan.dead_time,
            timeout_ms=plan.timeout_ms,
        )

    def _plan(self, exchange: Exchange, request: Request) -> Plan:
        """Decide what the head alone decides; it is kept with the head, for requests that have the same."""
        head, peer = request.head, request.peer
        control = head.control
        exchange.method, exchange.path = head.method, head.target
        exchange.phase = "identify"  # who is calling?
        exchange.caller = self._identify(control)
        exchange.phase = "route"  # which service?
        name, target = self._choice.choose(head.target, head.host, head.absolute)
        service = self._services[name]
        if head.upgrade and not service.hop.transport.tunnels:
            exchange.service = name
            raise ProxyError(UPGRADE_UNSUPPORTED, "the way to this service carries HTTP only")
        dead_time = control.get(DEAD_TIME)
        line = b"%b %b HTTP/1.1\r\nhost: " % (head.method, target)
        host = head.host or name.encode()  # HTTP/1.0 may come without one
        fields = b"\r\n%b%b%b%b" % (
            head.fields, self._hop_fields.of(peer, control), dead_time_line(dead_time), upgrade_lines(head),
        )  # fmt: skip
        plan = Plan(
            exchange.caller,
            service.hop,
            service.hold,
            Outgoing(
                head.method,
                line,
                host,
                fields,
                head.has_body,
                b"".join((line, host, fields)),
                target,
                head.upgrade,
                head.expects_continue,
            ),
            dead_time,
            control.get(BUDGET),
            is_dated=not control.keys().isdisjoint((DEAD_TIME, BUDGET)),
        )
        if len(head.plans) < PLANS_PER_HEAD:
            head.plans[peer] = plan
        return plan

    def _identify(self, control: dict[bytes, bytes]) -> str:
        rule = self.caller_rule
        if rule.fixed:
            return rule.fixed
        claimed = control.get(rule.header, b"").decode("latin-1")
        if claimed not in rule.names:
            raise ProxyError(CALLER_UNKNOWN, "the request names no caller that may be claimed here")
        return claimed

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """Answer something that never became a request."""
        exchange_id, response = self._refusals.answer_unread(error, peer)
        response.head.start += self._own_fields + exchange_id.encode() + b"\r\n"
        return response


def _check_final(asked: bytes, response: Response) -> None:
    """Refuse an interim answer in place of the final one, but for a change of protocol that was asked for.

    Whatever way it came: what follows such a head the caller would take for an answer, and be it to its next
    request, to another service.
    """
    head = response.head
    try:
        if not head.switches:
            raise ProxyError(RESPONSE_MALFORMED, f"{head.status} in the place of a final answer")
        check_switch(asked, head)
    except ProxyError:
        if type(response.content) is not bytes:
            cast(Body, response.content).close()
        raise
