"""What happens when a process has hardly a file descriptor left.

The kernel gives each new descriptor the lowest number that is free, so that the number of a connection tells
how many are taken: nothing is counted, and what files and name lookups hold counts as well. The last ones are
kept back. Who comes while no others are free is let in only to be told so, and a connection to a next hop
that would need one of them is given up: a process that had spent them all could only let callers hang.
Knows nothing of limits of the system, logs or metrics.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from fastproxy.errors import DESCRIPTORS_EXHAUSTED, ProxyError
from fastproxy.net.http1 import length_line
from fastproxy.net.timers import Timer

if TYPE_CHECKING:
    from fastproxy.net.server import Server

RESERVE = 64
"""Descriptors that are kept back; of a small limit an eighth."""
SHORTAGES = (errno.EMFILE, errno.ENFILE)
"""Errors that say that this process, or the whole system, has no descriptor left."""
_PATIENCE_S = 1.0
"""How long who is to be refused may take to say something."""


class Descriptors:
    """Knows when they run out.

    refused: connections that were refused or given up for it.

    Args:
        limit: descriptors that this process may have (RLIMIT_NOFILE).
        note: is called for each connection that is refused or given up.
    """

    __slots__ = ("_floor", "_last", "_note", "refused")

    def __init__(self, limit: int, note: Callable[[], None] = lambda: None) -> None:
        reserve = min(RESERVE, limit // 8)
        self._floor = limit - reserve
        self._last = limit - reserve // 4
        self._note = note
        self.refused = 0

    def is_short(self, fd: int) -> bool:
        """Whether a connection's descriptor is one of those that are kept back; if so it is counted."""
        if fd < self._floor:
            return False
        self.count()
        return True

    def is_last(self, fd: int) -> bool:
        """Whether there are so few that not even a refusal may wait for its request."""
        return fd >= self._last

    def count(self) -> None:
        """A connection is refused or given up."""
        self.refused += 1
        self._note()


class Refused(asyncio.Protocol):
    """A connection that is let in only to be refused: with an answer once its request comes, or, if a link
    begins on it, with a reset, which an out proxy takes for a receiver that is gone for the moment.

    Args:
        server: the listener that it came to. peer: its other end's address.
    """

    __slots__ = ("_peer", "_server", "_timer", "_transport")

    def __init__(self, server: Server, peer: str) -> None:
        self._server = server
        self._peer = peer
        self._timer = Timer(server.wheel, self._cut)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for what it says, not for long."""
        self._transport = cast(asyncio.Transport, transport)
        self._timer.set(self._server.loop.time() + _PATIENCE_S)

    def data_received(self, data: bytes) -> None:
        """Answer, and close; there is no time to read the rest of a content."""
        transport, server = self._transport, self._server
        if transport is None or transport.is_closing():
            return
        if server.links is not None and server.links.begins(data):
            self._cut()
            return
        response = server.handler.refuse(ProxyError(DESCRIPTORS_EXHAUSTED, retry_after_s=1), self._peer)
        content = cast(bytes, response.content)
        transport.write(
            b"".join((response.head.start, length_line(len(content)), b"connection: close\r\n\r\n", content))
        )
        transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._transport = None
        self._timer.retire()

    def _cut(self) -> None:
        if self._transport is not None:
            reset_at_end(self._transport)
            self._transport.abort()


def reset_at_end(transport: asyncio.Transport) -> None:
    """Let a connection end with a reset, once it is cut (SO_LINGER of 0 s); Unix sockets know none."""
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
