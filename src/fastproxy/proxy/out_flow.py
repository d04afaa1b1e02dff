"""The short way of an ordinary call through the out proxy.

What the long way (`out_proxy`, `forward`, the transport) decided on a request's head is compiled into a flow,
down to the bytes that leave, and kept with the head. The next request with this head that is here entirely is
sealed and sent at once, if a kept connection is free; its answer, if it is an ordinary one, is opened and
written in the callback that brings it. It takes a third of what the long way does.

Rules: a flow decides nothing anew. Whatever is not as it was when the flow was made, or not ordinary, goes
the long way: before anything was sent as if there were no flow, after it with what has come (`Begun`). A flow
that had to step aside is dropped, and the long way makes another.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from msgspec import Struct

from fastproxy.errors import ProxyError
from fastproxy.model import Exchange, Request, RequestHead, Response, ResponseHead
from fastproxy.net.client import ClientConnection
from fastproxy.net.connection import Connection
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import end_of_head
from fastproxy.net.link.caller import CallerLink
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.lanes import Lanes
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.transport import Begun, OutLane
from fastproxy.telemetry.metrics import CALLER_GONE, Series

_LINE_END = b"\r\n"


class LongWay(Protocol):
    """The proxy that a flow belongs to.

    in_flight: exchanges at this time, those on the short way among them. in_flight_limit: how many there may
        be before the long way has to ask for more.
    """

    in_flight: int
    in_flight_limit: int

    def handle(
        self, request: Request, connection: Connection, begun: Begun | None = None
    ) -> Coroutine[Any, None, None]: ...


class OutFlight(Struct, eq=False):
    """One call on the short way; its connection to the receiver reports to it as to a `Waiter`.

    deadline: monotonic time in seconds. upstream: what it was sent on.
    own_s: what this proxy has spent on it so far.
    bound_to: what its answer must be bound to; stream_id: which stream it is; each where there is one.
    """

    flow: OutFlow
    edge: Connection
    head: RequestHead
    rest: bytes
    content: bytes
    exchange_id: bytes
    started_s: float
    deadline: float
    lane: OutLane
    upstream: ClientConnection | CallerLink | None = None
    bound_to: bytes = b""
    stream_id: int = 0
    own_s: float = 0.0

    @property
    def phase(self) -> str:
        return "wait"

    @property
    def interim_to(self) -> None:
        """Nobody gets interim answers of a hop that doesn't seal them."""

    @property
    def inform(self) -> Callable[[ResponseHead], None]:
        """Gets interim answers."""
        return self.edge.inform

    @property
    def sealed_head(self) -> bytes:
        """Of what was sealed, the part that may name a trace."""
        return self.rest

    def answer(self, head: ResponseHead, content: bytes, came_s: float) -> None:
        """An ordinary answer has come, whole and open."""
        try:
            if self.flow.land(self, head, content, came_s):
                return
        except Exception as error:  # the long way has an answer to everything
            self.fail(error)
        else:
            self.flow.divert(self, Waiter(done=True, result=Response(head, content)))

    def set_whole(self, head: ResponseHead, content: bytes) -> None:
        """The answer has come, sealed."""
        try:
            came_s = self.flow.clock()
            opened = self.lane.open(self, head, content)
            if opened is not None and self.flow.land(self, *opened, came_s):
                return
        except ProxyError:  # the long way finds the same, and has the words for it
            pass
        except Exception as error:  # the long way has an answer to everything
            self.fail(error)
            return
        self.flow.divert(self, Waiter(done=True, result=Response(head, content)))

    def set(self, value: Response) -> None:
        """The answer has come, and is no ordinary one, or only its head has."""
        self.flow.divert(self, Waiter(done=True, result=value))

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        self.flow.divert(self, Waiter(done=True, error=error))

    def throw(self, error: ProxyError) -> None:
        """Its time is up."""
        self.lane.abandon(self)
        error.sent = True
        self.fail(error)

    def cancel(self) -> None:
        """The caller is gone."""
        self.lane.abandon(self)
        self.flow.forget(self)


