"""Which exchanges are traced, and what is kept of those: one server span each, with a span for each phase.

An exchange that comes with a sampled parent continues its trace; one whose parent isn't sampled passes as it
came; one without a parent begins a trace by chance, as the rules say. The next hop sees this proxy's span as
its parent. While an exchange runs, nothing is made of it but its ids: what is known when it is over is handed
on as plain values, and made into spans elsewhere (`otlp`), on another thread.
Knows nothing of OpenTelemetry's SDK, nor of how spans leave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from math import inf, log
from typing import NamedTuple

from msgspec import Struct

from fastproxy.model import FieldBlock, TimedExchange
from fastproxy.telemetry.trace_context import RANDOM, SAMPLED, TraceContext, find, replaced

NAMES_LIMIT = 4096
"""Pairs of caller and service whose rule is remembered."""
PHASES_LIMIT = 16
"""Phases of one exchange that get a span; protects memory from an exchange that is tried for hours."""
_PATH_BYTES, _METHOD_BYTES = 512, 32
"""What is kept of what a caller may make long."""
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8


class Rule(NamedTuple):
    """What part of the exchanges of some callers with some services begins a trace.

    callers, services: names, `*` for any characters. fraction: from 0 to 1.
    """

    callers: tuple[str, ...]
    services: tuple[str, ...]
    fraction: float


class Trace(NamedTuple):
    """The span of an exchange at this hop. parent_id: of the hop before, "" where the trace begins here."""

    own: TraceContext
    parent_id: str


class TracedExchange(TimedExchange, kw_only=True):
    """An exchange that may be part of a trace that is recorded.

    trace: its span, None when it isn't recorded. is_judged: whether it was found out whether it is.
    """

    trace: Trace | None = None
    is_judged: bool = False


class Traced(Struct, frozen=True):
    """What is known of a traced exchange when it is over.

    started_unix_s, ended_unix_s: Unix time in seconds. phases: names, and from when to when.
    endpoint: "" when it came to none. bytes_in, bytes_out: content of request and answer.
    """

    trace: Trace
    started_unix_s: float
    ended_unix_s: float
    phases: tuple[tuple[str, float, float], ...]
    exchange: str
    caller: str
    service: str
    route: str
    method: str
    path: str
    status: int
    cause: str
    failed_phase: str
    endpoint: str
    attempts: int
    peer: str
    bytes_in: int
    bytes_out: int

    @property
    def spans(self) -> int:
        """How many spans it makes."""
        return 1 + len(self.phases)


class Chance:
    """Says of exchanges, one after the other, whether they begin a trace.

    How many don't until the next one does is drawn beforehand, so that one that doesn't costs a subtraction,
    and a short way can ask without deciding.

    Args:
        fraction: from 0 (none) to 1 (all). random: numbers from 0 up to 1.
    """

    __slots__ = ("_left", "_log_miss", "_random")

    def __init__(self, fraction: float, random: Callable[[], float]) -> None:
        self._random = random
        self._log_miss = 0.0 if fraction <= 0 else -inf if fraction >= 1 else log(1 - fraction)
        self._left = self._gap()

    def passes(self) -> bool:
        """Whether the next one begins no trace; then it counts as gone by."""
        if self._left <= 1:
            return False
        self._left -= 1
        return True

    def hits(self) -> bool:
        """Whether this one begins a trace."""
        if self.passes():
            return False
        self._left = self._gap()
        return True

    def _gap(self) -> float:
        """How many exchanges up to and with the next one that begins a trace: distributed geometrically."""
        if not self._log_miss:
            return inf
        return 1 + log(1 - self._random()) // self._log_miss


_NO_CHANCE = Chance(0, float)


class Tracer:
    """Traces the exchanges of one proxy.

    exchange_type: what all of them have to be.

    Args:
        rules: for exchanges without a parent; the first that fits counts, none begins a trace where none
        does.
        take: gets what is known of each traced exchange; never blocks.
        random: numbers from 0 up to 1. random_bytes: so many of them.
    """

    __slots__ = ("_by_names", "_chances", "_random_bytes", "_rules", "_take")
    exchange_type = TracedExchange

    def __init__(
        self,
        rules: Sequence[Rule],
        take: Callable[[Traced], None],
        random: Callable[[], float],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._rules = tuple(rules)
        self._chances = [Chance(rule.fraction, random) for rule in rules]
        self._by_names: dict[tuple[str, str], Chance] = {}
        self._take = take
        self._random_bytes = random_bytes

    def passes(self, caller: str, service: str, fields: FieldBlock) -> bool:
        """Whether a request goes on as it came, with nothing recorded: then it may take the short way.

        Args:
            caller, service: names from the config. fields: of its head (see `trace_context.find`).
        """
        parent, is_broken = find(fields, reads_state=False)
        if parent is not None:
            return not parent.is_sampled
        return not is_broken and self._chance(caller, service).passes()

    def begin(self, exchange: TracedExchange, fields: FieldBlock, *, may_start: bool = True) -> FieldBlock:
        """Find out whether an exchange is part of a trace, and note it there.

        Args:
            exchange: caller and service are known, or never will be.
            fields: of the request's head (see `trace_context.find`).
            may_start: False where the request has left already, as it came.

        Returns:
            The fields for the next hop.
        """
        exchange.is_judged = True
        parent, is_broken = find(fields)
        if parent is not None:
            exchange.trace_id = parent.trace_id
            if not parent.is_sampled:
                return fields
            own, parent_id = parent._replace(span_id=self._random_bytes(_SPAN_ID_BYTES).hex()), parent.span_id
        else:
            if not may_start:
                return fields
            hits = self._chance(exchange.caller, exchange.service).hits()
            if not hits and not is_broken:
                return fields
            own, parent_id = self._new(SAMPLED if hits else 0), ""
            exchange.trace_id = own.trace_id
        if own.is_sampled:
            exchange.trace = Trace(own, parent_id)
        return replaced(fields, own)

    def end(
        self, exchange: TracedExchange, now_s: float, now_unix_s: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Hand on what is known of an exchange that is over, if it is traced. Arguments as for the access
        log."""
        trace, exchange.trace = exchange.trace, None
        if trace is None:
            return
        marks, offset_s = exchange.marks[:PHASES_LIMIT], now_unix_s - now_s
        ends_s = [entered_s for _, entered_s in exchange.marks[1:]] + [now_s]
        phases = tuple(
            (phase, entered_s + offset_s, end_s + offset_s)
            for (phase, entered_s), end_s in zip(marks, ends_s, strict=False)
        )
        self._take(
            Traced(
                trace,
                exchange.started + offset_s,
                now_unix_s,
                phases,
                exchange.id,
                exchange.caller,
                exchange.service,
                exchange.route,
                exchange.method[:_METHOD_BYTES].decode(errors="replace"),
                exchange.path.partition(b"?")[0][:_PATH_BYTES].decode(errors="replace"),
                exchange.status,
                exchange.cause,
                exchange.phase if exchange.cause else "",
                str(exchange.endpoint) if exchange.endpoint else "",
                exchange.attempts,
                exchange.peer,
                bytes_in,
                bytes_out,
            )
        )

    def _chance(self, caller: str, service: str) -> Chance:
        """The chance of exchanges of a caller with a service: that of the first rule that fits them."""
        chance = self._by_names.get((caller, service))
        if chance is None:
            if len(self._by_names) >= NAMES_LIMIT:
                self._by_names.clear()
            fitting = (
                of
                for rule, of in zip(self._rules, self._chances, strict=True)
                if _fits(rule, caller, service)
            )
            chance = self._by_names[caller, service] = next(fitting, _NO_CHANCE)
        return chance

    def _new(self, flags: int) -> TraceContext:
        ids = self._random_bytes(_TRACE_ID_BYTES + _SPAN_ID_BYTES).hex()
        return TraceContext(ids[: 2 * _TRACE_ID_BYTES], ids[2 * _TRACE_ID_BYTES :], flags | RANDOM)


def _fits(rule: Rule, caller: str, service: str) -> bool:
    return _is_any(caller, rule.callers) and _is_any(service, rule.services)


def _is_any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
