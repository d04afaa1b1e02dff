"""A body that can be read once more from its start, as long as little of it has been read.

A next hop may prove that it took nothing of a request (`STREAM_REFUSED`); then the request goes elsewhere, if
its body is still in hand. A caller that sends head and content in two packets must not be worse off there
than one that sends them in one.
"""

from __future__ import annotations

from fastproxy.model import Body, Headers

KEPT_BYTES = 65_536
"""Most that is kept of a body: what a call that comes in one piece may have."""


class KeptBody:
    """Keeps what was read of a body until it is more than `KEPT_BYTES`.

    started: it can't be read from its start any more.

    Args:
        body: as it comes; nothing of it was read.
    """

    __slots__ = ("_at", "_body", "_is_over", "_kept", "_kept_bytes", "length", "started", "trailers")

    def __init__(self, body: Body) -> None:
        self._body = body
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._at = 0  # how many of the pieces were read again
        self._is_over = False
        self.length = body.length
        self.started = False
        self.trailers: Headers = []

    def rewind(self) -> None:
        """Read it from its start again; not once it has `started`."""
        self._at = 0

    async def read(self) -> bytes:
        """Return the next piece; b"" at the end."""
        if self._at < len(self._kept):
            self._at += 1
            return self._kept[self._at - 1]
        if self._is_over:
            return b""
        data = await self._body.read()
        if not data:
            self._is_over = True
            self.trailers = self._body.trailers
        if not self.started and data:
            self._kept_bytes += len(data)
            if self._kept_bytes > KEPT_BYTES:
                self.started = True
                self._kept.clear()
                self._at = 0
            else:
                self._kept.append(data)
                self._at = len(self._kept)
        return data

    def close(self) -> None:
        """The rest is not wanted."""
        self._body.close()
