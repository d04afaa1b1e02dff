"""Whole messages leave together: what a turn of the event loop has made is written when the turn is over.

A write takes the kernel through the whole of TCP, and mostly wakes whoever waits at the other end, who then
wants a processor. In between two requests that costs both of them the caches. So requests are dealt with one
after the other, and then written one after the other (docs/tuning.md has the figures).

Who writes to a transport by itself calls `flush` before, so that nothing overtakes what waits.
Knows nothing of connections, or of what a message is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

AT_A_TIME = 32
"""So many leave before the turn is over, for the other end to begin with."""


class Sender(Protocol):
    """Who wants to know whether its message was written. is_queued: set by it before, and False since."""

    is_queued: bool


class Outbox:
    """What waits to be written.

    Args:
        later: calls what it is given when the turn of the loop is over: `loop.call_soon`.
        at_a_time: so many messages leave before that.
    """

    __slots__ = ("_at_a_time", "_later", "_waiting")

    def __init__(self, later: Callable[[Callable[[], None]], object], at_a_time: int = AT_A_TIME) -> None:
        self._later = later
        self._at_a_time = at_a_time
        self._waiting: list[tuple[asyncio.Transport, bytes, Sender | None]] = []

    def put(self, transport: asyncio.Transport, message: bytes, sender: Sender | None = None) -> None:
        """Write a message when the turn is over.

        Args:
            sender: is told once it is written.
        """
        waiting = self._waiting
        if not waiting:
            self._later(self.flush)
        waiting.append((transport, message, sender))
        if len(waiting) >= self._at_a_time:
            self.flush()

    def flush(self) -> None:
        """Write all that waits; what is for a connection that has ended meanwhile is dropped."""
        waiting, self._waiting = self._waiting, []
        for transport, message, sender in waiting:
            if transport.is_closing():
                continue
            if sender is not None:
                sender.is_queued = False
            try:
                transport.write(message)
            except Exception:  # whatever is wrong with one connection, the others have their messages
                transport.abort()


AT_ONCE = Outbox(lambda flush: None, at_a_time=1)
"""Keeps nothing: for whoever has few messages."""
