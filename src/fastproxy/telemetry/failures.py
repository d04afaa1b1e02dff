"""The last failures and refusals of one process: why an exchange, or a link, didn't come about.

Kept for whoever asks why, by cause, so that a flood of one kind hides no other. Nothing is kept of what went
well. Bounded in number and in bytes: each is a record of its own, with its texts cut; of a path the query is
left out, as it often holds what nobody should read, and no header or content gets here.
Pure: values in, values out. Knows nothing of how a record gets to whoever asks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import msgspec
from msgspec import Struct, field

from fastproxy.errors import TABLE, Numbers, ProxyError
from fastproxy.model import Exchange
from fastproxy.telemetry.metrics import UNKNOWN

HERE, NEXT_HOP = "here", "next hop"
"""Who has decided: this proxy, or the one that it forwards to, whose words these are then."""
HANDSHAKE = "handshake"
"""Phase of a link that didn't come about, and what the names of its causes begin with."""
TEXT_CHARACTERS = 300
"""What is kept of each text."""
LIMIT_BYTES = 262_144
"""Of all records of a process; of a cause with the most records the oldest make way."""
_MOST_NUMBERS = 12
_DIGITS = 6
"""Behind the point of seconds that come of subtracting: what follows is noise."""


class Failure(Struct, kw_only=True):
    """One of them.

    exchange: its id, the same at both proxies; "" of what never became one. trace_id: "" where there is none.
    at_unix_s: when it was over, or broke. hop, role: the proxy that says so.
    phase: in which it failed, at the hop that has decided.
    cause: label of the error table, `caller_gone`, or why a link wasn't made.
    status: of the answer, 0 where there was none. title, advice: what the cause says to people.
    detail: the particulars. endpoint: of the last attempt. duration_s: from the request's first byte.
    numbers: what decided it, by names with units.
    origin: HERE or NEXT_HOP. is_enforced: False for what passed all the same, under `enforce: report`.
    """

    exchange: str = ""
    trace_id: str = ""
    at_unix_s: float
    hop: str = ""
    role: str = ""
    phase: str
    cause: str
    status: int = 0
    title: str = ""
    detail: str = ""
    advice: str = ""
    caller: str = ""
    service: str = ""
    route: str = ""
    method: str = ""
    path: str = ""
    endpoint: str = ""
    attempts: int = 0
    peer: str = ""
    duration_s: float = 0.0
    numbers: dict[str, float | str] = {}
    origin: str = field(default=HERE, name="from")
    is_enforced: bool = True


class Wanted(Struct, frozen=True):
    """Which failures are asked for; "" leaves a field open. limit: how many at most, the newest."""

    exchange: str = ""
    cause: str = ""
    caller: str = ""
    service: str = ""
    trace: str = ""
    limit: int = 50

    def has(self, failure: Failure) -> bool:
        """Whether it is among them."""
        return (
            self.exchange in ("", failure.exchange)
            and self.cause in ("", failure.cause)
            and self.caller in ("", failure.caller)
            and self.service in ("", failure.service)
            and self.trace in ("", failure.trace_id)
        )


class Failures:
    """Keeps them, for as long as the process runs.

    Args:
        role: of the proxy, "out" or "in".
    """

    __slots__ = ("_bytes", "_encode", "_hop", "_kept_per_cause", "_role", "_rows")

    def __init__(self, role: str) -> None:
        self._role = role
        self._hop = ""
        self._kept_per_cause = 0
        self._rows: dict[tuple[str, bool], deque[bytes]] = {}
        self._bytes = 0
        self._encode = msgspec.msgpack.Encoder().encode

    def begin(self, hop: str, kept_per_cause: int) -> None:
        """Keep with another config from now on; 0 keeps nothing, and what is kept goes.

        Args:
            hop: name of this proxy. kept_per_cause: as the config says.
        """
        self._hop = hop
        self._kept_per_cause = kept_per_cause
        for row in self._rows.values():
            while len(row) > kept_per_cause:
                self._bytes -= len(row.popleft())

    def add(self, failure: Failure) -> None:
        """Keep one; `hop` and `role` are this proxy's, and texts are cut."""
        if not self._kept_per_cause:
            return
        failure.hop, failure.role = self._hop, self._role
        row = self._rows.setdefault((failure.cause, failure.is_enforced), deque())
        if len(row) >= self._kept_per_cause:
            self._bytes -= len(row.popleft())
        record = self._encode(_cut(failure))
        row.append(record)
        self._bytes += len(record)
        while self._bytes > LIMIT_BYTES:
            self._bytes -= len(max(self._rows.values(), key=len).popleft())

    def find(self, wanted: Wanted) -> list[Failure]:
        """Return those that are asked for, the newest first."""
        records = (record for row in self._rows.values() for record in row)
        return newest((msgspec.msgpack.decode(record, type=Failure) for record in records), wanted)

    def all(self) -> list[bytes]:
        """Return all records, each as MessagePack."""
        return [record for row in self._rows.values() for record in row]


