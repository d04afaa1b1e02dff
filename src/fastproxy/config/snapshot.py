"""What a loaded config file amounts to: names resolved, keys read, addresses parsed, lines kept.

Immutable: an exchange keeps the snapshot that it began with, a reload swaps one reference.
Knows nothing of how it came about or what is built from it.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from math import inf
from pathlib import Path
from types import MappingProxyType

from msgspec import Struct, structs

from fastproxy.config.address import Address
from fastproxy.config.problem import Problem
from fastproxy.config.schema import InConfig, InService, OutConfig, OutService, Rate
from fastproxy.config.secret import Secret

NO_DATES: Mapping[bytes, float] = MappingProxyType({})
"""Of the keys of a peer of which none ends."""


class Peer(Struct, frozen=True):
    """A receiver as an out proxy knows it, or a caller as an in proxy knows it.

    public_keys: 32 bytes each; any of them proves the name. tls_id: what its certificate must bear instead;
    "" with keys. psk: 32 bytes, when the pair has one.
    line: where it is described; 0 when it comes from `callers_dir`.
    key_dates: the last second, in Unix time, of those of its keys that end.
    """

    name: str
    public_keys: tuple[bytes, ...]
    tls_id: str
    psk: Secret | None
    line: int
    key_dates: Mapping[bytes, float] = NO_DATES

    def at(self, now_unix_s: float) -> Peer:
        """Return what proves this peer at a time: without the keys that have passed their date."""
        if not self.key_dates or now_unix_s <= min(self.key_dates.values()):
            return self
        left = tuple(key for key in self.public_keys if now_unix_s <= self.key_dates.get(key, inf))
        return structs.replace(self, public_keys=left)


class OwnKey(Struct, frozen=True):
    """A private key by which this proxy proves a name, as a config names it.

    name: of the caller or the receiver. secrets: 32 bytes each, the one in use first: several where a file
    is being changed for another. file: where they are, to look again; None when they come from elsewhere.
    """

    name: str
    secrets: tuple[Secret, ...]
    file: Path | None


class TlsFiles(Struct, frozen=True):
    """Where the certificates of links inside TLS are; `certificates.read_credentials` reads them."""

    certificate: Path
    private_key: Path
    authorities: Path


class CallersDir(Struct, frozen=True):
    """A folder of callers, and what its files must not say again; `callers_dir.CallersReader` reads it.

    folder: where it is. names: the callers that the config itself describes. key_uses: whom each public key
    that the config itself has belongs to, e.g. "caller web".
    """

    folder: Path
    names: Set[str]
    key_uses: Mapping[bytes, str]


class CompatSender(Struct, frozen=True):
    """How a caller's messages are made over `compat`.

    Each key with the name that messages carry; "" and None where the caller doesn't sign or encrypt.
    compress: none, snappy or gzip.
    """

    sign_key_name: str
    sign_key: Secret | None
    encrypt_key_name: str
    encrypt_key: Secret | None
    compress: str


class CompatOut(Struct, frozen=True):
    """The out proxy's side of `compat`.

    context_path: "" or begins with a slash and doesn't end with one. callers: every caller that can occur.
    encrypt_keys: those that an answer may name.
    """

    caller_header: str
    context_path: str
    body_limit_bytes: int
    encrypt_keys: Mapping[str, Secret]
    callers: Mapping[str, CompatSender]


class CompatDemand(Struct, frozen=True):
    """What a caller's messages must be: signed, encrypted with one of the keys named; empty: need not."""

    sign: tuple[str, ...]
    encrypt: tuple[str, ...]


class CompatIn(Struct, frozen=True):
    """The in proxy's side of `compat`. context_path: as in `CompatOut`. Keys by name."""

    caller_header: str
    context_path: str
    trust_claimed_caller: bool
    body_limit_bytes: int
    sign_keys: Mapping[str, Secret]
    encrypt_keys: Mapping[str, Secret]
    callers: Mapping[str, CompatDemand]


class Center(Struct, frozen=True):
    """The registry that endpoints are asked of.

    advertise: the address to register this receiver under; None where nothing is registered.
    """

    address: Address
    token: Secret | None
    advertise: Address | None


