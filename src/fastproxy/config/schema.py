"""Every setting of the two config files: name, type, default, bounds and meaning, in one place.

The reference page, the JSON Schema for editors and the check of a file all come from these types and from
those in `schema_parts`, `schema_link`, `schema_compat` and `schema_tracing`. Units stand in the names: `_s`
seconds, `_bytes` bytes, `_per_s` per second; other numbers are counts. What one field alone can't say
(unknown names, two settings that exclude each other) is in `resolve_out`, `resolve_in`, `resolve_link` and
`resolve_compat`.
Knows nothing of files, YAML or what the settings are used for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from fastproxy.config.schema_compat import InCenter, InCompat, OutCenter, OutCompat
from fastproxy.config.schema_link import InLink, OutLink, Tls, TlsId
from fastproxy.config.schema_parts import (
    Admin,
    Count,
    Discovery,
    Drain,
    Failures,
    InLimits,
    KeySource,
    Log,
    Name,
    NameGlob,
    NameOrNone,
    OutLimits,
    Psk,
    PublicKeys,
    ServiceSettings,
    SocketMode,
    Strict,
    Token,
    Uids,
    Watch,
    WorkerHang,
    Workers,
)
from fastproxy.config.schema_tracing import InTracing, OutTracing

# --- the out proxy ------------------------------------------------------------------------------------------


class OutListen(Strict, frozen=True, kw_only=True):
    """The plain listener, for callers."""

    address: Annotated[str, Meta(description="`HOST:PORT` or `unix:/PATH` that callers connect to.")] = (
        "127.0.0.1:8034"
    )
    allow_remote: Annotated[
        bool,
        Meta(
            description="Allows an address other than loopback. Whoever reaches it speaks as the caller, "
            "unencrypted."
        ),
    ] = False
    socket_mode: SocketMode = "0600"
    allowed_uids: Uids = field(default_factory=list)
    service_from: Annotated[
        Literal["path", "host", "fixed"],
        Meta(
            description="What names the service: the first segment of the path (which is taken off), "
            "the host, or always `service`. An absolute-form target names it by its host."
        ),
    ] = "path"
    service: Annotated[NameOrNone, Meta(description="The service of `service_from: fixed`.")] = ""
    default_service: Annotated[
        NameOrNone,
        Meta(
            description="With `path` and `host`: the service of requests that name none that is "
            "configured; without it they are refused."
        ),
    ] = ""


class ClaimableCaller(Strict, frozen=True, kw_only=True):
    """A caller that requests may claim to be."""

    private_key: Annotated[
        KeySource | None,
        Meta(description="The caller's private key (X25519). A caller of `compat` services alone has none."),
    ] = None


class CallerClaim(Strict, frozen=True, kw_only=True):
    """Callers that share one out proxy, each named by its requests. Use it where they trust each other."""

    header: Annotated[
        Token, Meta(description="Header in which a request names its caller; it isn't passed on.")
    ] = "C_ServiceName"
    names: Annotated[
        dict[Name, ClaimableCaller], Meta(min_length=1, description="The callers that may be claimed.")
    ]


class Receiver(Strict, frozen=True, kw_only=True):
    """An in proxy, written where it is used."""

    name: Annotated[Name, Meta(description="`name` in the in proxy's own config.")]
    public_keys: PublicKeys = field(default_factory=list)
    tls_id: TlsId = ""
    psk: Psk = None


class SharedReceiver(Strict, frozen=True, kw_only=True):
    """An in proxy that several services use; its name is its key in `receivers`."""

    public_keys: PublicKeys = field(default_factory=list)
    tls_id: TlsId = ""
    psk: Psk = None
    endpoints: Annotated[
        list[str],
        Meta(
            min_length=1,
            max_length=1000,
            description="Addresses of the in proxy: `HOST:PORT`, `unix:/PATH`; or `[center]`: those that the "
            "center knows of this receiver.",
        ),
    ]


class OutServiceSettings(ServiceSettings, frozen=True, kw_only=True):
    """Settings of a service at the out proxy that `defaults` can give to all."""

    transport: Annotated[
        Literal["link", "http", "compat"],
        Meta(
            description="Way between the proxies. `link`: a sealed connection that carries many exchanges at "
            "a time; `http`: sealed messages, for paths with HTTP middleboxes between; `compat`: for peers "
            "that run the Go original. What is set is used or fails; none stands in for another."
        ),
    ] = "link"
    receiver: Annotated[
        str | Receiver | None,
        Meta(
            description="The in proxy in front of the service: a name from `receivers`, or written out here. "
            "Not with `compat`, where it has no identity."
        ),
    ] = None
    cipher: Annotated[
        Literal["aes-256-gcm", "chacha20-poly1305"],
        Meta(description="Cipher over `http`; ChaCha20 is for machines without AES instructions."),
    ] = "aes-256-gcm"


class OutService(OutServiceSettings, frozen=True, kw_only=True):
    """A service that the caller may name."""

    endpoints: Annotated[
        list[str],
        Meta(
            max_length=1000,
            description="Addresses of a receiver that is written out here, or with `compat` of the in proxy: "
            "`HOST:PORT`, `unix:/PATH`; or `[center]`: those that the center knows of the receiver, with "
            "`compat` by the service's name or that of `center:NAME`.",
        ),
    ] = field(default_factory=list)


class OutConfig(Strict, frozen=True, kw_only=True, tag_field="role", tag="out"):
    """The out proxy, beside the caller: plain HTTP comes in, sealed requests go out."""

    name: Annotated[Name, Meta(description="This proxy in Via headers, logs and errors.")] = "out"
    listen: OutListen = field(default_factory=OutListen)
    caller: Annotated[NameOrNone, Meta(description="The caller that all requests come from.")] = ""
    private_key: Annotated[
        KeySource | None,
        Meta(description="Private key of `caller` (X25519). A caller of `compat` services alone has none."),
    ] = None
    callers: Annotated[
        CallerClaim | None,
        Meta(description="Instead of `caller` and `private_key`: callers named by header."),
    ] = None
    tls: Annotated[
        Tls | None,
        Meta(
            description="Certificate that proves `caller`, for links to receivers with a `tls_id`. "
            "Where all have one, no private key is needed."
        ),
    ] = None
    receivers: Annotated[
        dict[Name, SharedReceiver], Meta(description="In proxies that services refer to by name.")
    ] = field(default_factory=dict)
    defaults: Annotated[
        OutServiceSettings, Meta(description="Settings of all services that don't have their own.")
    ] = field(default_factory=OutServiceSettings)
    services: Annotated[
        dict[Name, OutService], Meta(description="The services that can be called, by name.")
    ] = field(default_factory=dict)
    compat: Annotated[OutCompat | None, Meta(description="Only for services with `transport: compat`.")] = (
        None
    )
    center: Annotated[
        OutCenter | None, Meta(description="Registry in which receivers are looked up; none unless set.")
    ] = None
    workers: Workers = 0
    watch: Watch = False
    worker_hang_s: WorkerHang = 10.0
    admin: Annotated[Admin | None, Meta(description="Listener for health and metrics; none unless set.")] = (
        None
    )
    link: OutLink = field(default_factory=OutLink)
    limits: OutLimits = field(default_factory=OutLimits)
    discovery: Discovery = field(default_factory=Discovery)
    failures: Failures = field(default_factory=Failures)
    log: Log = field(default_factory=Log)
    tracing: Annotated[OutTracing | None, Meta(description="Traces; none are made unless set.")] = None
    drain: Drain = field(default_factory=Drain)


# --- the in proxy -------------------------------------------------------------------------------------------


class InListen(Strict, frozen=True, kw_only=True):
    """The sealed listener, for out proxies."""

    address: Annotated[str, Meta(description="`HOST:PORT` or `unix:/PATH` that out proxies connect to.")] = (
        "127.0.0.1:8033"
    )
    accept: Annotated[
        list[Literal["link", "http", "compat"]],
        Meta(
            min_length=1,
            description="Ways between the proxies that are taken here, all on this one port; `compat` needs "
            "its section.",
        ),
    ] = field(default_factory=lambda: ["link", "http"])
    tls: Annotated[
        Tls | None,
        Meta(
            description="Certificate that proves this receiver. Then callers have a `tls_id` each, and "
            "nothing but links is taken here: `accept: [link]`."
        ),
    ] = None
    socket_mode: SocketMode = "0600"
    allowed_uids: Uids = field(default_factory=list)


class Caller(Strict, frozen=True, kw_only=True):
    """A caller that can prove who it is."""

    public_keys: PublicKeys = field(default_factory=list)
    tls_id: TlsId = ""
    psk: Psk = None


class InServiceSettings(ServiceSettings, frozen=True, kw_only=True):
    """Settings of a service at the in proxy that `defaults` can give to all."""

    host: Annotated[
        str,
        Meta(
            description="Host header that the service gets: `endpoint` for the endpoint's address, `caller` "
            "for the one that the caller sent, anything else as it stands."
        ),
    ] = "endpoint"


class InService(InServiceSettings, frozen=True, kw_only=True):
    """A service behind this proxy."""

    endpoints: Annotated[
        list[str],
        Meta(
            min_length=1,
            max_length=1000,
            description="Addresses of the service: `HOST:PORT`, `unix:/PATH`; or `[center]`: those that the "
            "center knows of it, `[center:NAME]` under another name.",
        ),
    ]


class Rate(Strict, frozen=True, kw_only=True):
    """How often one caller may use one route."""

    per_s: Annotated[float, Meta(gt=0, le=10_000_000, description="Requests per second, in the long run.")]
    burst: Annotated[Count, Meta(description="Requests that may come at once.")] = 1


class Privilege(Strict, frozen=True, kw_only=True):
    """Callers × routes: who may call what, and how often. What no privilege allows is refused."""

    callers: Annotated[
        list[NameGlob], Meta(min_length=1, description="Names of callers; `*` stands for any characters.")
    ]
    services: Annotated[
        list[NameGlob], Meta(min_length=1, description="Names of services; `*` stands for any characters.")
    ]
    methods: Annotated[list[Token], Meta(description="Methods, as requests spell them; empty: all.")] = field(
        default_factory=list
    )
    paths: Annotated[
        list[str],
        Meta(
            min_length=1,
            description="Patterns: exact, `*` for one segment, `**` at the end for the rest. "
            "The most specific one decides.",
        ),
    ] = field(default_factory=lambda: ["/**"])
    rate: Annotated[Rate | None, Meta(description="Rate of each caller on each route; null: none.")] = None
    allow_ambiguous_paths: Annotated[
        bool,
        Meta(
            description="Lets dot segments, empty segments, encoded separators and backslashes through, "
            "for a service that needs them."
        ),
    ] = False


class InConfig(Strict, frozen=True, kw_only=True, tag_field="role", tag="in"):
    """The in proxy, beside the services: sealed requests come in, plain HTTP goes to the service."""

    name: Annotated[
        Name,
        Meta(description="The receiver's name, which out proxies seal for; also in Via, logs and errors."),
    ] = "in"
    listen: InListen = field(default_factory=InListen)
    private_key: Annotated[
        KeySource | None,
        Meta(
            description="Private key of this receiver (X25519). With `accept: [compat]` alone, and with "
            "`listen.tls`, it has none."
        ),
    ] = None
    private_keys: Annotated[
        list[KeySource], Meta(max_length=8, description="Instead of `private_key`: several, for rotation.")
    ] = field(default_factory=list)
    callers: Annotated[dict[Name, Caller], Meta(description="The callers that are known here, by name.")] = (
        field(default_factory=dict)
    )
    compat: Annotated[
        InCompat | None, Meta(description="Callers of `compat`, where `listen.accept` contains it.")
    ] = None
    callers_dir: Annotated[
        str,
        Meta(
            description="Folder of more callers: each file NAME.pub in it holds the public keys of the "
            "caller NAME, one per line. Relative to the config file's folder. The folder is looked at while "
            "the proxy runs: who comes to it may call, who is gone from it is cut off within a second."
        ),
    ] = ""
    defaults: Annotated[
        InServiceSettings, Meta(description="Settings of all services that don't have their own.")
    ] = field(default_factory=InServiceSettings)
    services: Annotated[
        dict[Name, InService], Meta(description="The services behind this proxy, by name.")
    ] = field(default_factory=dict)
    center: Annotated[
        InCenter | None, Meta(description="Registry in which services are looked up; none unless set.")
    ] = None
    privileges: Annotated[list[Privilege], Meta(max_length=100_000, description="Who may call what.")] = (
        field(default_factory=list)
    )
    enforce: Annotated[
        Literal["enforce", "report"],
        Meta(
            description="`report` counts and logs what privileges and rates would refuse, and lets it pass."
        ),
    ] = "enforce"
    max_clock_skew_s: Annotated[
        float,
        Meta(ge=0, le=600, description="Tolerated difference between the clocks of out proxy and in proxy."),
    ] = 30.0
    workers: Workers = 0
    watch: Watch = False
    worker_hang_s: WorkerHang = 10.0
    admin: Annotated[Admin | None, Meta(description="Listener for health and metrics; none unless set.")] = (
        None
    )
    link: InLink = field(default_factory=InLink)
    limits: InLimits = field(default_factory=InLimits)
    discovery: Discovery = field(default_factory=Discovery)
    failures: Failures = field(default_factory=Failures)
    log: Log = field(default_factory=Log)
    tracing: Annotated[InTracing | None, Meta(description="Traces; none are made unless set.")] = None
    drain: Drain = field(default_factory=Drain)
