"""Takes what waits at a connection whose reading is paused, without a turn of the event loop.

The loop reads as soon as something is there, from all connections, 256 KiB each; by the time that a body's
turn on a link has come, what was read has left the caches. What is taken when it is wanted goes on at once.
Knows neither bodies nor framing.
"""

from __future__ import annotations

import asyncio
import os

PULL_BYTES = 65_528
"""Most that is taken at once: as much as leaves over a link in one record."""


def pull(transport: asyncio.Transport | None) -> bytes:
    """Return what waits; b"" when nothing does, or when it is for the loop to find out what has happened.

    Args:
        transport: paused, and without TLS.
    """
    if transport is None or transport.is_closing():  # its descriptor may be another connection's by now
        return b""
    sock = transport.get_extra_info("socket")
    if sock is None:
        return b""
    try:
        return os.read(sock.fileno(), PULL_BYTES)
    except OSError:  # nothing, mostly; any other error the loop meets when it reads
        return b""