class OutFlow:
    """Requests from one peer to one service whose heads decide the same.

    clock: as below.

    Args:
        proxy: goes on with whatever is not ordinary.
        hop: the way to the service's receiver. lanes: to each of its endpoints.
        known: the exchange that showed the way; the access log's lines of the others are like its own.
        recorder: writes them. series: where calls are counted.
        own_fields: lines of this proxy for each answer, up to the exchange id.
        new_id: makes exchange ids. clock: monotonic time in seconds.
    """

    __slots__ = (
        "_endpoints",
        "_hop",
        "_known",
        "_lanes",
        "_new_id",
        "_own_fields",
        "_proxy",
        "_recorder",
        "_series",
        "_timeout_s",
        "clock",
    )

    def __init__(
        self,
        proxy: LongWay,
        hop: NextHop,
        lanes: Lanes[OutLane],
        known: Exchange,
        recorder: Recorder,
        series: Series,
        own_fields: bytes,
        new_id: Callable[[], str],
        clock: Callable[[], float],
    ) -> None:
        self._proxy = proxy
        self._hop = hop
        self._endpoints = hop.source.endpoints
        self._lanes = lanes
        self._timeout_s = hop.timeout_s
        self._known = known
        self._recorder = recorder
        self._series = series
        self._own_fields = own_fields
        self._new_id = new_id
        self.clock = clock

    def begin(self, edge: Connection, head: RequestHead, rest: bytes, content: bytes) -> bool:
        """Seal a request and send it; False, when that takes more than this, nothing having been done."""
        proxy, hop = self._proxy, self._hop
        if hop.source.endpoints is not self._endpoints:
            return self._step_aside(edge, head)
        if proxy.in_flight >= proxy.in_flight_limit:
            return False
        lane, failing = next(self._lanes.in_turn), hop.balancer.failing
        if lane is None:
            return False
        if failing and lane.endpoint in failing:
            self._lanes.leave(lane)
            return False
        now_s = self.clock()
        exchange_id = self._new_id().encode()
        deadline = now_s + self._timeout_s
        flight = OutFlight(self, edge, head, rest, content, exchange_id, now_s, deadline, lane)
        try:
            if not lane.send(flight, now_s):
                self._lanes.leave(lane)
                return False
        except Exception as error:  # the long way has an answer to everything
            self._pass_on(flight, Waiter(done=True, error=error))
            return True
        proxy.in_flight += 1
        edge.carry(flight)
        flight.own_s = self.clock() - now_s
        return True

    def _step_aside(self, edge: Connection, head: RequestHead) -> bool:
        head.flows.pop(edge.peer, None)
        return False

    def land(self, flight: OutFlight, head: ResponseHead, content: bytes, came_s: float) -> bool:
        """Answer the caller; False when its connection is not an ordinary one by now.

        Args:
            came_s: when the answer came; monotonic time in seconds.
        """
        start, size_bytes = head.plan or self._plan(head), len(content)
        message = b"".join((start, flight.exchange_id, _LINE_END, end_of_head(size_bytes), content))
        if not flight.edge.land(message, came_s):
            return False
        self._end(flight, head.status, size_bytes, came_s)
        return True

    def _end(self, flight: OutFlight, status: int, bytes_out: int, came_s: float, cause: str = "") -> None:
        self._proxy.in_flight -= 1
        bytes_in, now_s = len(flight.content), self.clock()
        own_s = flight.own_s + now_s - came_s
        try:
            self._series.finish(status, now_s - flight.started_s, own_s, bytes_in, bytes_out, cause)
            if self._recorder.logs:
                self._recorder.short(
                    self._known, flight.exchange_id.decode(), flight.started_s, flight.lane.endpoint, status,
                    cause, (bytes_in, bytes_out), flight,
                )  # fmt: skip
        except Exception:  # nobody may be answered twice for that
            self._recorder.not_counted(flight.exchange_id.decode())

    def _plan(self, head: ResponseHead) -> bytes:
        """What stands in front of the exchange id in all answers with this head."""
        start: bytes = head.start + self._own_fields
        head.plan = start
        return start

    def divert(self, flight: OutFlight, answer: Waiter[Response]) -> None:
        """Let the long way go on."""
        self._proxy.in_flight -= 1
        self._pass_on(flight, answer)

    def _pass_on(self, flight: OutFlight, answer: Waiter[Response]) -> None:
        edge, head = flight.edge, flight.head
        self._step_aside(edge, head)
        begun = Begun(flight.started_s, flight.lane, answer, flight.exchange_id.decode(), flight.bound_to)
        edge.divert(self._proxy.handle(Request(head, flight.content, edge.peer, flight.rest), edge, begun))

    def forget(self, flight: OutFlight) -> None:
        """Note a call whose caller is gone."""
        self._end(flight, 0, 0, self.clock(), CALLER_GONE)
        self._recorder.short_forsaken(
            self._known, flight.exchange_id.decode(), flight.started_s, flight.deadline, flight.lane.endpoint
        )
