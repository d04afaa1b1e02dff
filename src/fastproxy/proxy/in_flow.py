"""The short way of an ordinary call through the in proxy; `out_flow` tells what that is, and its rules.

What the long way decided on a caller's requests with one sealed head is a `KnownCall` here. Who calls is
proven anew for each request, and its rate and its time are checked anew; only what can't come out differently
isn't.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol, cast

from fastproxy.errors import ProxyError
from fastproxy.model import Request, RequestHead, Response, ResponseHead
from fastproxy.net.connection import Connection
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import HeadParser, end_of_head
from fastproxy.policy.ratelimit import Limiter
from fastproxy.proxy.fields import PLANS_PER_HEAD
from fastproxy.proxy.http_receiver import ENVELOPE_HEAD, HttpReceiver
from fastproxy.proxy.known_call import (
    KNOWN_CALLS,
    KnownCall,
    KnownCalls,
    LongWay,
    ServiceFlight,
    ShortWay,
    Taken,
)
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.transport import Begun
from fastproxy.wire.envelope import PACKED_START, is_token
from fastproxy.wire.receiver import PackedRequest, Receiver
from fastproxy.wire.records import MAX_DATA_BYTES, PREFIX_BYTES
from fastproxy.wire.responses import SINGLE_BYTES, seal_packed


class EnvelopeWay(LongWay, Protocol):
    """The proxy that this short way belongs to."""

    def handle(
        self, outer: Request, connection: Connection, taken: Taken | None = None
    ) -> Coroutine[Any, None, None]: ...


class InFlight(ServiceFlight):
    """One call that came in an envelope. edge, head: the request around it. packed: what was opened."""

    edge: Connection
    head: RequestHead
    packed: PackedRequest

    @property
    def sealed_head(self) -> bytes:
        """What came in front of the content."""
        plaintext = self.packed.plaintext
        return plaintext[: PREFIX_BYTES + PACKED_START.unpack_from(plaintext)[1]]


class InFlow(ShortWay):
    """All requests that come in envelopes.

    known: what was decided, by caller and peer.

    Args:
        proxy: goes on with whatever is not ordinary.
        receiver: opens requests. http_receiver: judges them, for the long way. limiter: how often.
        recorder: writes the access log.
        nonces: 12 fresh random bytes each.
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
        make_calls: makes what is known of the requests of one caller from one peer.
    """

    __slots__ = ("_http_receiver", "_make_calls", "_nonces", "_proxy", "_receiver", "_unix_clock", "known")

    def __init__(
        self,
        proxy: EnvelopeWay,
        receiver: Receiver,
        http_receiver: HttpReceiver,
        limiter: Limiter,
        recorder: Recorder,
        nonces: Iterator[bytes],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        make_calls: Callable[[HeadParser], KnownCalls] = KnownCalls,
    ) -> None:
        super().__init__(proxy, limiter, recorder, clock)
        self._proxy = proxy
        self._receiver = receiver
        self._http_receiver = http_receiver
        self._nonces = nonces
        self._unix_clock = unix_clock
        self._make_calls = make_calls
        self.known: dict[tuple[str, str], KnownCalls] = {}

    def begin(self, edge: Connection, head: RequestHead, rest: bytes, content: bytes) -> bool:
        """Open a request and send it to its service; False when that takes more, nothing having been done."""
        now_s = self._clock()
        packed = self._receiver.open_packed(content, int(self._unix_clock() * 1000))
        if packed is None:
            return False
        plaintext = packed.plaintext
        if len(plaintext) < PACKED_START.size:
            return self._pass_on(edge, head, packed)
        extras, meta_bytes, budget_ms, id_bytes = PACKED_START.unpack_from(plaintext)
        meta_end = PREFIX_BYTES + meta_bytes
        id_end = PACKED_START.size + id_bytes
        exchange_id = plaintext[PACKED_START.size : id_end]
        known = self.known.get((packed.session.caller.name, edge.peer))
        found = None if known is None else known.find(plaintext, id_end, meta_end)
        if found is None:
            return self._pass_on(edge, head, packed)
        call, sealed_rest = found
        proxy = self._proxy
        if (
            extras
            or not (exchange_id.isalnum() or is_token(exchange_id))  # ours are, at a twentieth of the time
            or proxy.in_flight >= proxy.in_flight_limit
            or call.hop.source.endpoints is not call.endpoints
        ):
            return self._pass_on(edge, head, packed)
        if call.rate is not None:  # within its rate? Only then it has a turn
            try:
                self._limiter.check(call.rate_key, call.rate, now_s)
            except ProxyError:
                return self._pass_on(edge, head, packed)
        lane, failing = next(call.lanes.in_turn), call.hop.balancer.failing
        if lane is None:
            return self._pass_on(edge, head, packed, is_counted=True)
        if failing and lane.endpoint in failing:
            call.lanes.leave(lane)
            return self._pass_on(edge, head, packed, is_counted=True)
        left_s = call.hop.timeout_s
        if 0 < budget_ms < left_s * 1000:
            left_s = budget_ms / 1000
        try:
            upstream = lane.send(exchange_id, left_s, sealed_rest, plaintext[meta_end:])
        except Exception as error:  # the long way has an answer to everything
            begun = Begun(now_s, lane, Waiter(done=True, error=error))
            return self._pass_on(edge, head, packed, is_counted=True, begun=begun)
        if upstream is None:
            call.lanes.leave(lane)
            return self._pass_on(edge, head, packed, is_counted=True)
        flight = InFlight(
            self, call, lane, upstream, exchange_id, now_s, now_s + left_s, self._clock() - now_s,
            edge, head, packed,
        )  # fmt: skip
        upstream.carry(flight)
        proxy.in_flight += 1
        edge.carry(flight)
        return True

    def _pass_on(
        self,
        edge: Connection,
        head: RequestHead,
        packed: PackedRequest,
        *,
        is_counted: bool = False,
        begun: Begun | None = None,
    ) -> bool:
        """An envelope opens once: the long way gets what was opened."""
        taken = Taken(self._http_receiver.unpack(packed), is_counted, begun)
        edge.divert(self._proxy.handle(Request(head, b"", edge.peer), edge, taken))
        return True

    def recall(self, origin: Request, caller: str, kind: bytes) -> KnownCall | None:
        """Have requests like this come this way; see `ShortWayIn`."""
        flows, peer = origin.head.flows, origin.peer
        if origin.head.is_plain and len(flows) < PLANS_PER_HEAD:
            flows[peer] = self
        known = self.known.get((caller, peer))
        return None if known is None else known.get(kind)

    def keep(self, origin: Request, caller: str, kind: bytes, call: KnownCall) -> None:
        """Remember what was decided; see `ShortWayIn`."""
        if sum(map(len, self.known.values())) >= KNOWN_CALLS:
            self.known.clear()
        key = (caller, origin.peer)
        known = self.known.get(key)
        if known is None:
            known = self.known[key] = self._make_calls(self._http_receiver.parser)
        known.keep(kind, call)

    def land(self, flight: ServiceFlight, head: ResponseHead, content: bytes) -> bool:
        """Seal an answer and write it; see `ShortWay`."""
        assert type(flight) is InFlight
        came_s = self._clock()
        if head.plan is None or len(content) > MAX_DATA_BYTES:
            return False
        packed, plaintext = flight.packed, head.plan + content
        size_bytes = SINGLE_BYTES + len(plaintext)
        message = seal_packed(
            packed.session.response_aead,
            packed.bound_to,
            next(self._nonces),
            plaintext,
            ENVELOPE_HEAD.start + end_of_head(size_bytes),
        )
        if not flight.edge.land(message, came_s):
            return False
        self._end(flight, head.status, packed.length, size_bytes, came_s)
        return True

    def divert(self, flight: ServiceFlight, answer: Waiter[Response]) -> None:
        """Let the long way go on."""
        flight = cast(InFlight, flight)
        self._proxy.in_flight -= 1
        begun = Begun(flight.started_s, flight.lane, answer)
        self._pass_on(flight.edge, flight.head, flight.packed, is_counted=True, begun=begun)

    def forget(self, flight: ServiceFlight) -> None:
        """Note a call whose caller is gone."""
        self._forsake(flight, cast(InFlight, flight).packed.length)
