"""What the in proxy's short ways share: what was decided on calls of one kind, and how one of them ends.

`in_flow` is the short way of envelopes, `link_flow` that of links; `out_flow` tells what a short way is, and
its rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec import Struct

from fastproxy.errors import ProxyError
from fastproxy.model import NO_FIELDS, Endpoint, Exchange, Inform, Response, ResponseHead
from fastproxy.net.client import ClientConnection
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import SIZED, HeadParser, Repeats, length_line, part_length
from fastproxy.net.parting import ORDINARY
from fastproxy.policy.ratelimit import Limiter, Rate
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.lanes import Lanes
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.to_service import ServiceLane
from fastproxy.proxy.transport import Begun
from fastproxy.proxy.way_in import Received
from fastproxy.telemetry.metrics import CALLER_GONE, Series

KNOWN_CALLS = 256
"""Bounds memory: each takes up to 8 KiB with lanes to four endpoints; `lanes.LANES` bounds all lanes."""


class KnownCall(Struct, frozen=True):
    """What is decided on the requests of one caller, from one peer, whose sealed heads decide the same.

    rate, rate_key: how often, and whose rate it counts towards.
    hop: the way to the service. endpoints: its endpoints then. lanes: to each of them.
    exchange: the one that showed the way; the access log's lines of the others are like its own.
    series: where calls are counted.
    field_count: how many fields of the head decide.
    """

    rate: Rate | None
    rate_key: tuple[str, str]
    hop: NextHop
    endpoints: tuple[Endpoint, ...]
    lanes: Lanes[ServiceLane]
    exchange: Exchange
    series: Series
    field_count: int


class KnownCalls:
    """What is known of one caller's requests from one peer, by their kind (`way_in.kind_of`).

    len: how many kinds.
    whole, content_bytes: service and head of a request that came again as it was, and how much came with it:
        to be found at a glance. usual: what `find` says of it.

    Args:
        parser: parts the sealed heads.
    """

    __slots__ = (
        "_calls",
        "_is_sized",
        "_last",
        "_parser",
        "_repeats",
        "_start",
        "content_bytes",
        "usual",
        "whole",
    )

    def __init__(self, parser: HeadParser) -> None:
        self._parser = parser
        self._calls: dict[bytes, KnownCall] = {}
        self._repeats = Repeats()
        self._last: KnownCall | None = None
        # What its heads begin with when out proxies of ours write them, first what decides, and whether the
        # length follows.
        self._start, self._is_sized = b"", False
        self.whole = b""
        self.content_bytes = 0
        self.usual: tuple[KnownCall, bytes] | None = None

    def __len__(self) -> int:
        return len(self._calls)

    def get(self, kind: bytes) -> KnownCall | None:
        """The call of this kind."""
        return self._calls.get(kind)

    def keep(self, kind: bytes, call: KnownCall) -> None:
        """Remember a call."""
        self._calls[kind] = call
        self._note_last(kind, call)
        self.whole, self.usual = b"", None  # it may stand for what this one replaces

    def _note_last(self, kind: bytes, call: KnownCall) -> None:
        self._last, self._is_sized = call, kind.endswith(SIZED)
        self._start = kind[: -len(SIZED if self._is_sized else NO_FIELDS)]

    def find(self, message: bytes, start: int, end: int) -> tuple[KnownCall, bytes] | None:
        """Find the call that a sealed request is one of, by its head.

        Args:
            message: the request. Service and head stand in it from `start` to `end`, the content behind them.

        Returns:
            The call, and how its head ends: with the line of the length, if it has one, and the rest, both in
            order. None when the long way has to judge it.
        """
        whole, content_bytes = self.whole, len(message) - end
        if (
            whole
            and content_bytes == self.content_bytes
            and end - start == len(whole)
            and message.startswith(whole, start)
        ):
            return self.usual
        limits = self._parser.limits
        if end - start > limits.header_bytes or not limits.allow_body(content_bytes):
            return None
        found = self._find_last(message, start, end) or self._find_kind(message, start, end)
        if found is not None and self._repeats.again(message[start:end]):
            self.whole, self.content_bytes, self.usual = message[start:end], content_bytes, found
        return found

    def _find_last(self, message: bytes, start: int, end: int) -> tuple[KnownCall, bytes] | None:
        """Find the call if it is the last one again, and laid out as our own out proxies do."""
        call, content_bytes, tail_start = self._last, len(message) - end, start + len(self._start)
        if call is None or not message.startswith(self._start, start):
            return None
        framing = length_line(content_bytes) if self._is_sized else b""
        rest_start = tail_start + len(framing)
        if (
            not message.startswith(framing, tail_start)
            or (content_bytes and not framing)
            or self._parser.parting.has_deciding(message, rest_start, end)
            or not self._is_in_order(call, message, rest_start, end)
        ):
            return None
        return call, message[tail_start:end]

    def _find_kind(self, message: bytes, start: int, end: int) -> tuple[KnownCall, bytes] | None:
        """Find the call wherever what decides stands in the head."""
        deciding, rest = self._parser.parting.part(message[start:end])
        kind, length = part_length(deciding)
        call = self._calls.get(kind)
        if (
            call is None
            or (length or 0) != len(message) - end
            or not self._is_in_order(call, rest, 0, len(rest))
        ):
            return None
        self._note_last(kind, call)
        return call, rest if length is None else length_line(length) + rest

    def _is_in_order(self, call: KnownCall, message: bytes, start: int, end: int) -> bool:
        """Whether `message[start:end]`, without a deciding field, is the rest of a head that is in order."""
        return (
            ORDINARY.fullmatch(message, start, end) is not None
            and message.count(b"\n", start, end) + call.field_count <= self._parser.limits.header_count + 1
        )


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

    in_flight: exchanges at this time, those on the short way among them. in_flight_limit: how many there may
        be before the long way has to ask for more.
    """

    in_flight: int
    in_flight_limit: int


