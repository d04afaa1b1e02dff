"""The access log: one line of JSON per exchange, at the hop that writes it.

Which exchanges are sampled follows from their id alone, so that both proxies write about the same ones.
The lines of one turn of the loop leave together, at its end (`LineOutput.hold`).
The query stays out unless asked for: it often holds what nobody should read in a log.
Knows nothing of how an exchange is carried out; it reads the `Exchange` when it is over.
"""

from __future__ import annotations

from zlib import crc32

import msgspec

from fastproxy.model import Exchange, TimedExchange
from fastproxy.telemetry.log import timestamp
from fastproxy.telemetry.output import LineOutput


class AccessLine(msgspec.Struct, omit_defaults=True):
    """What a line says; fields that have nothing to say are left out.

    phase: where the exchange ended, when it didn't go well. phases_ms: time spent in each phase.
    """

    ts: str
    id: str
    hop: str
    caller: str
    service: str
    route: str
    method: str
    path: str
    status: int
    duration_ms: float
    bytes_in: int
    bytes_out: int
    cause: str = ""
    phase: str = ""
    phases_ms: dict[str, float] = {}
    endpoint: str = ""
    attempts: int = 0
    peer: str = ""


class AccessLog:
    """Writes a line for each exchange, or for a fraction of them.

    Args:
        hop: name of this proxy.
        fraction: of the exchanges to write about, from 0 (off) to 1 (all).
        output: where the lines go; None only when it is off.
        with_query: write the query too.
    """

    __slots__ = ("_encode", "_hop", "_output", "_sampled_below", "_with_query", "on")

    def __init__(
        self, hop: str, fraction: float, output: LineOutput | None, with_query: bool = False
    ) -> None:
        self._hop = hop
        self._with_query = with_query
        self._sampled_below = fraction * 2**32
        self._encode = msgspec.json.Encoder().encode
        self._output = output
        self.on = fraction > 0 and output is not None
        """Whether anything is ever written: the one test per request while it is off."""

    def wants(self, exchange_id: str) -> bool:
        """Say whether an exchange is among the sampled ones."""
        return crc32(exchange_id.encode()) < self._sampled_below

    def write(
        self, exchange: Exchange, now_s: float, now_unix_s: float, bytes_in: int, bytes_out: int
    ) -> None:
        """Write the line for an exchange that is over, if it is a sampled one.

        Args:
            exchange: what is known of it; the `marks` of a timed one become the phase times.
            now_s: the clock of the exchange's marks.
            now_unix_s: the wall clock, in seconds.
            bytes_in: content bytes of the request.
            bytes_out: content bytes of the answer.
        """
        if self._output is None or not self.wants(exchange.id):
            return
        path = exchange.path if self._with_query else exchange.path.partition(b"?")[0]
        line = AccessLine(
            ts=timestamp(now_unix_s),
            id=exchange.id,
            hop=self._hop,
            caller=exchange.caller,
            service=exchange.service,
            route=exchange.route,
            method=exchange.method.decode(errors="replace"),
            path=path.decode(errors="replace"),
            status=exchange.status,
            duration_ms=_ms(now_s - exchange.started),
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            cause=exchange.cause,
            phase=exchange.phase if exchange.cause else "",
            phases_ms=_phases_ms(exchange, now_s),
            endpoint="" if exchange.endpoint is None else str(exchange.endpoint),
            attempts=exchange.attempts,
            peer=exchange.peer,
        )
        self._output.hold(self._encode(line) + b"\n")

    def settle(self) -> None:
        """Write what is held, and from now on each line at once: the process ends."""
        if self._output is not None:
            self._output.settle()


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _phases_ms(exchange: Exchange, now_s: float) -> dict[str, float]:
    """Time from each mark to the next, the last one up to now; a phase entered again adds up."""
    phases_s: dict[str, float] = {}
    marks = exchange.marks if isinstance(exchange, TimedExchange) else []
    following = [*marks[1:], ("", now_s)]
    for (phase, entered_s), (_, end_s) in zip(marks, following, strict=False):
        phases_s[phase] = phases_s.get(phase, 0.0) + end_s - entered_s
    return {phase: _ms(spent_s) for phase, spent_s in phases_s.items()}
