"""What the in proxy's log says of links that didn't come about: where from, why, and what a person can do.

A stranger can make as many of them as it likes: of each cause only so many lines are written, and the next
line says how many were left out. The metric of failed handshakes counts them all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Struct

from fastproxy.wire.link.errors import LinkError

LINES = 10
"""Of one cause, within `PERIOD_S`."""
PERIOD_S = 10.0

_LOG = logging.getLogger("fastproxy.link")

_ADVICE = {
    "mac": "the out proxy there has another public key for this receiver: compare its `receivers` with "
    "`fastproxy keys show` here; or it is no out proxy",
    "handshake": "the out proxy there has another name for this receiver, or a middlebox changes what "
    "passes; or it is no out proxy",
    "unknown_caller": "add the caller's public key to `callers` or `callers_dir` here, if it may call; "
    "`fastproxy keys show` prints key ids",
    "key_ended": "give the caller there another key, made with `fastproxy keys new`, and list it here with a "
    "later date",
    "record": "the caller there has another `psk` than here, or somebody repeats what they recorded",
    "version": "update the older one of the two proxies",
    "identity": "compare the names in the caller's certificate with the `tls_id` of `callers` here",
    "tls": "compare the CAs and dates of both sides' certificates; or it is no out proxy",
    "timeout": "look at the network to this address; `link.handshake_timeout_s` is the limit",
    "closed": "the out proxy there says why in its answers (`link_refused`); a port scan looks like this too",
    "lost": "look at the network to this address, and whether the out proxy there was killed",
    "rate": "find out why so many links are made there, or raise `link.new_links_per_peer_per_s`",
    "user": "run the out proxy under a user of `listen.allowed_uids`, or add its uid there",
    "half_open": "find out who lets so many handshakes hang, or raise `link.handshakes`",
    "links": "find out why so many out proxies run under this key, or raise `link.links_per_caller`",
    "draining": "nothing: this proxy is shutting down, others take the calls",
}
_OTHER_ADVICE = "somebody there doesn't keep to the protocol of links"


class _Written(Struct):
    """What was written of one cause. since_s: when its period began."""

    since_s: float
    lines: int = 0
    left_out: int = 0


class RefusalLog:
    """Writes the lines.

    Args:
        clock: monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._written: dict[str, _Written] = {}

    def note(self, peer: str, error: LinkError) -> None:
        """Write a line, if there weren't too many of its cause.

        Args:
            peer: address that the link was wanted from. error: why it didn't come about.
        """
        now_s = self._clock()
        written = self._written.setdefault(error.label, _Written(now_s))
        if now_s - written.since_s >= PERIOD_S:
            written.since_s, written.lines = now_s, 0
        if written.lines >= LINES:
            written.left_out += 1
            return
        written.lines += 1
        _LOG.warning(
            "a link was refused",
            extra={
                "peer": peer,
                "cause": error.label,
                "detail": error.detail,
                "advice": _ADVICE.get(error.label, _OTHER_ADVICE),
                "left_out": written.left_out,
            },
        )
        written.left_out = 0
