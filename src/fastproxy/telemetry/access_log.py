"""The access log: one line of JSON per exchange, at the hop that writes it.

Which exchanges are sampled follows from their id alone, so that both proxies write about the same ones.
The lines of one turn of the loop leave together, at its end (`LineOutput.hold`). Those of exchanges on the
short way differ in little: what they share is spelled once, and put around the rest.
The query stays out unless asked for: it often holds what nobody should read in a log.
Knows nothing of how an exchange is carried out; it reads the `Exchange` when it is over.
"""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

import msgspec

from fastproxy.model import Endpoint, Exchange, TimedExchange
from fastproxy.telemetry.log import timestamp
from fastproxy.telemetry.output import LineOutput

_MOST_SPELLED = 1024
"""How many are kept: there is one for each head and peer on the short way, mostly."""
_MILLISECONDS = tuple(b'%03dZ","id":"' % number for number in range(1000))
_TRACED = b',"trace_id":"%b"}\n'
_encode = msgspec.json.Encoder().encode


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
    trace_id: str = ""


class Spelled(NamedTuple):
    """What the lines of exchanges that went alike have in common, as JSON.

    exchange, endpoint: one of them, and its own; to hold them keeps their addresses from becoming another's.
    middle: from hop up to the time that it took. phases: from behind the sizes up to the time that it waited,
    which is the same. end: the rest.
    """

    exchange: Exchange
    endpoint: Endpoint
    middle: bytes
    phases: bytes
    end: bytes


class AccessLog:
    """Writes a line for each exchange, or for a fraction of them.

    Args:
        hop: name of this proxy.
        fraction: of the exchanges to write about, from 0 (off) to 1 (all).
        output: where the lines go; None only when it is off.
        with_query: write the query too.
    """

    __slots__ = (
        "_hop",
        "_output",
        "_sampled_below",
        "_second",
        "_second_shown",
        "_spelled",
        "_with_query",
        "on",
    )

    def __init__(
        self, hop: str, fraction: float, output: LineOutput | None, with_query: bool = False
    ) -> None:
        self._hop = hop
        self._with_query = with_query
        self._sampled_below = fraction * 2**32
        self._output = output
        # by address of exchange and endpoint, status and cause
        self._spelled: dict[tuple[int, int, int, str], Spelled] = {}
        # how lines of this second begin
        self._second = 0
        self._second_shown = b""
        self.on = fraction > 0 and output is not None
        """Whether anything is ever written: the one test per request while it is off."""

    def wants(self, exchange_id: str) -> bool:
        """Say whether an exchange is among the sampled ones."""
        return self._sampled_below == 2**32 or crc32(exchange_id.encode()) < self._sampled_below

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
        line = AccessLine(
            ts=timestamp(now_unix_s),
            id=exchange.id,
            hop=self._hop,
            caller=exchange.caller,
            service=exchange.service,
            route=exchange.route,
            method=exchange.method.decode(errors="replace"),
            path=self._path(exchange),
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
            trace_id=exchange.trace_id,
        )
        self._output.hold(_encode(line) + b"\n")

    def write_short(
        self,
        known: Exchange,
        exchange_id: str,
        duration_s: float,
        now_unix_s: float,
        endpoint: Endpoint,
        status: int,
        cause: str,
        sizes: tuple[int, int],
        trace_id: str = "",
    ) -> None:
        """Write the line for an exchange that ended on the short way, if it is a sampled one.

        It reads as `write` would have it, of an exchange that waited for one attempt all the time.

        Args:
            known: an earlier exchange that all but the other arguments are taken from.
            exchange_id, endpoint, status, cause, trace_id: its own. duration_s: how long it took.
            now_unix_s: the wall clock, in seconds.
            sizes: bytes of content in and out.
        """
        if self._output is None or not self.wants(exchange_id):
            return
        spelled = self._spelled.get((id(known), id(endpoint), status, cause)) or self._spell(
            known, endpoint, status, cause
        )
        second = int(now_unix_s)
        if second != self._second:
            self._second = second
            self._second_shown = b'{"ts":"' + timestamp(second)[:-4].encode()
        # Ours have letters and digits only; another's may have more, and is escaped like any string.
        shown_id = exchange_id.encode() if exchange_id.isalnum() else _encode(exchange_id)[1:-1]
        waited_ms = _encode(_ms(duration_s))
        # Joined, since pieces that are there take no time: with a format string it was 0.1 to 0.2 µs more.
        self._output.hold(
            b"".join(
                (
                    self._second_shown,
                    _MILLISECONDS[int((now_unix_s - second) * 1000)],
                    shown_id,
                    spelled.middle,
                    waited_ms,
                    b',"bytes_in":',
                    _encode(sizes[0]),
                    b',"bytes_out":',
                    _encode(sizes[1]),
                    spelled.phases,
                    waited_ms,
                    spelled.end if not trace_id else spelled.end[:-2] + _TRACED % trace_id.encode(),
                )
            )
        )

    def settle(self) -> None:
        """Write what is held, and from now on each line at once: the process ends."""
        if self._output is not None:
            self._output.settle()

    def _spell(self, known: Exchange, endpoint: Endpoint, status: int, cause: str) -> Spelled:
        if len(self._spelled) >= _MOST_SPELLED:
            self._spelled.clear()
        shared = {
            "hop": self._hop,
            "caller": known.caller,
            "service": known.service,
            "route": known.route,
            "method": known.method.decode(errors="replace"),
            "path": self._path(known),
            "status": status,
        }
        failed = {"cause": cause, "phase": "wait"} if cause else {}
        last = {"endpoint": str(endpoint), "attempts": 1} | ({"peer": known.peer} if known.peer else {})
        spelled = Spelled(
            known,
            endpoint,
            b'",' + _encode(shared)[1:-1] + b',"duration_ms":',
            b"," + _encode(failed | {"phases_ms": {"wait": 0}}).removeprefix(b"{").removesuffix(b"0}}"),
            b',"answer":0.0},' + _encode(last)[1:] + b"\n",
        )
        self._spelled[id(known), id(endpoint), status, cause] = spelled
        return spelled

    def _path(self, exchange: Exchange) -> str:
        path = exchange.path if self._with_query else exchange.path.partition(b"?")[0]
        return path.decode(errors="replace")


def _ms(seconds: float) -> float:
    return int(seconds * 1_000_000 + 0.5) / 1000


def _phases_ms(exchange: Exchange, now_s: float) -> dict[str, float]:
    """Time from each mark to the next, the last one up to now; a phase entered again adds up."""
    phases_s: dict[str, float] = {}
    marks = exchange.marks if isinstance(exchange, TimedExchange) else []
    following = [*marks[1:], ("", now_s)]
    for (phase, entered_s), (_, end_s) in zip(marks, following, strict=False):
        phases_s[phase] = phases_s.get(phase, 0.0) + end_s - entered_s
    return {phase: _ms(spent_s) for phase, spent_s in phases_s.items()}
