"""Bodies on their way into and out of sealed messages, piece by piece.

A sealed message is a stream of records; nothing here holds more than one piece of it. What arrives opens
record by record, and ends with its last record or not at all: a cut body is an error, never a short body.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Protocol

from fastproxy.errors import Cause, ProxyError, beyond
from fastproxy.model import Body, Headers
from fastproxy.net.framing import ParseTrailers
from fastproxy.net.http1 import write_fields
from fastproxy.proxy.fields import is_reserved
from fastproxy.wire.records import MAX_DATA_BYTES, Chunk


class Sealer(Protocol):
    """Seals one message, record by record."""

    def record(self, meta: bytes, data: bytes, last: bool) -> bytes:
        """Return the next piece of the message."""
        ...


class Opener(Protocol):
    """Opens one message, however its bytes arrive.

    pending: records that are here wait to be opened, by `feed(b"")`.
    """

    @property
    def pending(self) -> bool: ...

    def feed(self, data: bytes) -> list[Chunk]:
        """Take the next bytes and return the chunks that they complete."""
        ...

    def eof(self) -> None:
        """Say that no more bytes will come; raise if the last record hasn't."""
        ...


def seal_all(sealer: Sealer, meta: bytes, data: bytes) -> bytes:
    """Seal a message whose body is here entirely, in as many records as it needs."""
    pieces = []
    at = 0
    while len(data) - at > MAX_DATA_BYTES:
        pieces.append(sealer.record(meta, data[at : at + MAX_DATA_BYTES], last=False))
        at += MAX_DATA_BYTES
        meta = b""
    pieces.append(sealer.record(meta, data[at:], last=True))
    return b"".join(pieces)


class SealedBody:
    """Seals a body as it is read; itself a body, for the outer message.

    Args:
        sealer: of this message.
        first: what goes out before anything of the body has come (header and first record), or b"".
        body: the plain body.
    """

    __slots__ = ("_body", "_ended", "_first", "_sealer", "length", "started", "trailers")

    def __init__(self, sealer: Sealer, first: bytes, body: Body) -> None:
        self._sealer = sealer
        self._first = first
        self._body = body
        self._ended = False
        self.length: int | None = None
        self.started = False
        self.trailers: Headers = []

    async def read(self) -> bytes:
        """Return the next sealed piece; b"" after the last record."""
        self.started = True
        if self._first:
            first, self._first = self._first, b""
            return first
        if self._ended:
            return b""
        data = await self._body.read()
        if not data:
            self._ended = True
            return self._sealer.record(write_fields(self._body.trailers), b"", last=True)
        if len(data) <= MAX_DATA_BYTES:
            return self._sealer.record(b"", data, last=False)
        return b"".join(
            [
                self._sealer.record(b"", data[at : at + MAX_DATA_BYTES], last=False)
                for at in range(0, len(data), MAX_DATA_BYTES)
            ]
        )

    def close(self) -> None:
        """The rest is not wanted."""
        self._body.close()


class OpenedBody:
    """Opens a sealed body as it is read.

    Args:
        chunks: what came along with the head; the head itself is taken out of the first one.
        opener: of this message.
        outer: the sealed bytes.
        length: as the sealed head declares it, or None; a body of another length is broken.
        limit_bytes: refuse more than this; None for no limit.
        broken: the row of the error table for a body that isn't what its head says.
        too_large: the row for one over the limit.
        parse_trailers: judges those in the last record.
    """

    __slots__ = (
        "_broken",
        "_chunks",
        "_ended",
        "_limit",
        "_opener",
        "_outer",
        "_parse_trailers",
        "_received",
        "_too_large",
        "length",
        "started",
        "trailers",
    )

    def __init__(
        self,
        chunks: list[Chunk],
        opener: Opener,
        outer: Body,
        length: int | None,
        limit_bytes: int | None,
        broken: Cause,
        too_large: Cause,
        parse_trailers: ParseTrailers,
    ) -> None:
        self._parse_trailers = parse_trailers
        self._chunks = chunks
        self._opener = opener
        self._outer = outer
        self._limit = limit_bytes
        self._broken = broken
        self._too_large = too_large
        self._received = 0
        self._ended = False
        self.length = length
        self.started = False
        self.trailers: Headers = []

    async def read(self) -> bytes:
        """Return the next opened piece; b"" at the end, which the last record alone can bring."""
        self.started = True
        while not self._ended:
            data = self._take()
            if data:
                return data
            if self._ended:
                break
            if self._opener.pending:
                self._chunks += self._opener.feed(b"")
                continue
            sealed = await self._outer.read()
            if sealed:
                self._chunks += self._opener.feed(sealed)
            else:
                self._opener.eof()
        await self._end_outer()
        return b""

    async def _end_outer(self) -> None:
        """Wait for the end of what carried the message, so that its connection is free again.

        The message is complete and proven: whatever comes instead of that end concerns the connection only.
        """
        outer, self._outer = self._outer, NO_MORE
        with suppress(ProxyError):
            if await outer.read():
                outer.close()

    def _take(self) -> bytes:
        chunks, self._chunks = self._chunks, []
        if not chunks:
            return b""
        data = chunks[0].data if len(chunks) == 1 else b"".join([chunk.data for chunk in chunks])
        received = self._received + len(data)
        if self._limit is not None and received > self._limit:
            raise beyond(self._too_large, self._limit)
        last = chunks[-1]
        if self.length is not None:
            if received > self.length or (last.last and received != self.length):
                raise ProxyError(self._broken, "the body has another length than its head says")
            if received == self.length and not last.last:  # it would look complete: hold back until it is
                self._chunks = [Chunk(b"", data, last=False)]
                return b""
        self._received = received
        if last.last:
            self._ended = True
            if last.meta:
                trailers = self._parse_trailers(last.meta)
                self.trailers = [field for field in trailers if not is_reserved(field[0])]
        return data

    def close(self) -> None:
        """The rest is not wanted."""
        if not self._ended:
            self._ended = True
            self._outer.close()


class _NoMore:
    """What follows a message that came whole: nothing."""

    __slots__ = ("length", "started", "trailers")

    def __init__(self) -> None:
        self.length: int | None = 0
        self.started = False
        self.trailers: Headers = []

    async def read(self) -> bytes:
        return b""

    def close(self) -> None:
        pass


NO_MORE: Body = _NoMore()