class AdminListener(Struct, frozen=True):
    """The admin listener.

    token: lets in to all of it; None where there is none. reader_token: to what only tells. open_to_all: what
    every program of this machine may have: "profiles", "reading".
    """

    address: Address
    token: Secret | None
    reader_token: Secret | None
    open_to_all: tuple[str, ...]


class Tracing(Struct, frozen=True):
    """Where spans go, beside what the config says.

    headers: sent with them. authorities: an absolute file name, "" for the system's. resource: attributes of
    all spans.
    """

    headers: Mapping[str, Secret]
    authorities: str
    resource: Mapping[str, str]


class RemoteService(Struct, frozen=True):
    """A service as the out proxy knows it.

    receiver: None over `compat`, which knows no identity. endpoints: those of the in proxy.
    center_name: the name under which the center knows them: if not set, the receiver's, over `compat`
    the service's; "" when they are fixed. settings: defaults applied.
    """

    name: str
    receiver: Peer | None
    endpoints: tuple[Address, ...]
    center_name: str
    settings: OutService
    line: int


class LocalService(Struct, frozen=True):
    """A service as the in proxy knows it.

    center_name: its name at the center; "" when its endpoints are fixed. settings: defaults applied.
    """

    name: str
    endpoints: tuple[Address, ...]
    center_name: str
    settings: InService
    line: int


class Grant(Struct, frozen=True):
    """One item of `privileges` with its globs expanded.

    callers, services: names that exist. methods: empty for all. index: place in the file, from 0.
    """

    callers: tuple[str, ...]
    services: tuple[str, ...]
    methods: tuple[str, ...]
    paths: tuple[str, ...]
    rate: Rate | None
    allow_ambiguous_paths: bool
    index: int
    line: int


class OutSnapshot(Struct, frozen=True):
    """All that an out proxy is built from.

    config: every setting, for what isn't resolved here. caller: the fixed caller, "" with `callers`.
    caller_names: every caller that can occur. own_keys: the private key of each that has one: all of them,
    unless every service is reached over `compat` or has a receiver with a `tls_id`. tls: the certificate of
    the fixed caller, for the latter. warnings: worth a look. lapsed: names that nothing proves any more; a
    proxy carries on without them.
    """

    file: Path
    config: OutConfig
    listen: Address
    admin: AdminListener | None
    caller: str
    caller_names: tuple[str, ...]
    own_keys: tuple[OwnKey, ...]
    tls: TlsFiles | None
    services: Mapping[str, RemoteService]
    compat: CompatOut | None
    center: Center | None
    warnings: tuple[Problem, ...]
    lapsed: tuple[Problem, ...]
    tracing: Tracing | None = None

    @property
    def caller_keys(self) -> Mapping[str, Secret]:
        """The private key, 32 bytes, of each caller that has one."""
        return {own.name: own.secrets[0] for own in self.own_keys}


class InSnapshot(Struct, frozen=True):
    """All that an in proxy is built from.

    config: every setting but `callers`, for what isn't resolved here. own_keys: its private keys, the newest
    first; none where only `compat` is accepted, nor with a certificate. tls: that certificate. callers: those
    with an identity. callers_dir: where some of them came from, to look again. caller_names: those with an
    identity and those of `compat`. warnings: worth a look. lapsed: as in `OutSnapshot`.
    """

    file: Path
    config: InConfig
    listen: Address
    admin: AdminListener | None
    own_keys: tuple[OwnKey, ...]
    tls: TlsFiles | None
    callers: Mapping[str, Peer]
    callers_dir: CallersDir | None
    caller_names: tuple[str, ...]
    services: Mapping[str, LocalService]
    compat: CompatIn | None
    center: Center | None
    grants: tuple[Grant, ...]
    warnings: tuple[Problem, ...]
    lapsed: tuple[Problem, ...]
    tracing: Tracing | None = None

    @property
    def private_keys(self) -> tuple[Secret, ...]:
        """All private keys, 32 bytes each, in the order of the config."""
        return tuple(secret for own in self.own_keys for secret in own.secrets)


Snapshot = OutSnapshot | InSnapshot
