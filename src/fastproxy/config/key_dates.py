"""Dates of public keys: how they are written, and what a config says of those that are near or past.

A key counts up to its date and no longer, by the clock that tells people the time: set back, it counts again.
Knows nothing of what is done about a key that has ended.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastproxy.config.problem import Path
from fastproxy.config.snapshot import Peer

if TYPE_CHECKING:  # workers need dates, and no parser of configs
    from fastproxy.config.resolve import Resolver

DAY_S = 86_400.0
WARNING_S = 30 * DAY_S
"""How long before its date a key is warned of."""
ADVICE = "make another with `fastproxy keys new NAME`, and list it beside this one on both sides in time"


def shown_date(unix_s: float) -> str:
    """Return a date as configs write it."""
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def check_dates(peer: Peer, path: Path, use: str, resolver: Resolver) -> None:
    """Say which keys of a peer have passed their date, or will soon.

    With none left, nobody proves this name any more. A proxy that starts again carries on with the others all
    the same, as it did when the date came.

    Args:
        path: what stands for all its keys. use: who it is, e.g. "caller web".
        resolver: knows the time, and gets what is wrong.
    """
    if not peer.key_dates:
        return
    now_unix_s = resolver.now_unix_s
    if not peer.at(now_unix_s).public_keys:
        latest = shown_date(max(peer.key_dates.values()))
        resolver.lapse(
            path, f"every public key of {use} has passed its date, the last one on {latest}", ADVICE
        )
        return
    for key, not_after_unix_s in peer.key_dates.items():
        shown = f"the key {key.hex()[:8]}… of {use}"
        if now_unix_s > not_after_unix_s:
            resolver.warn(path, f"{shown} has passed its date, {shown_date(not_after_unix_s)}", "remove it")
        elif not_after_unix_s - now_unix_s < WARNING_S:
            days = int((not_after_unix_s - now_unix_s) / DAY_S)
            resolver.warn(path, f"{shown} ends in {days} day(s), on {shown_date(not_after_unix_s)}", ADVICE)
