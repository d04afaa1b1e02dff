"""What the admin API tells, as types: what is sent, and what the document says of it, are made from these.

Times are Unix seconds; names have units. Lists are bounded: `truncated` says that one was cut.
Failures are told as they are kept (`telemetry.failures.Failure`), changes of a config as they are found.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from fastproxy.config.changes import Change
from fastproxy.telemetry.failures import Failure
from fastproxy.telemetry.log import Level

CONTENT_BYTES = 16_384
"""Of each content, that a tap shows at most."""
MOST_ROWS = 1000
"""Of any list."""


class Problem(Struct, frozen=True):
    """Why a request wasn't answered (RFC 9457).

    title: the status in words. detail: what is wrong, and what to do.
    """

    type: str
    title: str
    status: int
    detail: str


class WorkerNow(Struct, frozen=True):
    """A process that carries exchanges.

    number: in logs and metrics. state: starting, ready or draining. resident_bytes: memory, as it said last.
    in_flight: exchanges under way. connections: of callers or out proxies, links not among them.
    links: taken by an in proxy. loop_lag_s: the latest that its event loop came to what was due, in the last
    minute.
    """

    number: int
    pid: int
    state: str
    resident_bytes: float
    in_flight: int
    connections: int
    links: int
    loop_lag_s: float


class ProcessesNow(Struct, frozen=True):
    """All processes of a proxy together, the supervisor among them.

    cpu_s: that they have used so far, those that are gone included. resident_bytes: memory.
    """

    cpu_s: float
    resident_bytes: float


class ProxyNow(Struct, frozen=True):
    """A proxy.

    started_unix_s: since when it counts. not_ready: why it should get no traffic, "" when it may.
    loaded_unix_s: when the config in force was taken.
    """

    name: str
    role: Literal["out", "in"]
    version: str
    started_unix_s: float
    is_ready: bool
    not_ready: str
    config_file: str
    loaded_unix_s: float
    workers: list[WorkerNow]
    process: ProcessesNow


class ConfigNow(Struct, frozen=True):
    """The config in force.

    config: every setting by its name in the file, with defaults; each secret is "(redacted)". Keys of
    callers are public. truncated: not all callers are among them.
    """

    file: str
    config: dict[str, Any]
    truncated: bool


class FailuresKept(Struct, frozen=True):
    """Failures and refusals, the newest first."""

    failures: list[Failure]
    truncated: bool


class ExchangeStory(Struct, frozen=True):
    """What this proxy knows of one exchange: that it failed, and how. The other proxy knows its own part."""

    exchange: str
    failures: list[Failure]


class OutcomeCounted(Struct, frozen=True):
    """Exchanges that ended in one way.

    outcome: 2xx and the like, or aborted. cause: why it didn't go well, "" when it did. buckets: how many of
    them took how long, one more than there are bounds. duration_s_sum: of all of them.
    """

    outcome: str
    cause: str
    count: int
    duration_s_sum: float
    buckets: list[int]


class TrafficRow(Struct, frozen=True):
    """What is counted of one caller, service and route; numbers only go up.

    route: "" at an out proxy, and where none was decided. bytes_in, bytes_out: content of requests and of
    answers. retries: attempts beyond the first. refusals: of this proxy, by cause. would_refuse: what passed
    only because refusals are reported, by cause.
    """

    caller: str
    service: str
    route: str
    bytes_in: int
    bytes_out: int
    retries: int
    refusals: dict[str, int]
    would_refuse: dict[str, int]
    outcomes: list[OutcomeCounted]


class OwnShareRow(Struct, frozen=True):
    """What this proxy itself has spent on exchanges with a service, without waiting for others; only goes up.

    buckets: how many took how long, one more than there are `own_bounds_s`. duration_s_sum: of all of them.
    """

    service: str
    count: int
    duration_s_sum: float
    buckets: list[int]


class Traffic(Struct, frozen=True):
    """Who has called what since `started_unix_s` of the proxy.

    at_unix_s: when that was so. bounds_s, own_bounds_s: upper ones of the buckets. own: this proxy's own
    share of it, by service.
    """

    at_unix_s: float
    bounds_s: list[float]
    rows: list[TrafficRow]
    own_bounds_s: list[float]
    own: list[OwnShareRow]
    truncated: bool


class CallerNow(Struct, frozen=True):
    """A caller that this proxy knows.

    proof: by what it is known: key, certificate, or compat (shared keys, or its word). key_ids: of the keys
    that count now. tls_id: the name in its certificate. not_after_unix_s: when the first of its keys ends.
    """

    name: str
    proof: Literal["key", "certificate", "compat"]
    key_ids: list[str]
    tls_id: str
    has_psk: bool
    not_after_unix_s: float | None


class Callers(Struct, frozen=True):
    """The callers that are known, by name."""

    callers: list[CallerNow]
    truncated: bool


class EndpointNow(Struct, frozen=True):
    """One address of a service, or of its receiver.

    state: failing when it is avoided since it took no connection, unknown while nothing leads to it.
    open: connections, or links. idle: of these, unused. in_flight: exchanges that go there now.
    """

    address: str
    state: Literal["ok", "failing", "unknown"]
    open: int
    idle: int
    in_flight: int


class ServiceNow(Struct, frozen=True):
    """A service.

    transport: link, http or compat at an out proxy; plain at an in proxy. receiver: in front of it, "" here.
    discovery_age_s: since its endpoints were last confirmed; null where they never were.
    """

    name: str
    transport: str
    receiver: str
    timeout_s: float
    discovery_age_s: float | None
    endpoints: list[EndpointNow]


class Services(Struct, frozen=True):
    """The services of the config. Of each at most 1,000 endpoints are told."""

    services: list[ServiceNow]
    truncated: bool


class LinkNow(Struct, frozen=True):
    """A link.

    direction: out at the out proxy that made it, in at the in proxy that took it. peer: address of the other
    end. key_id: of the key that has proven the other end, "" with a certificate. streams_open: exchanges
    under way, streams: so far. sent_bytes, received_bytes, rtt_s: as the kernel counts; null where it
    doesn't.
    """

    direction: Literal["out", "in"]
    worker: int
    peer: str
    caller: str
    receiver: str
    security: Literal["noise", "tls"]
    key_id: str
    opened_unix_s: float
    is_leaving: bool
    streams_open: int
    streams: int
    sent_bytes: int | None
    received_bytes: int | None
    rtt_s: float | None


class Links(Struct, frozen=True):
    """The links that are there, of all workers."""

    links: list[LinkNow]
    truncated: bool


class IdentityNow(Struct, frozen=True):
    """A key, or this proxy's certificate.

    kind: whose it is: a caller's, or a receiver's. is_own: this proxy proves itself by it. key_id: "" of a
    certificate. not_after_unix_s: its date, null without one. uses: links and sessions made with it.
    open: of these, those that are there. first_used_unix_s, last_used_unix_s: null when it never was.
    """

    name: str
    kind: Literal["caller", "receiver"]
    key_id: str
    is_own: bool
    not_after_unix_s: float | None = None
    uses: int = 0
    open: int = 0
    first_used_unix_s: float | None = None
    last_used_unix_s: float | None = None


class Identities(Struct, frozen=True):
    """Keys and certificates: this proxy's own first, then those that were used last."""

    identities: list[IdentityNow]
    truncated: bool


