"""What the in proxy's log says of links that didn't come about: where from, why, and what a person can do.

A stranger can make as many of them as it likes: of each cause only so many lines are written, and the next
line says how many were left out. The metric of failed handshakes counts them all.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from msgspec import Struct

from fastproxy.telemetry.failure_words import advice_on
from fastproxy.telemetry.failures import Failures, failure_of_handshake
from fastproxy.wire.link.errors import LinkError

LINES = 10
"""Of one cause, within `PERIOD_S`."""
PERIOD_S = 10.0

_LOG = logging.getLogger("fastproxy.link")


class _Written(Struct):
    """What was written of one cause. since_s: when its period began."""

    since_s: float
    lines: int = 0
    left_out: int = 0


class RefusalLog:
    """Writes the lines.

    Args:
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
        failures: keeps the last ones of each cause.
    """

    def __init__(
        self, clock: Callable[[], float], unix_clock: Callable[[], float], failures: Failures
    ) -> None:
        self._clock = clock
        self._unix_clock = unix_clock
        self._failures = failures
        self._written: dict[str, _Written] = {}

    def note(self, peer: str, error: LinkError) -> None:
        """Keep it, and write a line if there weren't too many of its cause.

        Args:
            peer: address that the link was wanted from. error: why it didn't come about.
        """
        self._failures.add(
            failure_of_handshake(error.label, error.detail, error.numbers, peer, self._unix_clock())
        )
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
                "advice": advice_on(error.label),
                "left_out": written.left_out,
            },
        )
        written.left_out = 0
