"""A config to be shown: every setting as it is in force, and none of its secrets.

A snapshot holds secrets as `Secret`, which nothing shows by accident; what a file holds in plain text stands
there as well. Names of files and variables that secrets come from are no secrets.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fastproxy.config.address import Address
from fastproxy.config.key_dates import shown_date
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, Peer, Snapshot

REDACTED = "(redacted)"


def redacted(snapshot: Snapshot, most_callers: int) -> tuple[dict[str, Any], bool]:
    """Return the settings of a config, by their names in the file.

    Args:
        most_callers: how many of an in proxy's callers are shown.

    Returns:
        The settings; and whether there are more callers.
    """
    config: dict[str, Any] = msgspec.to_builtins(snapshot.config, enc_hook=_shown)
    if not isinstance(snapshot, InSnapshot):
        return config, False
    names = sorted(snapshot.callers)
    config["callers"] = {name: _caller(snapshot.callers[name]) for name in names[:most_callers]}
    return config, len(names) > most_callers


def _caller(peer: Peer) -> dict[str, Any]:
    keys: list[Any] = [
        {"key": key.hex(), "not_after": shown_date(peer.key_dates[key])}
        if key in peer.key_dates
        else key.hex()
        for key in peer.public_keys
    ]
    return {
        "public_keys": keys,
        "tls_id": peer.tls_id,
        "psk": None if peer.psk is None else REDACTED,
    }


def _shown(value: object) -> str:
    if isinstance(value, Secret):
        return REDACTED
    if isinstance(value, Address):
        return str(value)
    raise NotImplementedError(f"a config holds no {type(value).__name__}")
