"""What differs between two configs, and what of it a running process can't take over.

A process goes on with nearly everything that can change in a config. What it was made with, its sockets and
what it tells the center, takes a new one: then new workers take connections before the former ones drain.
Secrets are compared, never shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from fastproxy.config.address import Address
from fastproxy.config.key_dates import shown_date
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot

_TAKES_PROCESSES = ("role", "name", "listen.address", "listen.socket_mode", "listen.accept", "listen.tls",
                    "workers", "center", "limits.rate_states", "limits.sessions")  # fmt: skip
_UNSET = "(not set)"
_OTHER_CONTENT = "(other content)"


class Change(Struct, frozen=True):
    """One difference.

    path: where in the config, e.g. `services.api.timeout_s`. before, after: what it was and is to be, in
    words. takes_processes: a running process can't take it over.
    """

    path: str
    before: str
    after: str
    takes_processes: bool


def changes(old: Snapshot, new: Snapshot) -> list[Change]:
    """Return what differs between two configs, in the order of their settings."""
    before, after = dict(_settings(old)), dict(_settings(new))
    return [
        Change(path, before.get(path, _UNSET), after.get(path, _UNSET), _takes_processes(path, old, new))
        for path in {**before, **after}
        if before.get(path) != after.get(path)
    ] + [
        Change(path, "", _OTHER_CONTENT, _takes_processes(path, old, new))
        for path, secrets in _secrets(old).items()
        if path in _secrets(new) and _secrets(new)[path] != secrets
    ]


def _takes_processes(path: str, old: Snapshot, new: Snapshot) -> bool:
    if any(path == fixed or path.startswith(f"{fixed}.") for fixed in _TAKES_PROCESSES):
        return True
    # Whose endpoints the center is asked for, and which names are registered there, a process keeps.
    return path.startswith(("services.", "receivers.")) and _of_center(old) != _of_center(new)


def _of_center(snapshot: Snapshot) -> tuple[object, ...]:
    if snapshot.center is None:
        return ()
    asked = {service.center_name for service in snapshot.services.values()} - {""}
    registered = sorted(snapshot.services) if isinstance(snapshot, InSnapshot) else ()
    return sorted(asked), registered


def _settings(snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    yield from _flat("", msgspec.to_builtins(snapshot.config, enc_hook=_shown))
    if isinstance(snapshot, InSnapshot):
        for name, peer in snapshot.callers.items():
            keys = [_dated(key.hex(), peer.key_dates.get(key)) for key in peer.public_keys]
            yield f"callers.{name}", ", ".join(keys or [peer.tls_id])


def _dated(key: str, not_after_unix_s: float | None) -> str:
    return key if not_after_unix_s is None else f"{key} not_after {shown_date(not_after_unix_s)}"


def _shown(value: object) -> str:
    return str(value) if isinstance(value, Address) else repr(value)


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _flat(f"{path}.{name}" if path else str(name), part)
    elif isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
        for index, part in enumerate(value):
            yield from _flat(f"{path}[{index}]", part)
    elif value is not None:
        yield path, msgspec.json.encode(value).decode()


def _secrets(snapshot: Snapshot) -> dict[str, list[Secret | None]]:
    """Every secret that comes from elsewhere, by where the config names it."""
    found: dict[str, list[Secret | None]] = {}
    if isinstance(snapshot, OutSnapshot):
        for name, secret in snapshot.caller_keys.items():
            found[f"private key of {name}"] = [secret]
        for service in snapshot.services.values():
            if service.receiver is not None:
                found[f"psk of {service.receiver.name}"] = [service.receiver.psk]
    else:
        found["private keys"] = list(snapshot.private_keys)
        for name, peer in snapshot.callers.items():
            found[f"psk of {name}"] = [peer.psk]
    if snapshot.compat is not None:
        named = dict(snapshot.compat.encrypt_keys)
        if isinstance(snapshot, InSnapshot):
            named |= {f"sign {name}": secret for name, secret in snapshot.compat.sign_keys.items()}
        else:
            named |= {f"sign {name}": one.sign_key for name, one in snapshot.compat.callers.items()
                      if one.sign_key is not None}  # fmt: skip
        for name, secret in named.items():
            found[f"compat key {name}"] = [secret]
    if snapshot.center is not None:
        found["center.token"] = [snapshot.center.token]
    if snapshot.admin is not None:
        found["admin.token"] = [snapshot.admin.token]
        found["admin.reader_token"] = [snapshot.admin.reader_token]
    if snapshot.tracing is not None:
        for name, secret in snapshot.tracing.headers.items():
            found[f"tracing.headers.{name}"] = [secret]
    return found
