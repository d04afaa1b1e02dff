"""Request, response and exchange as every layer above sees them; bodies are streams.

Content that is here entirely is `bytes`; everything else is a `Body` that is read piece by piece. So the hot
path handles a small message without a single suspension, and nothing ever has to be held whole.
Knows nothing of sockets, sealing or policy.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import inf
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

Headers = list[tuple[bytes, bytes]]
"""Header fields in the order in which they came; names as they were spelled, values without outer spaces."""

FieldBlock = bytes
"""Header fields as they go on: judged, serialised anew, each with its line end. What a hop needs to know of
them was taken out when they were parsed, so that nothing has to take them apart again."""


class Body(Protocol):
    """The content of a message that is still on its way, read once, from front to back.

    length: number of bytes when the sender declared it, else None.
    started: whether anything of it was read.
    trailers: the trailer fields; complete once `read` has returned b"".
    """

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


Content = bytes | Body
"""What a message carries: bytes when all of it is here."""


class RequestHead:
    """The deciding part of a request's head, judged and taken apart (`net.parting`).

    Requests whose heads decide the same share it: only `plans`, `flows` and `spelled` change. Fields that
    decide nothing, a trace id or a token say, are each request's own (`Request.rest`).

    kind: its bytes, but for the length that it declares. field_count: how many fields it has.
    method: as sent, e.g. b"POST". minor: HTTP/1.minor.
    target: origin form (path and query); b"*" for OPTIONS only.
    host: the authority that the request is for, or b"" (HTTP/1.0 without Host).
    fields: its end-to-end fields only; Host, framing and hop-by-hop fields are not among them.
    left_out: lower-case names of fields that Connection says end here; none of the rest has one.
    control: values of the fields that the proxy itself consumes, by lower-case name, repeated ones joined by
        ", "; they are not among `fields`.
    absolute: the target came in absolute form.
    length: Content-Length, or None; framing: the line that says so. chunked: the body comes in chunks.
    content_bytes: how many bytes of content follow, -1 when the head can't tell.
    keep_alive: the connection may go on. expects_continue: the body comes after a 100 (Continue).
    upgrade: the protocols that the sender asks to go over to, in lower case, b"" for none. Such a request has
        no body; its content is what the sender says in the other protocol, once the answer is a 101.
    is_plain: its answer goes as most do: with a body, over HTTP/1.1, on a connection that stays.
    plans: what a proxy decided on requests with this head, so that it needn't decide again.
    flows: by peer, what takes such requests the short way (`net.flight`).
    spelled: the bytes of a whole head that many say again and again, and the rest in it; empty if none do.
    """

    __slots__ = (
        "absolute",
        "chunked",
        "content_bytes",
        "control",
        "expects_continue",
        "field_count",
        "fields",
        "flows",
        "framing",
        "host",
        "is_plain",
        "keep_alive",
        "kind",
        "left_out",
        "length",
        "method",
        "minor",
        "plans",
        "spelled",
        "target",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, minor: int) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.kind = b""
        self.field_count = 0
        self.fields: FieldBlock = b""
        self.left_out: frozenset[bytes] = frozenset()
        self.control: dict[bytes, bytes] = {}
        self.host = b""
        self.absolute = False
        self.length: int | None = None
        self.framing = b""
        self.chunked = False
        self.content_bytes = 0
        self.keep_alive = minor == 1
        self.expects_continue = False
        self.upgrade = b""
        self.is_plain = False
        self.plans: dict[Any, Any] = {}
        self.flows: dict[str, Any] = {}
        self.spelled = (b"", b"")

    def of_length(self, length: int, framing: bytes) -> RequestHead:
        """Return what a head says that declares another length; whatever is decided on one holds for both."""
        other = RequestHead(self.method, self.target, self.minor)
        other.kind, other.field_count = self.kind, self.field_count
        other.fields, other.left_out, other.control = self.fields, self.left_out, self.control
        other.host, other.absolute, other.keep_alive = self.host, self.absolute, self.keep_alive
        other.expects_continue, other.is_plain = self.expects_continue, self.is_plain
        other.plans, other.flows = self.plans, self.flows
        other.length = other.content_bytes = length
        other.framing = framing
        return other

    @property
    def has_body(self) -> bool:
        """Whether the message declares a content, be it of zero bytes."""
        return self.chunked or self.length is not None


class ResponseHead:
    """A response's head, judged and taken apart; shared like a request's: only `plan` changes.

    start: status line and end-to-end fields, each with its line end, as they go on; those of a 101 with the
        lines that say what HTTP is left for.
    length: Content-Length, or None. chunked: the body comes in chunks.
    content_bytes: how many bytes of content follow unless the request was a HEAD, -1 when only their end
        can tell.
    has_date: whether a Date field is among the fields; the first recipient adds a missing one.
    bodiless: no content goes with this status (RFC 9110, section 6.4.1).
    upgrade: the protocol that a 101 goes over to, in lower case; its content is what is said in it.
    keep_alive, minor: as in `RequestHead`. plan: what a proxy made of this head, to make it only once.
    """

    __slots__ = (
        "bodiless",
        "chunked",
        "content_bytes",
        "has_date",
        "keep_alive",
        "length",
        "minor",
        "plan",
        "start",
        "status",
        "upgrade",
    )

    def __init__(self, status: int, start: bytes = b"", *, minor: int = 1, has_date: bool = True) -> None:
        self.status = status
        self.start = start
        self.minor = minor
        self.length: int | None = None
        self.chunked = False
        self.content_bytes = 0
        self.keep_alive = minor == 1
        self.has_date = has_date
        self.bodiless = status in (204, 304)
        self.upgrade = b""
        self.plan: Any = None

    @property
    def switches(self) -> bool:
        """Whether both sides leave HTTP behind this head."""
        return bool(self.upgrade)


NO_FIELDS: FieldBlock = b"\r\n"
"""A rest of a head that is only the empty line."""


class Request(Struct):
    """One request.

    peer: the address of the connection's other end, for logs and Forwarded.
    rest: the fields that go on beside those of the head, and the empty line that ends them.
    """

    head: RequestHead
    content: Content
    peer: str = ""
    rest: FieldBlock = NO_FIELDS


class Response(Struct):
    """One response. The content of an answer to HEAD, or of one without a body, is b""."""

    head: ResponseHead
    content: Content


Inform = Callable[[ResponseHead], None]
"""Takes the head of an interim answer."""


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


class Exchange(Struct):
    """One request and its response, as one hop sees it; what logs and metrics say of it stands here.

    id: the same at both hops. started, deadline: monotonic time, seconds.
    caller, service, route: names from the config, "" until they are known.
    phase: where it stands now, a word of the error table.
    status, cause: of the answer; cause is a label of the error table, "" when nothing went wrong.
    trace_id: of the trace that it belongs to, "" when there is none, or none is looked for.
    inform: passes interim (1xx) answers but 101 on to whoever made the request, until the final one comes.
    waited_s: for how long it was on the short way before it came to the long one.
    seen: what taps have seen of it so far (`proxy.seen`), None while nobody taps.
    """

    id: str
    started: float
    peer: str
    deadline: float = inf
    caller: str = ""
    service: str = ""
    route: str = ""
    method: bytes = b""
    path: bytes = b""
    phase: str = "read"
    endpoint: Endpoint | None = None
    attempts: int = 0
    status: int = 0
    cause: str = ""
    trace_id: str = ""
    inform: Inform | None = None
    waited_s: float = 0.0
    seen: object = None


class TimedExchange(Exchange, kw_only=True):
    """An exchange that notes when it enters each phase; for the access log and traces, paid only when one is
    on.

    clock: monotonic time in seconds. marks: (phase, time it was entered).
    """

    clock: Callable[[], float]
    marks: list[tuple[str, float]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "phase":
            self.marks.append((value, self.clock()))
        super().__setattr__(name, value)


@lru_cache(1024)
def host_field(endpoint: Endpoint) -> bytes:
    """Return what a Host header says of an endpoint; a Unix socket has no name, so it is localhost."""
    return str(endpoint).encode() if endpoint.port else b"localhost"