def newest(failures: Iterable[Failure], wanted: Wanted) -> list[Failure]:
    """Return those of some failures that are asked for, the newest first."""
    found = sorted(filter(wanted.has, failures), key=lambda failure: failure.at_unix_s, reverse=True)
    return found[: wanted.limit]


def failure_of(exchange: Exchange, error: ProxyError, now_s: float, now_unix_s: float) -> Failure:
    """Return what is kept of an exchange that this proxy has refused, or could not carry through.

    Args:
        now_s: monotonic time in seconds. now_unix_s: seconds since 1970.
    """
    failure = failure_without_words(exchange, error.cause.label, now_s, now_unix_s)
    failure.phase, failure.status, failure.detail = error.phase, error.cause.status, error.detail
    failure.numbers |= error.numbers
    if error.retry_after_s is not None:
        failure.numbers.setdefault("retry_after_s", error.retry_after_s)
    return failure


def failure_without_words(exchange: Exchange, cause: str, now_s: float, now_unix_s: float) -> Failure:
    """Return what is kept of an exchange that failed, of which only the cause is known; as above."""
    numbers: dict[str, float | str] = {}
    if exchange.deadline < float("inf"):
        numbers["timeout_s"] = round(exchange.deadline - exchange.started, _DIGITS)
        numbers["budget_left_s"] = round(exchange.deadline - now_s, _DIGITS)
    return Failure(
        exchange=exchange.id,
        trace_id=exchange.trace_id,
        at_unix_s=now_unix_s,
        phase=exchange.phase,
        cause=cause,
        status=exchange.status,
        caller=exchange.caller,
        service=exchange.service,
        route=exchange.route,
        method=exchange.method.decode(errors="replace"),
        path=exchange.path.partition(b"?")[0].decode(errors="replace"),
        endpoint="" if exchange.endpoint is None else str(exchange.endpoint),
        attempts=exchange.attempts,
        peer=exchange.peer,
        duration_s=now_s - exchange.started,
        numbers=numbers,
    )


def failure_of_handshake(label: str, detail: str, numbers: Numbers, peer: str, now_unix_s: float) -> Failure:
    """Return what is kept of a link that didn't come about.

    Args:
        label, detail, numbers: of the error. peer: address that it was wanted from.
    """
    return Failure(
        at_unix_s=now_unix_s,
        phase=HANDSHAKE,
        cause=f"{HANDSHAKE}_{label}",
        detail=detail,
        peer=peer,
        numbers=dict(numbers),
    )


def known_cause(label: str) -> str:
    """Return a cause that another hop names, or "unknown" for one that it has made up."""
    return label if label in TABLE else UNKNOWN


def _cut(failure: Failure) -> Failure:
    """Cut what is too long for a record; returns the same failure."""
    for name in failure.__struct_fields__:
        value = getattr(failure, name)
        if isinstance(value, str) and len(value) > TEXT_CHARACTERS:
            setattr(failure, name, value[: TEXT_CHARACTERS - 1] + "…")
    if len(failure.numbers) > _MOST_NUMBERS:
        failure.numbers = dict(list(failure.numbers.items())[:_MOST_NUMBERS])
    return failure
