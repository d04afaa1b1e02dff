"""Requests that come over links, at the in proxy: the short way of ordinary calls, and the entry to the long.

The link has proven the caller; its rate and its time are checked anew for each request.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, cast

from fastproxy.errors import ProxyError
from fastproxy.model import Inform, Response, ResponseHead
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import HeadParser
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.link.receiver import ReceiverLink, Sealed
from fastproxy.policy.ratelimit import Limiter
from fastproxy.proxy.known_call import KnownCall, KnownCalls, LongWay, ServiceFlight, ShortWay, Taken
from fastproxy.proxy.link_receiver import PACKED_START_BYTES, LinkReceiver
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.transport import Begun
from fastproxy.wire.envelope import is_token
from fastproxy.wire.link.frames import END, HEADER, LENGTH_BITS, MAX_DATA_BYTES, RESPONSE

_START = struct.Struct(">IIB")
"""What a whole request begins with: length of the head, the budget, length of the exchange id."""
KINDS_PER_LINK = 32
"""Kinds of requests that are known of a link. Each takes up to 8 KiB, and a caller may have many links."""
_START_BYTES = _START.size
_RESPONSE_END = (RESPONSE | END) << LENGTH_BITS


class StreamWay(LongWay, Protocol):
    """The proxy that this short way belongs to."""

    def handle_stream(self, stream: ReceivedStream, taken: Taken) -> Coroutine[Any, None, None]: ...


class LinkFlight(ServiceFlight):
    """One call that came over a link. payload: the frame that it came in, content_bytes of it its content."""

    link: ReceiverLink
    stream_id: int
    payload: bytes
    content_bytes: int

    @property
    def interim_to(self) -> Inform:
        """Gets the service's interim answers."""
        return self._pass_on

    @property
    def sealed_head(self) -> bytes:
        """What came in front of the content."""
        return self.payload[: len(self.payload) - self.content_bytes]

    def _pass_on(self, head: ResponseHead) -> None:
        self.link.inform(self.stream_id, head)


