"""One exchange's content on a link: the sending side, in turns and within credit, and the body that comes.

Credit counts content before compression, so that it bounds what the other end holds.
"""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.errors import CONNECTION_LOST, Cause, ProxyError, beyond
from fastproxy.model import Content, Headers
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import write_fields
from fastproxy.net.link.link import Link, added_credit
from fastproxy.wire.compressors import COMPRESSORS, BrokenDataError
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import (
    COMPRESSED,
    DATA,
    END,
    HEADER,
    HEADER_BYTES,
    LENGTH_BITS,
    MAX_DATA_BYTES,
    TRAILERS,
    WINDOW,
    build_window,
    frame,
)
from fastproxy.wire.records import Packing

_JOINED_BYTES = 4096
"""A piece that has come is held together with the one before it, unless that one is as large as this."""

SMALL_BYTES = 64
"""Content in pieces smaller than this costs the receiver of it more than the sender."""
_PIECE_BYTES = MAX_DATA_BYTES - HEADER_BYTES
"""Content that leaves in one frame; two frames fill a record."""
_PIECES_A_TURN = 2
"""Of one stream, where they are read when they may leave: both of the records of a turn of the loop. To go on
with a stream costs less than to begin with the next."""
_WORTH_A_JOIN_BYTES = 16_384
"""Pieces of this size go on one by one: joining them would cost a copy."""


def _tell_nobody() -> None:
    pass


def pack_content(data: bytes, packing: Packing) -> tuple[int, bytes]:
    """Return a piece of content as a frame carries it, and the flag that says how."""
    compressor = packing.compressor
    if compressor is not None and len(data) >= packing.threshold_bytes:
        compressed = compressor.compress(data)
        if len(compressed) < len(data):
            return COMPRESSED, bytes((compressor.compressor_id,)) + compressed
    return 0, data


def unpack_content(kind: int, data: bytes) -> bytes:
    """Return a piece of content of a frame of this kind, with its flags.

    Raises:
        LinkError: it doesn't decompress, or holds more than a piece may.
    """
    if kind & COMPRESSED:
        compressor = COMPRESSORS.get(data[0]) if data else None
        if compressor is None:
            raise LinkError("compression", "unknown compressor")
        try:
            data = compressor.decompress(data[1:], MAX_DATA_BYTES)
        except BrokenDataError as error:
            raise LinkError("compression", f"{compressor.name} data {error}") from error
    if len(data) > MAX_DATA_BYTES:
        raise LinkError("frame", "more content than a frame holds")
    return data


