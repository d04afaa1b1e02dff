"""What is noted of every exchange: metrics, the access log, traces; of what failed a log line and a record.

Both proxies note the same things in the same words. Nothing here can fail or hold up an exchange, and no log
call formats anything while nobody listens.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol, cast

import msgspec
from msgspec import Struct

from fastproxy.errors import RECEIVER_REFUSED, ProxyError
from fastproxy.model import Content, Endpoint, Exchange, FieldBlock, TimedExchange
from fastproxy.proxy.taps import Watching
from fastproxy.telemetry.access_log import AccessLog
from fastproxy.telemetry.failures import (
    NEXT_HOP,
    Failure,
    Failures,
    failure_of,
    failure_without_words,
    known_cause,
)
from fastproxy.telemetry.metrics import CALLER_GONE, Metrics, Series
from fastproxy.telemetry.trace_context import trace_id_in

if TYPE_CHECKING:
    from fastproxy.telemetry.tracing import TracedExchange, Tracer

_PROBLEM_BYTES = 16_384
"""Of a refusal of the next hop, what is read to the end for its words."""

_LOG = logging.getLogger("fastproxy.exchange")


class ShortFlight(Protocol):
    """A call on the short way. sealed_head: what names its trace, if anything does, and more."""

    @property
    def sealed_head(self) -> bytes: ...


class _Problem(Struct):
    """What is kept of the document in which the next hop tells of its refusal (`answer.py`)."""

    phase: str = ""
    detail: str = ""


class Recorder:
    """Notes exchanges of one proxy.

    logs: whether there is an access log. tracer: traces exchanges; None where that is off.
    exchange_type: makes an exchange of its id, the time (monotonic, seconds) and the peer.

    Args:
        metrics: counts them. access_log: writes a line for each. failures: keeps those that failed.
        tracer: as above.
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
    """

    __slots__ = (
        "_access_log",
        "_clock",
        "_failures",
        "_known",
        "_metrics",
        "_unix_clock",
        "_usual_type",
        "_watch",
        "exchange_type",
        "logs",
        "tracer",
    )

    def __init__(
        self,
        metrics: Metrics,
        access_log: AccessLog,
        failures: Failures,
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
        tracer: Tracer | None = None,
    ) -> None:
        self._metrics = metrics
        self._failures = failures
        self.tracer = tracer
        self.logs = access_log.on
        self._known = metrics.known
        # its phases are timed only when somebody will read the times
        self.exchange_type: Callable[[str, float, str], Exchange] = Exchange
        if tracer is not None:
            self.exchange_type = partial(tracer.exchange_type, clock=clock)
        elif access_log.on:
            self.exchange_type = partial(TimedExchange, clock=clock)
        self._usual_type = self.exchange_type
        self._watch: Watching | None = None
        self._access_log = access_log
        self._clock = clock
        self._unix_clock = unix_clock

    def be_watched(self, watch: Watching | None) -> None:
        """Have exchanges seen by taps from now on, with the times of their phases; with None, no more."""
        self._watch = watch
        self.exchange_type = self._usual_type
        if watch is not None and self._usual_type is Exchange:
            self.exchange_type = partial(TimedExchange, clock=self._clock)

    def series(self, caller: str, service: str, route: str = "") -> Series:
        """Find where the exchanges of a caller on a route of a service are counted."""
        return self._metrics.series(caller, service, route)

    def begin(self, exchange_id: str, peer: str) -> Exchange:
        """Begin an exchange."""
        return self.exchange_type(exchange_id, self._clock(), peer)

    def resume(self, exchange_id: str, started_s: float, peer: str) -> Exchange:
        """Begin the exchange of a call that has waited on the short way since `started_s`."""
        exchange = self.exchange_type(exchange_id, started_s, peer)
        exchange.waited_s = self._clock() - started_s
        if isinstance(exchange, TimedExchange):
            exchange.marks.append(("wait", started_s))
        return exchange

    def short(
        self,
        known: Exchange,
        exchange_id: str,
        started_s: float,
        endpoint: Endpoint,
        status: int,
        cause: str,
        sizes: tuple[int, int],
        flight: ShortFlight,
    ) -> None:
        """Write the access log's line of an exchange that ended on the short way, which counts it itself.

        Args:
            known: an earlier exchange that all but the others are taken from.
            exchange_id, started_s, endpoint: its own; monotonic time in seconds.
            status, cause: of the answer, 0 and CALLER_GONE when the caller went away before it.
            sizes: bytes of content in and out. flight: the exchange itself.
        """
        trace_id = "" if self.tracer is None else trace_id_in(flight.sealed_head)
        self._access_log.write_short(
            known, exchange_id, self._clock() - started_s, self._unix_clock(), endpoint, status, cause, sizes,
            trace_id,
        )  # fmt: skip

    def find_trace(self, exchange: Exchange, fields: FieldBlock) -> None:
        """Have what is said of an exchange that went wrong name its trace, however early it did.

        Args:
            fields: of the request's head.
        """
        if exchange.trace_id:
            return
        if self.tracer is None:
            exchange.trace_id = trace_id_in(fields)
        elif not cast("TracedExchange", exchange).is_judged:
            self.tracer.begin(cast("TracedExchange", exchange), fields)

    def failed(self, exchange: Exchange, error: ProxyError) -> None:
        """This hop refuses the exchange, or could not carry it through."""
        self._log("refused" if error.cause.status < 500 else "failed", exchange, error, error.phase)
        failure = failure_of(exchange, error, self._clock(), self._unix_clock())
        if error.cause.label == RECEIVER_REFUSED.label:
            failure.origin = NEXT_HOP
        self._failures.add(failure)

    def refused_by_next_hop(self, exchange: Exchange, content: Content) -> None:
        """The in proxy refuses the exchange, and says so in an answer that it has sealed.

        Args:
            exchange: has the cause. content: of that answer.
        """
        failure = self._of_now(exchange, known_cause(exchange.cause))
        failure.origin = NEXT_HOP
        if type(content) is bytes and len(content) <= _PROBLEM_BYTES:
            try:
                problem = msgspec.json.decode(content, type=_Problem)
            except (msgspec.DecodeError, UnicodeDecodeError):
                problem = _Problem()  # to HEAD it has none
            failure.phase, failure.detail = problem.phase or exchange.phase, problem.detail
        self._failures.add(failure)

    def broke_off(self, exchange: Exchange, error: BaseException) -> None:
        """The answer had begun, or nobody waits for it any more: the exchange can't be told how it ended.

        What was noted of it already stays as it is. Mistakes of this proxy are reported elsewhere.
        """
        if exchange.cause:
            return
        if isinstance(error, ProxyError):
            exchange.cause = error.cause.label
            self._log("broken off", exchange, error, exchange.phase)
            failure = failure_of(exchange, error, self._clock(), self._unix_clock())
            failure.phase, failure.status = exchange.phase, exchange.status
            self._failures.add(failure)
        elif isinstance(error, CancelledError):
            exchange.cause = CALLER_GONE
            self._failures.add(self._of_now(exchange, CALLER_GONE))

    def short_forsaken(
        self, known: Exchange, exchange_id: str, started_s: float, deadline: float, endpoint: Endpoint
    ) -> None:
        """Keep that nobody waits any more for an exchange on the short way, which is counted there.

        Args:
            known: an earlier exchange that all but the other arguments are taken from. deadline: its own.
        """
        exchange = Exchange(
            exchange_id, started_s, known.peer, deadline, known.caller, known.service, known.route,
            known.method, known.path, "wait", endpoint, 1,
        )  # fmt: skip
        self._failures.add(self._of_now(exchange, CALLER_GONE))

    def not_counted(self, exchange_id: str) -> None:
        """Tell of a fault that kept an exchange from being counted or logged; its answer has left."""
        _LOG.exception("an exchange was answered, and can't be counted", extra={"exchange": exchange_id})

    def _of_now(self, exchange: Exchange, cause: str) -> Failure:
        return failure_without_words(exchange, cause, self._clock(), self._unix_clock())

    def would_refuse(self, exchange: Exchange, error: ProxyError) -> None:
        """This hop lets pass what it will refuse once refusals are enforced."""
        self._metrics.series(exchange.caller, exchange.service, exchange.route).report(error.cause.label)
        self._log("would refuse, once refusals are enforced", exchange, error, error.phase)
        failure = failure_of(exchange, error, self._clock(), self._unix_clock())
        failure.is_enforced = False
        self._failures.add(failure)

    def end(self, exchange: Exchange, bytes_in: int, bytes_out: int, waited_s: float = 0.0) -> None:
        """The answer is through, or has broken off.

        Args:
            bytes_in, bytes_out: of bodies at the caller's side.
            waited_s: for how long it stood still on the long way, for whatever it waited.
        """
        now_s = self._clock()
        key = exchange.caller, exchange.service, exchange.route
        series = self._known.get(key) or self._metrics.series(*key)
        duration_s = now_s - exchange.started
        own_s = duration_s - exchange.waited_s - waited_s
        series.finish(exchange.status, duration_s, own_s, bytes_in, bytes_out, exchange.cause)
        if exchange.attempts > 1:
            series.retries += exchange.attempts - 1
        if exchange.cause and exchange.cause != CALLER_GONE:
            series.refuse(exchange.cause)
        if self._access_log.on:
            self._access_log.write(exchange, now_s, self._unix_clock(), bytes_in, bytes_out)
        if self.tracer is not None:
            self.tracer.end(cast("TracedExchange", exchange), now_s, self._unix_clock(), bytes_in, bytes_out)
        if self._watch is not None:
            self._watch.end(exchange, now_s, self._unix_clock(), bytes_in, bytes_out)

    def challenged(self) -> None:
        """A sender asked for this receiver's epoch, or was told of a new one; no exchange took place."""
        self._metrics.challenges += 1

    def _log(self, message: str, exchange: Exchange, error: ProxyError, phase: str) -> None:
        level = logging.WARNING if error.cause.status >= 500 else logging.INFO
        if not _LOG.isEnabledFor(level):
            return
        _LOG.log(
            level,
            message,
            extra={
                "exchange": exchange.id,
                **({"trace_id": exchange.trace_id} if exchange.trace_id else {}),
                "cause": error.cause.label,
                "phase": phase,
                "detail": error.detail,
                "numbers": dict(error.numbers),
                "caller": exchange.caller,
                "service": exchange.service,
                "endpoint": str(exchange.endpoint) if exchange.endpoint else "",
                "attempts": exchange.attempts,
                "peer": exchange.peer,
            },
        )
