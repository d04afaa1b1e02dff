"""The parts that the configs of both roles are made of; see `schema` for the rules.

Knows nothing of files, YAML or what the settings are used for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from fastproxy.config.secret import Secret

# In Python `$` also matches before a newline at the end, which must not get into a header.
END = r"$(?!\n)"
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}" + END
KEY_PATTERN = r"^[0-9a-fA-F]{64}" + END
DATE_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z" + END

Name = Annotated[str, Meta(pattern=NAME_PATTERN)]
NameOrNone = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127})?" + END)]
NameGlob = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._*-]{1,128}" + END)]
PublicKey = Annotated[str, Meta(pattern=KEY_PATTERN)]
Token = Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}" + END)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Count = Annotated[int, Meta(ge=1, le=10_000_000)]
CountOrNone = Annotated[int, Meta(ge=0, le=10_000_000)]
SocketMode = Annotated[
    str,
    Meta(
        pattern=r"^0[0-7]{3}" + END,
        description="Permissions of the socket file, in octal, when `address` is a Unix socket.",
    ),
]
Uids = Annotated[
    list[Annotated[int, Meta(ge=0)]],
    Meta(
        max_length=1000,
        description="User ids that may connect to a Unix socket; empty leaves it to `socket_mode`.",
    ),
]


class Strict(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How all parts of a config behave: immutable, named arguments only, no unknown key."""


# --- keys ---------------------------------------------------------------------------------------------------


class DatedKey(Strict, frozen=True, kw_only=True):
    """A public key that proves its name up to a date."""

    key: Annotated[PublicKey, Meta(description="64 hex digits.")]
    not_after: Annotated[
        str,
        Meta(
            pattern=DATE_PATTERN,
            description="Its last second, as in `2027-01-31T00:00:00Z`. After it, its links are cut and it "
            "proves nothing any more.",
        ),
    ]


PublicKeys = Annotated[
    list[PublicKey | DatedKey],
    Meta(
        min_length=1,
        max_length=8,
        description="Public keys, 64 hex digits each, as `fastproxy keys show` prints them, or "
        "`{key: …, not_after: …}` for one that ends by itself. Several are for rotation: any of them proves "
        "the name; of a receiver's, the first is tried first.",
    ),
]


class KeySource(Strict, frozen=True, kw_only=True):
    """Where a secret comes from: exactly one of `file`, `env` and `literal`. 64 hex digits unless said."""

    file: Annotated[
        str,
        Meta(
            description="File that holds the key, relative to the config file's folder. "
            "Refused when group or others can read it."
        ),
    ] = ""
    env: Annotated[str, Meta(description="Environment variable that holds the key.")] = ""
    literal: Annotated[
        Secret | None, Meta(description="The key itself; taken only together with `insecure_literal`.")
    ] = None
    insecure_literal: Annotated[
        bool, Meta(description="Says that you know what a key in a config file means.")
    ] = False


Psk = Annotated[
    KeySource | None, Meta(description="Pre-shared key that hardens this pair; the same at both ends.")
]


# --- what both proxies have ---------------------------------------------------------------------------------


class Admin(Strict, frozen=True, kw_only=True):
    """The listener for health, metrics, profiles and the API."""

    address: Annotated[
        str,
        Meta(
            description="`HOST:PORT` or `unix:/PATH` for `/healthz`, `/readyz`, `/metrics`, `/debug/pprof/`, "
            "`/api/v1/`. A Unix socket has mode 0600; all of it is for the proxy's own user."
        ),
    ]
    allow_remote: Annotated[
        bool, Meta(description="Allows an address other than loopback; what it shows is not encrypted.")
    ] = False
    token: Annotated[
        KeySource | None,
        Meta(
            description="Token for all of it: 16 to 512 letters, digits and ._~+/=-, as a bearer token or as "
            "the password of Basic. Whoever has it can change how the proxy works."
        ),
    ] = None
    reader_token: Annotated[
        KeySource | None,
        Meta(description="Another one, for what of `/api/v1/` only tells; it changes nothing."),
    ] = None
    open: Annotated[
        list[Literal["profiles", "reading"]],
        Meta(
            max_length=2,
            description="What every program of this machine may have without a token: `profiles`, which tell "
            "how the proxy works and cost it time; `reading`, what of `/api/v1/` only tells: who calls whom, "
            "what failed, the config without its secrets. Loopback only.",
        ),
    ] = field(default_factory=list)
    taps: Annotated[
        int,
        Meta(
            ge=0,
            le=256,
            description="How many may tap at a time (`/api/v1/tap`); 0: nobody. Each takes up to 1 MiB, and "
            "0.5 MiB in each worker. While there is one, exchanges cost about three times as much.",
        ),
    ] = 16


