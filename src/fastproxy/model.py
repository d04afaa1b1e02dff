"""Request, response and exchange as every layer above sees them; bodies are streams.

A `Body` yields pieces. One that arrived whole with its head says so in `whole`, so that the hot path
handles small messages without a single suspension; everything else reads piece by piece.
Knows nothing of sockets, sealing or policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import NamedTuple, Protocol

Headers = list[tuple[bytes, bytes]]
"""Header fields in the order in which they came; names as they were spelled, values without outer spaces."""

FieldBlock = bytes
"""Header fields as they go on: judged, serialised anew, each with its line end. What a hop needs to know of
them was taken out when they were parsed, so that nothing has to take them apart again."""


class Body(Protocol):
    """The content of a message, read once, from front to back.

    whole: the entire content when it is already here, else None; trailers never come with a whole body.
    length: number of bytes when the sender declared it, else None.
    started: whether anything of it was read; a body is read once.
    trailers: the trailer fields; complete once `read` has returned b"".
    """

    whole: bytes | None
    length: int | None
    started: bool
    trailers: Headers

    async def read(self) -> bytes:
        """Return the next piece, never empty before the end; b"" at the end.

        Raises:
            ProxyError: the sender broke off, or broke a rule or a limit.
        """
        ...

    def close(self) -> None:
        """Say that the rest is not wanted. Safe to call at any time, more than once."""
        ...


class WholeBody:
    """A body that is here entirely."""

    __slots__ = ("length", "started", "trailers", "whole")

    def __init__(self, content: bytes) -> None:
        self.whole: bytes | None = content
        self.length: int | None = len(content)
        self.trailers: Headers = []
        self.started = False

    async def read(self) -> bytes:
        """Return the content at the first call, b"" after."""
        if self.started:
            return b""
        self.started = True
        return self.whole or b""

    def close(self) -> None:
        """Nothing to release."""


@dataclass(slots=True)
class Request:
    """One request, parsed and checked.

    method: as sent, e.g. b"POST".
    target: origin form (path and query), exactly as it will be forwarded; b"*" for OPTIONS only.
    fields: end-to-end fields only; Host, framing and hop-by-hop fields are not among them.
    host: the authority that the request is for, or b"" (HTTP/1.0 without Host).
    body: the content; `WholeBody(b"")` when there is none.
    has_body: whether the message declared a content, be it of zero bytes.
    absolute: the target came in absolute form.
    peer: the address of the connection's other end, for logs and Forwarded.
    control: values of the fields that the proxy itself consumes, by lower-case name; not among `fields`.
    """

    method: bytes
    target: bytes
    fields: FieldBlock
    host: bytes
    body: Body
    has_body: bool = False
    absolute: bool = False
    peer: str = ""
    control: dict[bytes, bytes] | None = None


@dataclass(slots=True)
class Response:
    """One response, parsed and checked.

    fields: end-to-end fields only. body: `WholeBody(b"")` when there is none.
    declared_length: Content-Length of an answer that carries none of the content itself
        (HEAD, 304), passed on as it is.
    has_date: whether a Date field is among the fields; the first recipient adds a missing one.
    """

    status: int
    reason: bytes
    fields: FieldBlock
    body: Body
    declared_length: int | None = None
    has_date: bool = True


class Exchange:
    """One request and its response, as one hop sees it; what logs and metrics say of it stands here.

    id: the same at both hops. caller, service, route: names from the config, "" until they are known.
    phase: where it stands now, a word of the error table. started, deadline: monotonic time, seconds.
    status, cause: of the answer; cause is a label of the error table, "" when nothing went wrong.
    """

    __slots__ = (
        "attempts",
        "caller",
        "cause",
        "deadline",
        "endpoint",
        "id",
        "method",
        "path",
        "peer",
        "phase",
        "route",
        "service",
        "started",
        "status",
    )

    def __init__(self, exchange_id: str, started: float, peer: str) -> None:
        self.id = exchange_id
        self.started = started
        self.peer = peer
        self.deadline = inf
        self.caller = ""
        self.service = ""
        self.route = ""
        self.method = b""
        self.path = b""
        self.phase = "read"
        self.endpoint: Endpoint | None = None
        self.attempts = 0
        self.status = 0
        self.cause = ""


class TimedExchange(Exchange):
    """An exchange that notes when it enters each phase; for the access log, paid only when that is on.

    marks: (phase, monotonic time it was entered).
    """

    __slots__ = ("_clock", "_phase", "marks")

    def __init__(self, exchange_id: str, started: float, peer: str, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.marks: list[tuple[str, float]] = []
        super().__init__(exchange_id, started, peer)

    @property
    def phase(self) -> str:
        """Where it stands now."""
        return self._phase

    @phase.setter
    def phase(self, phase: str) -> None:
        self._phase = phase
        self.marks.append((phase, self._clock()))


class Endpoint(NamedTuple):
    """One address of a service or a receiver, resolved.

    host: an IP address, or the path of a Unix socket when port is 0.
    authority: what stands in the Host header and in logs: `name:port` as configured.
    """

    host: str
    port: int
    authority: str = ""

    def __str__(self) -> str:
        return self.authority or f"{self.host}:{self.port}"


@lru_cache(1024)
def host_field(endpoint: Endpoint) -> bytes:
    """Return what a Host header says of an endpoint; a Unix socket has no name, so it is localhost."""
    return str(endpoint).encode() if endpoint.port else b"localhost"