class ContentSender:
    """Sends the content of one direction of a stream.

    window: content bytes that the peer takes of this stream.

    Args:
        link, stream_id: where. packing: compression and padding.
    """

    __slots__ = ("_link", "_packing", "_stream_id", "_waiter", "window")

    def __init__(self, link: Link, stream_id: int, packing: Packing) -> None:
        self._link = link
        self._stream_id = stream_id
        self._packing = packing
        self._waiter: Waiter[None] | None = None
        self.window = link.peer_stream_window_bytes

    def add_credit(self, size_bytes: int) -> None:
        """The peer takes more.

        Raises:
            LinkError: than a window holds.
        """
        self.window = added_credit(self.window, size_bytes)
        if self._waiter is not None:
            self._waiter.set(None)

    async def send(self, content: Content) -> int:
        """Send all of it and its end; return how many bytes there were.

        Raises:
            ProxyError: what reading it raised; or CONNECTION_LOST, the link has ended.
        """
        link = self._link
        if type(content) is bytes and content:
            await self._send_pieces(content, END)
            return len(content)
        if type(content) is bytes:
            link.send(frame(DATA | END, self._stream_id, b""))
            return 0
        size_bytes = left = 0
        while True:
            if not left:
                left = _PIECES_A_TURN
                if link.has_queue:
                    await link.reading_turn()  # what is read when it may leave is still in the caches then
            left -= 1
            data = await content.read()  # type: ignore[union-attr]
            if not data:
                break
            data_bytes = len(data)
            size_bytes += data_bytes
            if data_bytes <= _PIECE_BYTES and data_bytes <= self.window and link.has_room(data_bytes):
                self._send_piece(data, 0)
            else:
                await self._send_pieces(data, 0, has_turn=link.has_room(1))
        trailers = write_fields(content.trailers)  # type: ignore[union-attr]
        link.send(frame((TRAILERS if trailers else DATA) | END, self._stream_id, trailers))
        return size_bytes

    async def _send_pieces(self, data: bytes, end: int, *, has_turn: bool = False) -> None:
        """Send `data`; the last piece carries the flag `end`. has_turn: the first has had its turn."""
        link, at = self._link, 0
        while at < len(data):
            while self.window <= 0 and not link.closed:
                await self._wait_for_credit()
                has_turn = False
            if not has_turn:
                await link.turn()
            has_turn = False
            if link.closed:
                raise ProxyError(CONNECTION_LOST, "the link has ended", sent=True)
            size_bytes = min(len(data) - at, _PIECE_BYTES, self.window, link.credit - link.reserve_bytes)
            piece = memoryview(data)[at : at + size_bytes]
            at += size_bytes
            self._send_piece(piece, end if at == len(data) else 0)

    def _send_piece(self, piece: bytes | memoryview, end: int) -> None:
        """Send what is one frame, in its turn, and has the credit for it."""
        link, size_bytes = self._link, len(piece)
        self.window -= size_bytes
        link.credit -= size_bytes
        kind = DATA | end
        if self._packing.compressor is not None:
            flag, piece = pack_content(bytes(piece), self._packing)
            kind |= flag
        header = HEADER.pack(kind << LENGTH_BITS | len(piece), self._stream_id)
        link.send_content(header, piece, self._packing.pad_to_bytes)

    async def _wait_for_credit(self) -> None:
        self._link.counters.stalls += 1
        waiter = self._waiter = Waiter()
        try:
            await waiter
        finally:
            self._waiter = None