class Limits(Strict, frozen=True, kw_only=True):
    """Bounds on what a peer can make the proxy hold, do or wait for."""

    header_bytes: Annotated[
        int, Meta(ge=1024, le=98_304, description="Size of a header section, request and response.")
    ] = 32_768
    header_count: Annotated[
        int, Meta(ge=8, le=10_000, description="Fields in a header section, request and response.")
    ] = 100
    target_bytes: Annotated[int, Meta(ge=64, le=65_536, description="Length of the request target.")] = 8192
    body_bytes: Annotated[int, Meta(ge=0, description="Size of a request body; 0: no limit.")] = 0
    header_timeout_s: Annotated[
        Seconds, Meta(description="Time for a header section, and for the sealed one behind it, to arrive.")
    ] = 10.0
    body_timeout_s: Annotated[Seconds, Meta(description="Longest wait for the next piece of a body.")] = 30.0
    write_timeout_s: Annotated[
        Seconds, Meta(description="Longest wait for a slow reader to take the next piece of an answer.")
    ] = 30.0
    idle_timeout_s: Annotated[
        Seconds, Meta(description="Time that a connection to the proxy may stay open without a request.")
    ] = 75.0
    connections: Annotated[Count, Meta(description="Open connections to the listener.")] = 10_000
    connections_per_peer: Annotated[
        CountOrNone, Meta(description="Open connections from one source address; 0: no limit.")
    ] = 0
    tunnel_idle_timeout_s: Annotated[
        Seconds,
        Meta(description="Time that an upgraded connection (WebSocket) is kept without a byte either way."),
    ] = 3600.0
    requests_per_connection: Annotated[
        CountOrNone, Meta(description="Requests on one connection before it is closed; 0: no limit.")
    ] = 0
    in_flight: Annotated[Count, Meta(description="Exchanges between their request and their answer.")] = (
        10_000
    )
    connections_per_endpoint: Annotated[
        Count,
        Meta(description="Open connections to one endpoint; each worker has an equal part, at least one."),
    ] = 512
    waiting_per_endpoint: Annotated[
        CountOrNone,
        Meta(
            description="Exchanges that may wait for a connection to one endpoint; each worker has an equal "
            "part, at least one unless none may."
        ),
    ] = 1024


class OutLimits(Limits, frozen=True, kw_only=True):
    """Bounds of the out proxy."""

    endpoint_idle_timeout_s: Annotated[
        Seconds, Meta(description="Time that a connection to a receiver is kept without a request.")
    ] = 30.0


class InLimits(Limits, frozen=True, kw_only=True):
    """Bounds of the in proxy."""

    endpoint_idle_timeout_s: Annotated[
        Seconds,
        Meta(
            description="Time that a connection to a service is kept without a request. "
            "Many servers close theirs after 5 s: stay below."
        ),
    ] = 4.5
    sessions_per_caller: Annotated[
        Count, Meta(description="Live sessions of one caller (each sender process holds a few).")
    ] = 1024
    sessions: Annotated[
        Count,
        Meta(
            description="Live sessions of all callers together; none makes way for a newcomer. Each takes "
            "568 bytes of memory that the workers share, once it is used."
        ),
    ] = 65_536
    new_sessions_per_peer_per_s: Annotated[
        float,
        Meta(
            gt=0,
            le=100_000,
            description="Envelopes of new sessions from one source address: "
            "each costs curve arithmetic before anything is proven.",
        ),
    ] = 100.0
    rate_states: Annotated[
        Count, Meta(description="Pairs of caller and route whose rate is remembered at once.")
    ] = 100_000


