"""The short way of an ordinary call through the in proxy; `out_flow` tells what that is, and its rules.

What the long way decided on a caller's requests with one sealed head is a `KnownCall` here. Who calls is
proven anew for each request, and its rate and its time are checked anew; only what can't come out differently
isn't.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Protocol

from msgspec import Struct

from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint, Exchange, Request, RequestHead, Response, ResponseHead
from fastproxy.net.client import ClientConnection
from fastproxy.net.connection import Connection
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import end_of_head
from fastproxy.policy.ratelimit import Rate, RateLimiter
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.http_receiver import ENVELOPE_HEAD, HttpReceiver, Received
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.to_service import ServiceLane
from fastproxy.proxy.transport import Begun
from fastproxy.telemetry.metrics import CALLER_GONE, Series
from fastproxy.wire.envelope import PACKED_START, is_token
from fastproxy.wire.receiver import PackedRequest, Receiver
from fastproxy.wire.records import MAX_DATA_BYTES, PREFIX_BYTES
from fastproxy.wire.responses import seal_packed

KNOWN_CALLS = 256
"""Bounds memory: each takes up to 8 KiB, with four endpoints (`forward.LANES`)."""


class KnownCall(Struct, frozen=True):
    """What is decided on the requests of one caller with one sealed head, from one peer.

    rate, rate_key: how often, and whose rate it counts towards.
    hop: the way to the service. endpoints: its endpoints then. lanes: one for each, again and again.
    content_bytes: length of the content.
    exchange: the one that showed the way; the access log's lines of the others are like its own.
    series: where calls are counted.
    """

    rate: Rate | None
    rate_key: tuple[str, str]
    hop: NextHop
    endpoints: tuple[Endpoint, ...]
    lanes: Iterator[ServiceLane]
    content_bytes: int
    exchange: Exchange
    series: Series


class Taken(Struct, frozen=True):
    """A request that the short way has opened, and leaves to the long one.

    received: what it opened. is_counted: it was found within the limit of exchanges, and counts towards its
        rate already. begun: when it was sent already.
    """

    received: Received
    is_counted: bool = False
    begun: Begun | None = None


class LongWay(Protocol):
    """The proxy that a flow belongs to.

    in_flight: exchanges at this time, those on the short way among them.
    """

    in_flight: int

    def handle(
        self, outer: Request, connection: Connection, taken: Taken | None = None
    ) -> Coroutine[Any, None, None]: ...


class InFlight(Struct, eq=False):
    """One call on the short way; its connection to the service reports to it as to a `Waiter`.

    deadline: monotonic time in seconds.
    """

    flow: InFlow
    edge: Connection
    head: RequestHead
    packed: PackedRequest
    call: KnownCall
    lane: ServiceLane
    upstream: ClientConnection
    exchange_id: bytes
    started_s: float
    deadline: float

    @property
    def phase(self) -> str:
        return "wait"

    def set(self, value: Response) -> None:
        """The answer has come, or its head has."""
        content = value.content
        try:
            if type(content) is bytes and self.flow.land(self, value.head, content):
                return
        except Exception as error:  # the long way has an answer to everything
            self.fail(error)
        else:
            self.flow.divert(self, Waiter(done=True, result=value))

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        self.flow.divert(self, Waiter(done=True, error=error))

    def throw(self, error: ProxyError) -> None:
        """Its time is up."""
        self.upstream.abandon(self)
        self.fail(error)

    def cancel(self) -> None:
        """The out proxy is gone."""
        self.upstream.abandon(self)
        self.flow.forget(self)


class InFlow:
    """All requests that come sealed.

    known: what was decided, by caller, peer and the sealed head from the service's name on.

    Args:
        proxy: goes on with whatever is not ordinary.
        receiver: opens requests. http_receiver: judges them, for the long way. limiter: how often.
        recorder: writes the access log.
        in_flight_limit: bound on exchanges at a time.
        nonces: 12 fresh random bytes each.
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
    """

    __slots__ = (
        "_clock",
        "_http_receiver",
        "_in_flight_limit",
        "_limiter",
        "_nonces",
        "_proxy",
        "_receiver",
        "_recorder",
        "_unix_clock",
        "known",
    )

    def __init__(
        self,
        proxy: LongWay,
        receiver: Receiver,
        http_receiver: HttpReceiver,
        limiter: RateLimiter,
        recorder: Recorder,
        in_flight_limit: int,
        nonces: Iterator[bytes],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
    ) -> None:
        self._proxy = proxy
        self._receiver = receiver
        self._http_receiver = http_receiver
        self._limiter = limiter
        self._recorder = recorder
        self._in_flight_limit = in_flight_limit
        self._nonces = nonces
        self._clock = clock
        self._unix_clock = unix_clock
        self.known: dict[tuple[str, str, bytes], KnownCall] = {}

    def begin(self, edge: Connection, head: RequestHead, content: bytes) -> bool:
        """Open a request and send it to its service; False when that takes more, nothing having been done."""
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
        call = self.known.get((packed.session.caller.name, edge.peer, plaintext[id_end:meta_end]))
        if (
            call is None
            or extras
            or len(plaintext) - meta_end != call.content_bytes
            or is_token(exchange_id) is None
            or self._proxy.in_flight >= self._in_flight_limit
            or call.hop.source.endpoints is not call.endpoints
            or call.hop.balancer.failing
        ):
            return self._pass_on(edge, head, packed)
        now_s = self._clock()
        if call.rate is not None:  # within its rate?
            try:
                self._limiter.check(call.rate_key, call.rate, now_s)
            except ProxyError:
                return self._pass_on(edge, head, packed)
        lane, left_s = next(call.lanes), call.hop.timeout_s
        if 0 < budget_ms < left_s * 1000:
            left_s = budget_ms / 1000
        try:
            upstream = lane.send(exchange_id, left_s, plaintext[meta_end:])
        except Exception as error:  # the long way has an answer to everything
            begun = Begun(now_s, lane, Waiter(done=True, error=error))
            return self._pass_on(edge, head, packed, is_counted=True, begun=begun)
        if upstream is None:
            return self._pass_on(edge, head, packed, is_counted=True)
        flight = InFlight(self, edge, head, packed, call, lane, upstream, exchange_id, now_s, now_s + left_s)
        upstream.carry(flight)
        self._proxy.in_flight += 1
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

    def land(self, flight: InFlight, head: ResponseHead, content: bytes) -> bool:
        """Seal an answer and write it; False when it is not an ordinary one, or its connection isn't."""
        if head.plan is None or len(content) > MAX_DATA_BYTES:
            return False
        packed = flight.packed
        sealed = seal_packed(
            packed.session.response_aead, packed.bound_to, next(self._nonces), head.plan + content
        )
        if not flight.edge.land(b"".join((ENVELOPE_HEAD.start, end_of_head(len(sealed)), sealed))):
            return False
        self._end(flight, head.status, len(sealed))
        return True

    def _end(self, flight: InFlight, status: int, bytes_out: int, cause: str = "") -> None:
        self._proxy.in_flight -= 1
        call, bytes_in = flight.call, flight.packed.length
        call.series.finish(status, self._clock() - flight.started_s, bytes_in, bytes_out, cause)
        if self._recorder.logs:
            self._recorder.short(
                call.exchange, flight.exchange_id.decode(), flight.started_s, flight.lane.endpoint, status,
                cause, (bytes_in, bytes_out),
            )  # fmt: skip

    def divert(self, flight: InFlight, answer: Waiter[Response]) -> None:
        """Let the long way go on."""
        self._proxy.in_flight -= 1
        begun = Begun(flight.started_s, flight.lane, answer)
        self._pass_on(flight.edge, flight.head, flight.packed, is_counted=True, begun=begun)

    def forget(self, flight: InFlight) -> None:
        """Note a call whose caller is gone."""
        self._end(flight, 0, 0, CALLER_GONE)
