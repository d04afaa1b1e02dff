"""What the in proxy's short ways share: what was decided on calls of one kind, and how one of them ends.

`in_flow` is the short way of envelopes, `link_flow` that of links; `out_flow` tells what a short way is, and
its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint, Exchange, Inform, Response, ResponseHead
from fastproxy.net.client import ClientConnection
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import HeadParser, Repeats
from fastproxy.net.parting import ORDINARY
from fastproxy.policy.ratelimit import Rate, RateLimiter
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.lanes import Lanes
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.to_service import ServiceLane
from fastproxy.proxy.transport import Begun
from fastproxy.proxy.way_in import Received
from fastproxy.telemetry.metrics import Series

KNOWN_CALLS = 256
"""Bounds memory: each takes up to 8 KiB with lanes to four endpoints; `lanes.LANES` bounds all lanes."""


class KnownCall(Struct, frozen=True):
    """What is decided on the requests of one caller, from one peer, whose sealed heads decide the same.

    rate, rate_key: how often, and whose rate it counts towards.
    hop: the way to the service. endpoints: its endpoints then. lanes: to each of them.
    content_bytes: length of the content.
    exchange: the one that showed the way; the access log's lines of the others are like its own.
    series: where calls are counted.
    field_count: of the fields in the deciding part of the head.
    """

    rate: Rate | None
    rate_key: tuple[str, str]
    hop: NextHop
    endpoints: tuple[Endpoint, ...]
    lanes: Lanes[ServiceLane]
    content_bytes: int
    exchange: Exchange
    series: Series
    field_count: int


class KnownCalls:
    """What is known of one caller's requests from one peer, by their kind (`way_in.kind_of`).

    len: how many kinds.
    whole: kind and rest of a request that came again as it was, to be found at a glance. usual: the call, and
        the rest, that it stands for.

    Args:
        parser: parts the sealed heads.
    """

    __slots__ = ("_calls", "_last", "_parser", "_repeats", "_start", "usual", "whole")

    def __init__(self, parser: HeadParser) -> None:
        self._parser = parser
        self._calls: dict[bytes, KnownCall] = {}
        self._repeats = Repeats()
        self._start = b"\r\n"  # what the last kind begins with; no kind begins so
        self._last: KnownCall | None = None
        self.whole = b""
        self.usual: tuple[KnownCall, bytes] | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, kind: bytes) -> KnownCall | None:
        """The call of this kind."""
        return self._calls.get(kind)

    def keep(self, kind: bytes, call: KnownCall) -> None:
        """Remember a call."""
        self._calls[kind] = self._last = call
        self._start = kind[:-2]
        self.whole, self.usual = b"", None  # it may stand for what this one replaces

    def find(self, message: bytes, start: int, end: int) -> tuple[KnownCall, bytes] | None:
        """Find the call that a sealed request is one of, by its head.

        Args:
            message: service and head stand in it from `start` to `end`.

        Returns:
            The call, and the rest of the head, which is in order; None when the long way has to judge it.
        """
        whole = self.whole
        if whole and end - start == len(whole) and message.startswith(whole, start):
            return self.usual
        parting, limits, call = self._parser.parting, self._parser.limits, self._last
        whole, rest_start = message[start:end], start + len(self._start)
        # out proxies write first what decides: the last kind needn't be put together to be known again
        if message.startswith(self._start, start) and not parting.has_deciding(message, rest_start, end):
            rest = message[rest_start:end]
        else:
            kind, rest = parting.part(whole)
            call = self._calls.get(kind)
            self._last, self._start = (None, b"\r\n") if call is None else (call, kind[:-2])
        if (
            call is None
            or ORDINARY.fullmatch(rest) is None
            or rest.count(b"\n") + call.field_count > limits.header_count + 1
            or len(whole) > limits.header_bytes
        ):
            return None
        found = call, rest
        if self._repeats.again(whole):
            self.whole, self.usual = whole, found
        return found


class Taken(Struct, frozen=True):
    """A request that the short way has opened, and leaves to the long one.

    received: what it opened. is_counted: it was found within the limit of exchanges, and counts towards its
        rate already. begun: when it was sent already.
    """

    received: Received
    is_counted: bool = False
    begun: Begun | None = None


class LongWay(Protocol):
    """The proxy that a short way belongs to.

    in_flight: exchanges at this time, those on the short way among them.
    """

    in_flight: int


class ShortWay:
    """A short way through the in proxy.

    Args:
        proxy: goes on with whatever is not ordinary. limiter: how often.
        recorder: writes the access log.
        in_flight_limit: bound on exchanges at a time.
        clock: monotonic time in seconds.
    """

    __slots__ = ("_clock", "_in_flight_limit", "_limiter", "_long_way", "_recorder")

    def __init__(
        self,
        proxy: LongWay,
        limiter: RateLimiter,
        recorder: Recorder,
        in_flight_limit: int,
        clock: Callable[[], float],
    ) -> None:
        self._long_way = proxy
        self._limiter = limiter
        self._recorder = recorder
        self._in_flight_limit = in_flight_limit
        self._clock = clock

    def _is_open(self, call: KnownCall) -> bool:
        """Whether all is as it was when the call was made known."""
        return (
            self._long_way.in_flight < self._in_flight_limit and call.hop.source.endpoints is call.endpoints
        )

    def _end(
        self, flight: ServiceFlight, status: int, bytes_in: int, bytes_out: int, cause: str = ""
    ) -> None:
        """Count a call that is over, and log it."""
        self._long_way.in_flight -= 1
        call = flight.call
        call.series.finish(status, self._clock() - flight.started_s, bytes_in, bytes_out, cause)
        if self._recorder.logs:
            self._recorder.short(
                call.exchange, flight.exchange_id.decode(), flight.started_s, flight.lane.endpoint, status,
                cause, (bytes_in, bytes_out),
            )  # fmt: skip

    def land(self, flight: ServiceFlight, head: ResponseHead, content: bytes) -> bool:
        """Send an answer back; False when it is not an ordinary one, or its connection isn't."""
        raise NotImplementedError

    def divert(self, flight: ServiceFlight, answer: Waiter[Response]) -> None:
        """Let the long way go on."""
        raise NotImplementedError

    def forget(self, flight: ServiceFlight) -> None:
        """Note a call whose caller is gone."""
        raise NotImplementedError


