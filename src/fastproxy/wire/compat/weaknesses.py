"""Wire format v1: what an agreement with one caller leaves open, for the warnings at start and the metrics.

What the format itself leaves open, whatever is configured, stands in `docs/wire.md`. Knows keys by their
names and lengths, and whether two of them are one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fastproxy.wire.compat.keys import SignKey
from fastproxy.wire.compat.sealing import CompatCaller

SHORT_SECRET_BYTES = 16
"""Below 128 bits, one recorded message is enough to find a sign key by trying."""

UNSIGNED = "unsigned"
SHARED_SIGN_KEY = "shared_sign_key"
SHORT_SIGN_KEY = "short_sign_key"
PADDING_ORACLE = "padding_oracle"
UNENCRYPTED = "unencrypted"

CLAIMED = frozenset((UNSIGNED, SHARED_SIGN_KEY))
"""With one of these, the caller is whoever says so: the config must trust the claim."""


@dataclass(frozen=True, slots=True)
class Weakness:
    """One thing that a caller's agreement leaves open.

    caller: its name. label: one of the above, for metrics. words: what it means.
    """

    caller: str
    label: str
    words: str


def weaknesses(callers: Iterable[CompatCaller]) -> list[Weakness]:
    """Return what is weak about these callers, in their order; none of it is a secret."""
    callers = tuple(callers)
    return [
        Weakness(caller.name, label, words) for caller in callers for label, words in _of_one(caller, callers)
    ]


def _of_one(caller: CompatCaller, callers: tuple[CompatCaller, ...]) -> list[tuple[str, str]]:
    found = []
    if not caller.sign:
        found.append((UNSIGNED, "does not have to sign: whoever reaches the listener can pose as it"))
    for key in caller.sign:
        others = [other.name for other in callers if other is not caller and _has_secret(other, key)]
        if others:
            words = f"shares its sign key {key.name} with {', '.join(others)}: each can pose as the other"
            found.append((SHARED_SIGN_KEY, words))
        if key.secret_bytes < SHORT_SECRET_BYTES:
            words = f"signs with {key.name}, which is short enough to be found by trying"
            found.append((SHORT_SIGN_KEY, words))
    if not caller.encrypt:
        found.append((UNENCRYPTED, "does not have to encrypt: its bodies can be read on the way"))
    elif not caller.sign:
        words = "encrypts without signing: by trying paddings its bodies can be decrypted and forged"
        found.append((PADDING_ORACLE, words))
    return found


def _has_secret(caller: CompatCaller, key: SignKey) -> bool:
    return any(own.shares_secret(key) for own in caller.sign)