class RateNow(Struct, frozen=True):
    """How close a caller is to its rate on a route. used: fraction of its burst, 0 to 1.

    refused: exchanges that were over it so far.
    """

    caller: str
    service: str
    route: str
    per_s: float
    burst: float
    used: float
    refused: int


class LimitNow(Struct, frozen=True):
    """A limit, by its name in the config. Where it holds for each caller, of the one that has most."""

    name: str
    used: float
    limit: float


class Limits(Struct, frozen=True):
    """Limits and how much of them is in use: of rates, the fullest."""

    rates: list[RateNow]
    in_use: list[LimitNow]


class ReloadOutcome(Struct, frozen=True):
    """What a reload did, or would do. how: "nothing", "in place", or by "new workers"."""

    how: str
    changes: list[Change]


class DrainOutcome(Struct, frozen=True):
    """is_draining: the proxy ends with what is under way. was_draining: it was told so before."""

    is_draining: bool
    was_draining: bool


class LogLevel(Struct, frozen=True):
    """The lowest level that is logged, in all processes, until the next reload or start."""

    level: Level


class FailuresQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which failures."""

    cause: Annotated[str, Meta(description="A label of the error table, or of a link's handshake.")] = ""
    caller: Annotated[str, Meta(description="Name of the caller.")] = ""
    service: Annotated[str, Meta(description="Name of the service.")] = ""
    trace: Annotated[str, Meta(description="A trace id.")] = ""
    limit: Annotated[int, Meta(ge=1, le=MOST_ROWS, description="How many at most.")] = 50


class TapQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Which exchanges a tap shows, and how."""

    caller: Annotated[str, Meta(description="Name of the caller.")] = ""
    service: Annotated[str, Meta(description="Name of the service.")] = ""
    route: Annotated[str, Meta(description="The route, as metrics and the access log have it.")] = ""
    method: Annotated[str, Meta(description="The method.")] = ""
    status: Annotated[
        str,
        Meta(
            pattern="^([1-9][0-9][0-9]|[1-9]xx|0)?$",
            description="The status, its hundred as in 5xx, or 0 where the caller went away before it.",
        ),
    ] = ""
    cause: Annotated[
        str, Meta(description="A label of the error table, caller_gone, or * for whatever didn't go well.")
    ] = ""
    trace: Annotated[str, Meta(description="A trace id.")] = ""
    content: Annotated[
        int,
        Meta(
            ge=0, le=CONTENT_BYTES, description="So many first bytes of contents; needs the right to change."
        ),
    ] = 0
    unredacted: Annotated[bool, Meta(description="Secret fields as well; needs the right to change.")] = False
