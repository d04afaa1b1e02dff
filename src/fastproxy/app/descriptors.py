"""How many descriptors this process may have, and what the log says when they run out."""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable

from fastproxy.net.descriptors import Descriptors

PERIOD_S = 10.0
"""Time between two lines at least: each refusal would fill a disk."""

_LOG = logging.getLogger("fastproxy")


class ShortageLog:
    """Writes a line at the first refusal, and then every so often how many there were.

    Args:
        clock: monotonic time in seconds. limit: descriptors that this process may have.
    """

    def __init__(self, clock: Callable[[], float], limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._next_s = 0.0
        self._left_out = 0

    def note(self) -> None:
        """A connection was refused, or not made."""
        now_s = self._clock()
        if now_s < self._next_s:
            self._left_out += 1
            return
        self._next_s = now_s + PERIOD_S
        _LOG.warning(
            "file descriptors run out; connections are refused",
            extra={
                "limit": self._limit,
                "left_out": self._left_out,
                "advice": "raise the limit on open files that this proxy is started with, or add workers",
            },
        )
        self._left_out = 0


def descriptors(clock: Callable[[], float]) -> Descriptors:
    """Return what knows when this process's descriptors run out.

    Args:
        clock: monotonic time in seconds.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Descriptors(limit, ShortageLog(clock, limit).note)