class ShortWay:
    """A short way through the in proxy.

    Args:
        proxy: goes on with whatever is not ordinary. limiter: how often.
        recorder: writes the access log.
        clock: monotonic time in seconds.
    """

    __slots__ = ("_clock", "_limiter", "_long_way", "_recorder")

    def __init__(
        self,
        proxy: LongWay,
        limiter: Limiter,
        recorder: Recorder,
        clock: Callable[[], float],
    ) -> None:
        self._long_way = proxy
        self._limiter = limiter
        self._recorder = recorder
        self._clock = clock

    def _end(
        self,
        flight: ServiceFlight,
        status: int,
        bytes_in: int,
        bytes_out: int,
        came_s: float,
        cause: str = "",
    ) -> None:
        """Count a call that is over, and log it.

        Args:
            came_s: when the answer came, or what ended it; monotonic time in seconds.
        """
        self._long_way.in_flight -= 1
        now_s = self._clock()
        own_s = flight.own_s + now_s - came_s
        try:
            flight.call.series.finish(status, now_s - flight.started_s, own_s, bytes_in, bytes_out, cause)
            if self._recorder.logs:
                self._recorder.short(
                    flight.call.exchange, flight.exchange_id.decode(), flight.started_s, flight.lane.endpoint,
                    status, cause, (bytes_in, bytes_out), flight,
                )  # fmt: skip
        except Exception:  # nobody may be answered twice for that
            self._recorder.not_counted(flight.exchange_id.decode())

    def _forsake(self, flight: ServiceFlight, bytes_in: int) -> None:
        """Note a call whose caller is gone."""
        self._end(flight, 0, bytes_in, 0, self._clock(), CALLER_GONE)
        self._recorder.short_forsaken(
            flight.call.exchange,
            flight.exchange_id.decode(),
            flight.started_s,
            flight.deadline,
            flight.lane.endpoint,
        )

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

    deadline: monotonic time in seconds. own_s: what this proxy has spent on it until it was sent.
    """

    flow: ShortWay
    call: KnownCall
    lane: ServiceLane
    upstream: ClientConnection
    exchange_id: bytes
    started_s: float
    deadline: float
    own_s: float

    @property
    def phase(self) -> str:
        return "wait"

    @property
    def sealed_head(self) -> bytes:
        """What was sealed in front of the content: the request's head, and more."""
        raise NotImplementedError

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
