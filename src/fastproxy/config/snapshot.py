"""What a loaded config file amounts to: names resolved, keys read, addresses parsed, lines kept.

Immutable: an exchange keeps the snapshot that it began with, a reload swaps one reference.
Knows nothing of how it came about or what is built from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastproxy.config.address import Address
from fastproxy.config.problem import Problem
from fastproxy.config.schema import InConfig, InService, OutConfig, OutService, Rate
from fastproxy.config.secret import Secret


@dataclass(frozen=True, slots=True)
class Peer:
    """A receiver as an out proxy knows it, or a caller as an in proxy knows it.

    public_keys: 32 bytes each; any of them proves the name. psk: 32 bytes, when the pair has one.
    line: where it is described; 0 when it comes from `callers_dir`.
    """

    name: str
    public_keys: tuple[bytes, ...]
    psk: Secret | None
    line: int


@dataclass(frozen=True, slots=True)
class RemoteService:
    """A service as the out proxy knows it. endpoints: those of its receiver. settings: defaults applied."""

    name: str
    receiver: Peer
    endpoints: tuple[Address, ...]
    settings: OutService
    line: int


@dataclass(frozen=True, slots=True)
class LocalService:
    """A service as the in proxy knows it. settings: defaults applied."""

    name: str
    endpoints: tuple[Address, ...]
    settings: InService
    line: int


@dataclass(frozen=True, slots=True)
class Grant:
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


@dataclass(frozen=True, slots=True)
class OutSnapshot:
    """All that an out proxy is built from.

    config: every setting, for what isn't resolved here. caller: the fixed caller, "" with `callers`.
    caller_keys: the private key, 32 bytes, of each caller that can occur. warnings: worth a look.
    """

    file: Path
    config: OutConfig
    listen: Address
    admin: Address | None
    caller: str
    caller_keys: Mapping[str, Secret]
    services: Mapping[str, RemoteService]
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class InSnapshot:
    """All that an in proxy is built from.

    config: every setting, for what isn't resolved here. private_keys: 32 bytes each, the newest first.
    warnings: worth a look.
    """

    file: Path
    config: InConfig
    listen: Address
    admin: Address | None
    private_keys: tuple[Secret, ...]
    callers: Mapping[str, Peer]
    services: Mapping[str, LocalService]
    grants: tuple[Grant, ...]
    warnings: tuple[Problem, ...]


Snapshot = OutSnapshot | InSnapshot