class LinkFlow(ShortWay):
    """All requests that come over links.

    Args: as for `ShortWay`, and
        receiver: judges requests for the long way.
        make_calls: makes what is known of the requests on one link.
    """

    __slots__ = ("_make_calls", "_parser", "_proxy", "_receiver")

    def __init__(
        self,
        proxy: StreamWay,
        receiver: LinkReceiver,
        limiter: Limiter,
        recorder: Recorder,
        clock: Callable[[], float],
        make_calls: Callable[[HeadParser], KnownCalls] = KnownCalls,
    ) -> None:
        super().__init__(proxy, limiter, recorder, clock)
        self._proxy = proxy
        self._make_calls = make_calls
        self._receiver = receiver
        self._parser = receiver.parser

    def begin(self, link: ReceiverLink, stream_id: int, payload: bytes) -> bool:
        """Send a whole request to its service; see `StreamHandler`."""
        if len(payload) < _START_BYTES:
            return False
        now_s = link.read_s  # what stands behind others in one read waits here, and nowhere else
        meta_bytes, budget_ms, id_bytes = _START.unpack_from(payload)
        meta_end, id_end = 4 + meta_bytes, _START_BYTES + id_bytes
        known = link.known
        if known is None:
            return False
        whole, content_bytes = known.whole, len(payload) - meta_end
        if (
            whole
            and content_bytes == known.content_bytes
            and meta_end - id_end == len(whole)
            and payload.startswith(whole, id_end)
        ):
            call, rest = known.usual  # found at a glance
        elif (found := known.find(payload, id_end, meta_end)) is not None:
            call, rest = found
        else:
            return False
        hop, exchange_id = call.hop, payload[_START_BYTES:id_end]
        proxy = self._proxy
        if (
            not (exchange_id.isalnum() or is_token(exchange_id))  # ours are, at a twentieth of the time
            or proxy.in_flight >= proxy.in_flight_limit
            or hop.source.endpoints is not call.endpoints
        ):
            return False
        if call.rate is not None:  # within its rate? Only then it has a turn
            try:
                self._limiter.check(call.rate_key, call.rate, now_s)
            except ProxyError:
                return False
        if content_bytes:
            link.arrived(content_bytes)
            link.consumed(content_bytes)
        lane, failing = next(call.lanes.in_turn), hop.balancer.failing
        if lane is None:
            return self._pass_on(link, stream_id, payload, None)
        if failing and lane.endpoint in failing:
            call.lanes.leave(lane)
            return self._pass_on(link, stream_id, payload, None)
        left_s = hop.timeout_s
        if 0 < budget_ms < left_s * 1000:
            left_s = budget_ms / 1000
        try:
            upstream = lane.send(exchange_id, left_s, rest, payload[meta_end:])
        except Exception as error:  # the long way has an answer to everything
            begun = Begun(now_s, lane, Waiter(done=True, error=error))
            return self._pass_on(link, stream_id, payload, begun)
        if upstream is None:
            call.lanes.leave(lane)
            return self._pass_on(link, stream_id, payload, None)
        deadline = now_s + left_s
        flight = LinkFlight(
            self, call, lane, upstream, exchange_id, now_s, deadline, self._clock() - now_s,
            link, stream_id, payload, content_bytes,
        )  # fmt: skip
        link.streams[stream_id] = flight
        upstream.carry(flight)
        proxy.in_flight += 1
        link.arm(deadline)
        return True

    def _pass_on(self, link: ReceiverLink, stream_id: int, payload: bytes, begun: Begun | None) -> bool:
        """The long way goes on with a request that counts towards its rate already."""
        meta_end = 4 + int.from_bytes(payload[:4], "big")
        sealed = Sealed(payload[4:meta_end], payload[meta_end:], is_whole=True)
        taken = Taken(self._receiver.receive(link.caller, sealed, None), is_counted=True, begun=begun)
        stream = ReceivedStream(link, stream_id, is_whole=True, expects=False)
        stream.bytes_in = len(sealed.data)
        link.streams[stream_id] = stream
        stream.start(self._proxy.handle_stream(stream, taken))
        return True

    def handle(self, stream: ReceivedStream, request: Sealed) -> Coroutine[Any, None, None]:
        """Answer a request on the long way; see `StreamHandler`."""
        return self._proxy.handle_stream(
            stream, Taken(self._receiver.receive(stream.link.caller, request, stream))
        )

    def recall(self, origin: ReceivedStream, caller: str, kind: bytes) -> KnownCall | None:
        """What is known of this kind of request on this link; see `ShortWayIn`."""
        known: KnownCalls | None = origin.link.known
        return None if known is None else known.get(kind)

    def keep(self, origin: ReceivedStream, caller: str, kind: bytes, call: KnownCall) -> None:
        """Remember what was decided; see `ShortWayIn`."""
        link = origin.link
        if not link.is_served_by(self):  # it was decided by a former config: nobody else may go by it
            return
        if link.known is None or len(link.known) >= KINDS_PER_LINK:
            link.known = self._make_calls(self._parser)
        link.known.keep(kind, call)

    def land(self, flight: ServiceFlight, head: ResponseHead, content: bytes) -> bool:
        """Send an answer back; see `ShortWay`."""
        assert type(flight) is LinkFlight
        came_s = self._clock()
        link, size_bytes, packed = flight.link, len(content), head.plan
        if packed is None or size_bytes > MAX_DATA_BYTES or size_bytes > link.credit or link.choked:
            return False
        start, stream_id = packed[PACKED_START_BYTES:], flight.stream_id
        link.credit -= size_bytes
        del link.streams[stream_id]
        link.send(
            b"".join((HEADER.pack(_RESPONSE_END | (len(start) + size_bytes), stream_id), start, content))
        )
        self._end(flight, head.status, flight.content_bytes, size_bytes, came_s)
        if link.draining:
            link.finished()
        return True

    def divert(self, flight: ServiceFlight, answer: Waiter[Response]) -> None:
        """Let the long way go on."""
        flight = cast(LinkFlight, flight)
        self._proxy.in_flight -= 1
        begun = Begun(flight.started_s, flight.lane, answer)
        if not flight.link.closed:
            self._pass_on(flight.link, flight.stream_id, flight.payload, begun)

    def forget(self, flight: ServiceFlight) -> None:
        """Note a call whose caller is gone."""
        self._forsake(flight, cast(LinkFlight, flight).content_bytes)
