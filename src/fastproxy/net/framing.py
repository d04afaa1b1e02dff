"""HTTP/1.1 bodies: how far one reaches, and the stream that carries it to whoever reads.

Sized bodies are counted. Chunked ones are decoded here and not by httptools, for two reasons: it doesn't say
where in the bytes it was given a chunked message ends, so that a pipelined request behind it would be lost;
and it lets through bare line feeds and extensions that RFC 9112, section 7.1 doesn't allow.
Knows nothing of sockets: what comes in is pushed by the connection, what a reader takes away lets the
connection read on.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from fastproxy.errors import BODY_TOO_LARGE, HEADERS_TOO_LARGE, MALFORMED_REQUEST, Cause, ProxyError, beyond
from fastproxy.model import Headers
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import FORBIDDEN_TRAILERS, TRAILER, HeadLimits

BUFFER_BYTES = 262144
"""A body whose reader is slow is buffered up to this size before its connection stops reading."""

_PULLS = 16
"""So many pieces a reader takes itself in a row; then the loop has its turn, and whoever else waits."""
_AHEAD_BYTES = 65_536
"""A piece of this size that nobody waited for stops the reading where the reader can pull the next one."""
_CHUNK_LINE_BYTES = 256
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_CHUNK_LINE = re.compile(
    rb"([0-9A-Fa-f]{1,15})(?:;" + _TOKEN + rb"(?:=(?:" + _TOKEN + rb'|"[\t !#-\[\]-~]*+"))?+)*+'
)


class Sized:
    """A body of `length` bytes."""

    __slots__ = ("done", "left", "trailers")

    def __init__(self, length: int) -> None:
        self.left = length
        self.trailers: Headers = []
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Part `data` into what belongs to the body and what comes after it."""
        if len(data) < self.left:
            self.left -= len(data)
            return data, b""
        content, rest = data[: self.left], data[self.left :]
        self.left = 0
        self.done = True
        return content, rest

    def eof(self) -> bool:
        """Whether the body may end with the connection."""
        return False


class UntilClose:
    """A response's body that ends with its connection."""

    __slots__ = ("done", "trailers")

    def __init__(self) -> None:
        self.trailers: Headers = []
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """All of it belongs to the body."""
        return data, b""

    def eof(self) -> bool:
        """Whether the body may end with the connection."""
        return True