class LinkBody:
    """Content that comes over a link; a `Body`. Held within the stream's window.

    over: set once all of it was read, or the rest isn't wanted.

    Args:
        link, stream_id: where it comes.
        length: as declared by the head, or None; content of another length is broken.
        limit_bytes: refuse more than this; None for no limit.
        broken, too_large: rows of the error table for either.
        is_reserved: says by name which trailers end here.
        on_close: called when the reader doesn't want the rest.
        on_read: called once, when it is first read, if nothing has come yet.
    """

    __slots__ = (
        "_broken",
        "_closed",
        "_done",
        "_error",
        "_held",
        "_is_reserved",
        "_limit",
        "_link",
        "_on_close",
        "_on_read",
        "_owed",
        "_pieces",
        "_received",
        "_room",
        "_size",
        "_stream_id",
        "_too_large",
        "_waiter",
        "length",
        "over",
        "started",
        "trailers",
    )

    def __init__(
        self,
        link: Link,
        stream_id: int,
        length: int | None,
        limit_bytes: int | None,
        broken: Cause,
        too_large: Cause,
        is_reserved: Callable[[bytes], bool],
        on_close: Callable[[], None],
        on_read: Callable[[], None] | None = None,
    ) -> None:
        self.length = length
        self.started = False
        self.trailers: Headers = []
        self.over: Waiter[None] = Waiter()
        self._link = link
        self._stream_id = stream_id
        self._limit = limit_bytes
        self._broken = broken
        self._too_large = too_large
        self._is_reserved = is_reserved
        self._room = link.settings.params.stream_window_bytes
        self._owed = 0
        self._on_close = on_close
        self._on_read = on_read
        self._pieces: list[bytes] = []
        self._held = b""  # what would make it look complete before it is
        self._size = 0
        self._received = 0
        self._done = self._closed = False
        self._error: ProxyError | None = None
        self._waiter: Waiter[None] | None = None

    @property
    def complete(self) -> bool:
        """Whether all of it has come (read or not)."""
        return self._done

    async def read(self) -> bytes:
        """Return what has come, waiting for it if nothing has; b"" at the end."""
        self.started = True
        if not self._pieces and not self._done and self._error is None:
            if self._on_read is not None:
                on_read, self._on_read = self._on_read, None
                on_read()
            self._waiter = Waiter()
            try:
                await self._waiter
            finally:
                self._waiter = None
        if self._error is not None:
            raise self._error.again()
        pieces = self._pieces
        if not pieces:
            self.over.set(None)
            return b""
        if len(pieces) == 1 or len(pieces[0]) >= _WORTH_A_JOIN_BYTES:
            data = pieces.pop(0)
        else:
            data = b"".join(pieces)
            pieces.clear()
        size_bytes = len(data)
        self._size -= size_bytes
        self._consumed(size_bytes)
        return data

    def push(self, data: bytes) -> None:
        """A piece has come.

        Raises:
            LinkError: more than this end takes.
        """
        size_bytes = len(data)
        self._link.arrived(size_bytes)
        self._room -= size_bytes
        if self._room < 0:
            raise LinkError("window", "more content than the stream takes")
        if self._closed or self._error is not None or self._done:
            self._consumed(size_bytes)
            return
        self._on_read = None
        received = self._received = self._received + size_bytes
        if self._limit is not None and received > self._limit:
            self._consumed(size_bytes)
            self.fail(beyond(self._too_large, self._limit))
        elif self.length is not None and received > self.length:
            self._consumed(size_bytes)
            self._fail_length()
        elif received == self.length:
            self._held = data
        else:
            self._keep(data)

    def finish(self, trailers: Headers) -> None:
        """All of it has come."""
        if self.length is not None and self._received != self.length:
            self._fail_length()
            return
        if self._error is not None:
            return
        self._done = True
        self._on_close = _tell_nobody  # a stream that this holds, and that holds this, would outlive its end
        self.trailers = [field for field in trailers if not self._is_reserved(field[0])]
        held, self._held = self._held, b""
        if held and not self._closed:
            self._keep(held)
        elif self._waiter is not None:
            self._waiter.set(None)

    def fail(self, error: ProxyError) -> None:
        """It will never be complete. What has come is dropped: the message is broken."""
        if self._done or self._error is not None:
            return
        self._error = error
        self._drop()
        if self._waiter is not None:
            self._waiter.set(None)

    def close(self) -> None:
        """The rest is not wanted."""
        if not self._closed:
            self._closed = True
            self._drop()
            on_close, self._on_close = self._on_close, _tell_nobody
            self._on_read = None
            on_close()
            self.over.set(None)

    def _consumed(self, size_bytes: int) -> None:
        """Content was read, or isn't wanted: the peer may send as much again."""
        self._link.consumed(size_bytes)
        owed_bytes = self._owed = self._owed + size_bytes
        if owed_bytes * 2 >= self._link.settings.params.stream_window_bytes and not self._done:
            self._room += owed_bytes
            self._owed = 0
            self._link.send(frame(WINDOW, self._stream_id, build_window(owed_bytes)))

    def _keep(self, data: bytes) -> None:
        pieces = self._pieces
        if pieces and len(pieces[-1]) < _JOINED_BYTES:  # else pieces of a byte would take 40 times the window
            pieces[-1] += data
        else:
            pieces.append(data)
        self._size += len(data)
        if self._waiter is not None:
            self._waiter.set(None)

    def _drop(self) -> None:
        size_bytes = self._size + len(self._held)
        self._pieces.clear()
        self._held = b""
        self._size = 0
        if size_bytes:
            self._consumed(size_bytes)

    def _fail_length(self) -> None:
        self.fail(ProxyError(self._broken, "the body has another length than its head says"))