class ServiceFlight(Struct, eq=False):
    """One call on the short way; its connection to the service reports to it as to a `Waiter`.

    deadline: monotonic time in seconds.
    """

    flow: ShortWay
    call: KnownCall
    lane: ServiceLane
    upstream: ClientConnection
    exchange_id: bytes
    started_s: float
    deadline: float

    @property
    def phase(self) -> str:
        return "wait"

    @property
    def interim_to(self) -> Inform | None:
        """Gets the service's interim answers; None where they can't go on."""
        return None

    def set_whole(self, head: ResponseHead, content: bytes) -> None:
        """The answer has come."""
        try:
            if self.flow.land(self, head, content):
                return
        except Exception as error:  # the long way has an answer to everything
            self.fail(error)
        else:
            self.flow.divert(self, Waiter(done=True, result=Response(head, content)))

    def set(self, value: Response) -> None:
        """The head of an answer has come, or one that is out of the ordinary."""
        self.flow.divert(self, Waiter(done=True, result=value))

    def fail(self, error: BaseException) -> None:
        """There will be no answer."""
        self.flow.divert(self, Waiter(done=True, error=error))

    def throw(self, error: ProxyError) -> None:
        """Its time is up."""
        self.upstream.abandon(self)
        self.fail(error)

    def cancel(self) -> None:
        """The out proxy is gone, or wants no answer."""
        self.upstream.abandon(self)
        self.flow.forget(self)