class Discovery(Strict, frozen=True, kw_only=True):
    """How endpoints are found and judged."""

    dns_refresh_s: Annotated[
        Seconds,
        Meta(description="Time between two resolutions of a name; the last known addresses are kept."),
    ] = 5.0
    dns_timeout_s: Annotated[Seconds, Meta(description="Longest wait for one resolution.")] = 2.0
    failing_s: Annotated[
        Seconds, Meta(description="Time that an endpoint is passed over after a connection to it failed.")
    ] = 5.0


class Failures(Strict, frozen=True, kw_only=True):
    """What is kept of exchanges and links that failed or were refused, for `fastproxy why`."""

    kept_per_cause: Annotated[
        int,
        Meta(
            ge=0,
            le=1000,
            description="Last ones of each cause that each worker remembers, without headers, content and "
            "query, within 256 KiB in all; 0: none.",
        ),
    ] = 20


class Log(Strict, frozen=True, kw_only=True):
    """What is logged, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="Lowest level shown.")
    ] = "info"
    format: Annotated[
        Literal["json", "text"], Meta(description="`json`: one object per line; `text`: for a terminal.")
    ] = "json"
    access: Annotated[
        Literal["on", "off"] | Annotated[float, Meta(ge=0, le=1)],
        Meta(description="One line per exchange: `on`, `off`, or the fraction of exchanges that get one."),
    ] = "on"


Watch = Annotated[
    bool,
    Meta(
        description="Whether this file is looked at every second, and read again when it has changed. In any "
        "case it is on SIGHUP and by `fastproxy reload`. One that is wrong changes nothing."
    ),
]

Workers = Annotated[
    int,
    Meta(
        ge=0,
        le=64,
        description="Processes that carry exchanges, each with an event loop of its own; 0: one for each "
        "core that this proxy may use.",
    ),
]
WorkerHang = Annotated[
    float,
    Meta(
        ge=2,
        le=600,
        description="Time that a worker may give no sign of life before it is ended and replaced. Its "
        "longest pauses are those of 100,000 callers taken over.",
    ),
]


class Drain(Strict, frozen=True, kw_only=True):
    """What happens at SIGTERM, and to workers that a reload replaces.

    In this order: the proxy says that it is not ready; links are told to go, and each answer over HTTP ends
    its connection; after `idle_s`, who waits to be taken is taken, and nobody else; after `grace_s`, what is
    left is cut. A proxy in which nothing is left ends at once.
    """

    delay_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Time between saying on `/readyz` that this proxy is not ready and taking nothing "
            "more, for load balancers that need as long to send elsewhere.",
        ),
    ] = 0.0
    grace_s: Annotated[
        float, Meta(ge=0, le=3600, description="Time for exchanges in flight to end; then they are cut.")
    ] = 10.0
    idle_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="Time, within `grace_s` and at most half of it, in which new connections, and the "
            "next request on each idle one, are still answered, with `Connection: close`; then what is idle "
            "is closed. A request that meets that end is lost, so that this is longer than callers under "
            "load leave a connection unused. 0 closes at once.",
        ),
    ] = 2.0


class ServiceSettings(Strict, frozen=True, kw_only=True):
    """Settings of a service that both proxies have."""

    timeout_s: Annotated[
        Seconds, Meta(description="Time for the whole exchange, body included; a caller may ask for less.")
    ] = 15.0
    connect_timeout_s: Annotated[Seconds, Meta(description="Time for a connection to be made.")] = 2.0
    repeat_idempotent: Annotated[
        bool,
        Meta(
            description="Whether an idempotent request (GET, HEAD, OPTIONS, PUT, DELETE) is sent once more "
            "when its connection is lost before the answer."
        ),
    ] = True
    compress: Annotated[
        Literal["none", "snappy", "gzip", "lz4", "zstd"],
        Meta(
            description="Compressor for what this proxy seals for this service: requests at the out proxy, "
            "answers at the in proxy. Compressing secrets beside what an attacker chooses reveals "
            "them by length (BREACH)."
        ),
    ] = "none"
    compress_min_bytes: Annotated[
        int, Meta(ge=0, le=65_536, description="Smaller pieces are sealed as they are.")
    ] = 1024
    pad_to_bytes: Annotated[
        int,
        Meta(ge=0, le=16_384, description="Rounds sealed lengths up to a multiple; 0: exact lengths."),
    ] = 0
