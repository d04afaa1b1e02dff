"""The settings of transport `link`, for both roles, and of its identities by certificate; see `schema`.

Knows nothing of files, YAML or what the settings are used for.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fastproxy.config.schema_parts import END, Count, Seconds, Strict

# --- the link -----------------------------------------------------------------------------------------------

_WEEK_S = 7 * 86_400
_WINDOW_LIMIT_BYTES = 2**30
"""Far below 2^31 - 1, which no window may reach with the credit that is added to it."""

HandshakeTime = Annotated[float, Meta(gt=0, le=60, description="Time for a link's handshake, both ways.")]


class Link(Strict, frozen=True, kw_only=True):
    """What both proxies set for their links; each counts for what this proxy sends, takes and waits for."""

    handshake_timeout_s: HandshakeTime = 5.0
    ping_interval_s: Annotated[
        float,
        Meta(
            gt=0,
            le=3600,
            description="Silence after which the peer is asked for a sign of life; "
            "a peer that is silent for two of these is dead, and its link is cut.",
        ),
    ] = 15.0
    rekey_s: Annotated[
        Seconds, Meta(description="Age at which this proxy changes the key that it sends under.")
    ] = 600.0
    stream_window_bytes: Annotated[
        int,
        Meta(
            ge=65_536,
            le=_WINDOW_LIMIT_BYTES,
            description="Content of one exchange that the peer may send before this proxy has passed it on.",
        ),
    ] = 1_048_576
    window_bytes: Annotated[
        int,
        Meta(
            ge=65_536,
            le=_WINDOW_LIMIT_BYTES,
            description="The same for all exchanges of one link together: what a link can make this proxy "
            "hold.",
        ),
    ] = 16_777_216


class OutLink(Link, frozen=True, kw_only=True):
    """The links that the out proxy makes, one per caller and endpoint."""

    idle_timeout_s: Annotated[Seconds, Meta(description="Time that a link is kept without an exchange.")] = (
        300.0
    )
    max_age_s: Annotated[
        float,
        Meta(
            gt=0,
            le=_WEEK_S,
            description="Age at which a link is replaced: another one is made first, with a fresh handshake.",
        ),
    ] = 86_400.0
    wait_s: Annotated[
        float,
        Meta(
            ge=0,
            le=3600,
            description="How long an exchange waits, within its deadline, for a link to come up again "
            "while no endpoint takes one; 0: not at all.",
        ),
    ] = 5.0


class InLink(Link, frozen=True, kw_only=True):
    """The links that the in proxy takes."""

    idle_timeout_s: Annotated[
        Seconds,
        Meta(
            description="Time that a link may stay open without an exchange. Stay above the out proxies' "
            "own: whoever sends should be the one to close."
        ),
    ] = 600.0
    max_age_s: Annotated[
        float,
        Meta(
            gt=0,
            le=_WEEK_S,
            description="Age at which a link is ended, with notice. Stay above the out proxies' own.",
        ),
    ] = 90_000.0
    streams: Annotated[Count, Meta(description="Exchanges at a time on one link.")] = 4096
    links_per_caller: Annotated[
        Count, Meta(description="Open links of one caller (each of its out proxies' workers holds one).")
    ] = 256
    handshakes: Annotated[
        Count,
        Meta(
            description="Connections at a time whose link isn't proven yet; each worker has an equal part, "
            "at least one. Above this, the oldest of the address that has most of them is closed."
        ),
    ] = 256
    new_links_per_peer_per_s: Annotated[
        float,
        Meta(
            gt=0,
            le=100_000,
            description="Handshakes from one source address: "
            "each costs curve arithmetic before anything is proven.",
        ),
    ] = 50.0


# --- identities by certificate ------------------------------------------------------------------------------

SPIFFE_ID_PATTERN = r"spiffe://[a-z0-9._-]{1,255}(/(?!\.{1,2}(/|$))[A-Za-z0-9._-]+)+"
_DNS_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
DNS_NAME_PATTERN = rf"({_DNS_LABEL}\.)*(?![0-9]+$){_DNS_LABEL}"
TLS_ID_PATTERN = rf"^({SPIFFE_ID_PATTERN}|{DNS_NAME_PATTERN})" + END

TlsId = Annotated[
    str,
    Meta(
        pattern=TLS_ID_PATTERN,
        max_length=2048,
        description="Instead of `public_keys`, for links inside TLS: the SPIFFE URI or DNS name, in lower "
        "case, that its certificate bears. One `tls_id` belongs to one name.",
    ),
]


class Tls(Strict, frozen=True, kw_only=True):
    """A certificate as identity: links in TLS 1.3, both sides verified. Changed files are read again."""

    certificate: Annotated[
        str,
        Meta(
            description="PEM file of this proxy's certificate, followed by the intermediate ones; relative "
            "to the config file's folder, as the others. It bears the SPIFFE URI or the DNS name that the "
            "other side knows this proxy by."
        ),
    ]
    private_key: Annotated[
        str, Meta(description="PEM file of its private key. Refused when group or others can read it.")
    ]
    authorities: Annotated[
        str,
        Meta(
            description="PEM file of the CAs that the other side's certificates must come from. "
            "Each of them can vouch for any name."
        ),
    ]