class Chunked:
    """A chunked body (RFC 9112, section 7.1).

    Args:
        cause: row of the error table for what breaks the rules.
        trailer_bytes, trailer_count: bounds on the trailer section.
    """

    __slots__ = (
        "_at",
        "_buffer",
        "_cause",
        "_left",
        "_state",
        "_trailer_bytes",
        "_trailer_count",
        "done",
        "trailers",
    )

    def __init__(
        self, cause: Cause = MALFORMED_REQUEST, trailer_bytes: int = 8192, trailer_count: int = 50
    ) -> None:
        self._cause = cause
        self._trailer_bytes = trailer_bytes
        self._trailer_count = trailer_count
        self._buffer = b""
        self._at = 0  # where in the buffer the next step begins: cutting it there for every chunk would let
        # a peer that sends chunks of one byte make each read cost its square
        self._left = 0
        self._state = self._size_line
        self.trailers: Headers = []
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Part `data` into decoded content and what comes after the body.

        Raises:
            ProxyError: of the given cause; the detail names the rule.
        """
        self._buffer = self._buffer + data if self._buffer else data
        self._at = 0
        pieces: list[bytes] = []
        while not self.done and self._state(pieces):
            pass
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        rest = self._buffer[self._at :]
        if not self.done:
            self._buffer = rest
            return content, b""
        self._buffer = b""
        return content, rest

    def eof(self) -> bool:
        """Whether the body may end with the connection."""
        return False

    def _size_line(self, pieces: list[bytes]) -> bool:
        at = self._at
        end = self._buffer.find(b"\r\n", at, at + _CHUNK_LINE_BYTES + 2)
        line = self._buffer[at : end if end >= 0 else at + _CHUNK_LINE_BYTES + 1]
        if end < 0:
            if len(line) > _CHUNK_LINE_BYTES:
                raise ProxyError(self._cause, f"a chunk's size line is longer than {_CHUNK_LINE_BYTES} bytes")
            if b"\n" in line:
                raise ProxyError(self._cause, "a bare line feed in a chunk's size line")
            return False
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise ProxyError(self._cause, "a chunk's size line is not a hexadecimal size with extensions")
        self._at = end + 2
        self._left = int(match[1], 16)
        self._state = self._data if self._left else self._trailer
        return True

    def _data(self, pieces: list[bytes]) -> bool:
        at = self._at
        data = self._buffer[at : at + self._left]
        if data:
            pieces.append(data)
            self._left -= len(data)
            self._at = at = at + len(data)
        if self._left:
            return False
        end = self._buffer[at : at + 2]
        if end != b"\r\n":
            if end not in (b"", b"\r"):
                raise ProxyError(self._cause, "a chunk's data is longer than its size")
            return False
        self._at = at + 2
        self._state = self._size_line
        return True

    def _trailer(self, pieces: list[bytes]) -> bool:
        at = self._at
        end = self._buffer.find(b"\r\n", at, at + self._trailer_bytes + 2)
        if end < 0:
            if len(self._buffer) - at > self._trailer_bytes:
                raise ProxyError(HEADERS_TOO_LARGE, f"more than {self._trailer_bytes} bytes of trailers")
            if self._buffer.find(b"\n", at) >= 0:
                raise ProxyError(self._cause, "a bare line feed in the trailer section")
            return False
        line = self._buffer[at:end]
        self._at = end + 2
        if not line:
            self.done = True
            return True
        self._trailer_bytes -= len(line)
        self.trailers.append(parse_trailer(line, self._cause))
        if len(self.trailers) > self._trailer_count:
            raise ProxyError(HEADERS_TOO_LARGE, f"more than {self._trailer_count} trailer fields")
        return True


ParseTrailers = Callable[[bytes], Headers]
"""Judges a trailer block that came sealed."""


def trailer_parser(limits: HeadLimits, broken: Cause, too_large: Cause) -> ParseTrailers:
    """Make what judges trailer blocks that came sealed, as strictly as those that came in the clear.

    Args:
        limits: bounds that hold for a head, and so for these.
        broken, too_large: rows of the error table for what breaks the rules, and the bounds.
    """

    def parse(block: bytes) -> Headers:
        if len(block) > limits.header_bytes:
            raise ProxyError(too_large, f"more than {limits.header_bytes} bytes of trailers")
        if block.count(b"\n") > limits.header_count:
            raise ProxyError(too_large, f"more than {limits.header_count} trailer fields")
        if not block.endswith(b"\r\n"):
            raise ProxyError(broken, "the trailer block does not end with a line")
        return [parse_trailer(line, broken) for line in block[:-2].split(b"\r\n")]

    return parse


def parse_trailer(line: bytes, cause: Cause) -> tuple[bytes, bytes]:
    """Judge one trailer line and take it apart.

    Raises:
        ProxyError: of `cause`: not a field, or one that must not come after the body.
    """
    match = TRAILER.fullmatch(line)
    if match is None:
        raise ProxyError(cause, "a trailer line is not a well-formed field")
    if match[1].lower() in FORBIDDEN_TRAILERS:
        raise ProxyError(cause, f"the field {match[1].decode().lower()} must not come as a trailer")
    return match[1], match[2]


Framing = Sized | Chunked | UntilClose


class IncomingBody:
    """A body that arrives piece by piece; the connection pushes, one reader reads.

    Args:
        length: as declared by the sender, or None.
        limit_bytes: refuse more than this; None for no limit.
        pause, resume: stop and restart reading from the connection.
        on_close: called when the reader doesn't want the rest.
        on_read: called once, when it is first read, if nothing has come yet.
        pull: take a piece that waits at the connection, which is paused, and push it here; False: there is
            none, or it can't tell. What is read when it is wanted is still in the caches when it goes on.
    """

    __slots__ = (
        "_buffer",
        "_closed",
        "_done",
        "_error",
        "_limit",
        "_on_close",
        "_on_read",
        "_pause",
        "_paused",
        "_pull",
        "_pulls",
        "_received",
        "_resume",
        "_size",
        "_waiter",
        "length",
        "started",
        "trailers",
    )

    def __init__(
        self,
        length: int | None,
        limit_bytes: int | None,
        pause: Callable[[], None],
        resume: Callable[[], None],
        on_close: Callable[[], None],
        on_read: Callable[[], None] | None = None,
        pull: Callable[[], bool] | None = None,
    ) -> None:
        self.length = length
        self.started = False
        self.trailers: Headers = []
        self._limit = limit_bytes
        self._pull = pull
        self._pulls = 0
        self._pause = pause
        self._resume = resume
        self._on_close = on_close
        self._on_read = on_read
        self._buffer: list[bytes] = []
        self._size = 0
        self._received = 0
        self._done = False
        self._closed = False
        self._paused = False
        self._error: ProxyError | None = None
        self._waiter: Waiter[None] | None = None

    async def read(self) -> bytes:
        """Return what has arrived, waiting for it if nothing has; b"" at the end."""
        self.started = True
        if not self._buffer:
            if self._error is not None:
                raise self._error.again()
            if self._done:
                return b""
            if self._on_read is not None:
                self._on_read()  # whoever waits for a 100 (Continue) gets it now
                self._on_read = None
            if self._paused and not self._pulled():
                self._paused = False
                self._resume()
            if not self._buffer and not self._done and self._error is None:
                self._waiter = Waiter()
                try:
                    await self._waiter
                finally:
                    self._waiter = None
            if not self._buffer:
                if self._error is not None:
                    raise self._error.again()
                return b""
        data = self._buffer[0] if len(self._buffer) == 1 else b"".join(self._buffer)
        self._buffer.clear()
        self._size = 0
        if self._paused and self._pull is None:
            self._paused = False
            self._resume()
        return data

    def _pulled(self) -> bool:
        """Take what waits at the connection, without a turn of the loop; False: it has to wait for more."""
        if self._pull is None:
            return False
        while self._pulls < _PULLS and self._pull():
            self._pulls += 1
            if self._buffer or self._done or self._error is not None:
                return True  # and no mere part of what frames the content
        self._pulls = 0
        return False

    def push(self, data: bytes) -> None:
        """More content has come."""
        if self._closed or self._error is not None or not data:
            return
        self._received += len(data)
        if self._limit is not None and self._received > self._limit:
            self.fail(beyond(BODY_TOO_LARGE, self._limit))
            return
        self._buffer.append(data)
        self._size += len(data)
        if self._waiter is not None:
            self._waiter.set(None)
        if self._waiter is None and not self._paused and self._is_ahead(len(data)):
            self._paused = True
            self._pause()

    def _is_ahead(self, come_bytes: int) -> bool:
        """Whether more comes than is wanted now."""
        if self._pull is None:
            return self._size > BUFFER_BYTES
        return max(come_bytes, self._size) >= _AHEAD_BYTES

    def finish(self, data: bytes, trailers: Headers) -> None:
        """The last piece has come; the content is complete."""
        self._received += len(data)
        if self._limit is not None and self._received > self._limit:
            self.fail(beyond(BODY_TOO_LARGE, self._limit))
            return
        self.trailers = trailers
        self._done = True
        if data and not self._closed:
            self._buffer.append(data)
        if self._waiter is not None:
            self._waiter.set(None)

    def fail(self, error: ProxyError) -> None:
        """The content will never be complete. What was buffered is dropped: the message is broken."""
        if self._done or self._error is not None:
            return
        self._error = error
        self._buffer.clear()
        if self._waiter is not None:
            self._waiter.set(None)

    @property
    def paused(self) -> bool:
        """Whether it is the reader that holds it up, not the peer."""
        return self._paused

    @property
    def complete(self) -> bool:
        """Whether all of it has come (read or not)."""
        return self._done

    def close(self) -> None:
        """The rest is not wanted."""
        if not self._closed:
            self._closed = True
            self._buffer.clear()
            if not self._done:
                self._on_close()
