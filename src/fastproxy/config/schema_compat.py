"""The settings of transport `compat` and of the center, for both roles; see `schema` for the rules.

Knows nothing of files, YAML or what the settings are used for.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from fastproxy.config.schema_parts import END, KeySource, Name, NameOrNone, Strict, Token

# --- compat -------------------------------------------------------------------------------------------------

CONTEXT_PATH_PATTERN = r"^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*" + END

CallerHeader = Annotated[
    Token, Meta(description="Header in which the out proxy names the caller to the in proxy.")
]
ContextPath = Annotated[
    str,
    Meta(
        pattern=CONTEXT_PATH_PATTERN,
        max_length=256,
        description="What the in proxy's paths begin with; `/SERVICE/PATH` follows. May be empty.",
    ),
]
BodyLimit = Annotated[
    int,
    Meta(
        ge=1,
        le=2**30,
        description="Size of a body, request and answer, opened and sealed: this format holds bodies whole.",
    ),
]
BODY_LIMIT_BYTES = 16 * 1024 * 1024
SignKeys = Annotated[
    dict[Name, KeySource],
    Meta(description="Keys to sign with, by the names that messages carry: a line of printable text each."),
]
EncryptKeys = Annotated[
    dict[Name, KeySource],
    Meta(description="Keys to encrypt with, by the names that messages carry: 16, 24 or 32 ASCII bytes."),
]


class OutCompatCaller(Strict, frozen=True, kw_only=True):
    """How a caller's messages are made."""

    sign: Annotated[NameOrNone, Meta(description="Name of the sign key; none: messages aren't signed.")] = ""
    encrypt: Annotated[
        NameOrNone, Meta(description="Name of the encrypt key; none: messages aren't encrypted.")
    ] = ""
    compress: Annotated[
        Literal["none", "snappy", "gzip"],
        Meta(description="Compressor of messages; it runs after encryption, so that it seldom gains."),
    ] = "none"


class OutCompat(Strict, frozen=True, kw_only=True):
    """How services with `transport: compat` are reached: peers that run the Go original. Weak protection."""

    caller_header: CallerHeader = "C_ServiceName"
    context_path: ContextPath = "/inProxy"
    body_limit_bytes: BodyLimit = BODY_LIMIT_BYTES
    sign_keys: SignKeys = field(default_factory=dict)
    encrypt_keys: EncryptKeys = field(default_factory=dict)
    callers: Annotated[
        dict[Name, OutCompatCaller],
        Meta(min_length=1, description="How the messages of each caller are made; every caller stands here."),
    ]


class InCompatCaller(Strict, frozen=True, kw_only=True):
    """What a caller's messages must be, whatever they say of themselves."""

    sign: Annotated[
        list[Name],
        Meta(max_length=64, description="Sign keys of which one must be used; `[]`: need not sign."),
    ]
    encrypt: Annotated[
        list[Name],
        Meta(max_length=64, description="Encrypt keys of which one must be used; `[]`: need not encrypt."),
    ]


class InCompat(Strict, frozen=True, kw_only=True):
    """Which callers are taken over `compat`, from peers that run the Go original. Weak protection."""

    caller_header: CallerHeader = "C_ServiceName"
    context_path: ContextPath = "/inProxy"
    trust_claimed_caller: Annotated[
        bool,
        Meta(
            description="Takes a caller at its word where its sign key can't prove it: when callers share "
            "one or need not sign. Whoever holds the key, or anybody, can pose as it."
        ),
    ] = False
    body_limit_bytes: BodyLimit = BODY_LIMIT_BYTES
    sign_keys: SignKeys = field(default_factory=dict)
    encrypt_keys: EncryptKeys = field(default_factory=dict)
    callers: Annotated[
        dict[Name, InCompatCaller],
        Meta(min_length=1, description="The callers that are known over `compat`, by name."),
    ]


# --- the center ---------------------------------------------------------------------------------------------

CenterUrl = Annotated[str, Meta(description="Where the center listens: `http://HOST:PORT`.")]


class OutCenter(Strict, frozen=True, kw_only=True):
    """The registry in which receivers are looked up, where `endpoints` say `center` or `center:NAME`."""

    url: CenterUrl


class InCenter(Strict, frozen=True, kw_only=True):
    """The registry in which services are looked up, where `endpoints` say `center` or `center:NAME`."""

    url: CenterUrl
    register: Annotated[
        bool, Meta(description="Whether this receiver and its services are registered at the center.")
    ] = True
    token: Annotated[
        KeySource | None,
        Meta(description="Token with which to register: 16 to 512 letters, digits and `._~+/=-`."),
    ] = None
    advertise: Annotated[
        str,
        Meta(
            description="`IP:PORT` under which out proxies reach this receiver; "
            "without it `listen.address`, where that is one address."
        ),
    ] = ""
