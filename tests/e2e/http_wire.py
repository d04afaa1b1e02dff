"""HTTP/1.1 as bytes, for the test's own clients and services; independent of the code under test.

What the proxies send is taken apart line by line and never corrected: whatever is not well-formed fails the
test.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

Fields = list[tuple[str, str]]

_LINE_BYTES = 1 << 20
_PIECE_BYTES = 1 << 16


class CutError(Exception):
    """The connection ended inside a message, or before one."""


@dataclass
class Head:
    """First line and fields of a message, as they were spelled."""

    start: str
    fields: Fields = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        """The values of every field of this name, in order."""
        return [value for each, value in self.fields if each.lower() == name]

    def get(self, name: str) -> str:
        """The value of the one field of this name, "" when there is none."""
        values = self.all(name)
        assert len(values) < 2, f"{name} stands there {len(values)} times"
        return values[0] if values else ""


@dataclass
class Message(Head):
    """A whole message. whole: False when the connection ended inside it; `body` is then what came of it."""

    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    whole: bool = True


def read_head(stream: BinaryIO) -> Head:
    """Read up to the empty line.

    Raises:
        CutError: the connection ended before that.
    """
    return Head(_line(stream), _fields(stream))


def body_pieces(
    stream: BinaryIO, head: Head, trailers: Fields, *, until_close: bool = False
) -> Iterator[bytes]:
    """Yield the content as it comes.

    Args:
        head: of the message. trailers: get filled.
        until_close: whether content without framing ends with the connection (responses), or isn't there.

    Raises:
        CutError: the connection ended inside it.
    """
    length, coding = head.get("content-length"), head.get("transfer-encoding")
    assert not (length and coding), "two framings"
    if coding:
        assert coding == "chunked"
        while size := int(_line(stream).partition(";")[0], 16):
            yield from _exactly(stream, size)
            assert _line(stream) == ""
        trailers.extend(_fields(stream))
    elif length:
        yield from _exactly(stream, int(length))
    elif until_close:
        while data := stream.read1(_PIECE_BYTES):  # type: ignore[attr-defined]
            yield data


def read_message(stream: BinaryIO) -> Message:
    """Read a request with its content.

    Raises:
        CutError: the connection ended before its head was through.
    """
    return read_rest(stream, read_head(stream))


def read_rest(stream: BinaryIO, head: Head, *, until_close: bool = False, bodiless: bool = False) -> Message:
    """Read what follows a head; a message that is cut inside its content comes back with `whole` False."""
    message = Message(head.start, head.fields)
    pieces: list[bytes] = []
    try:
        if not bodiless:
            pieces.extend(body_pieces(stream, head, message.trailers, until_close=until_close))
    except (CutError, ConnectionError):
        message.whole = False
    message.body = b"".join(pieces)
    return message


def chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    """Frame pieces as chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n%b\r\n" % trailers


def _line(stream: BinaryIO) -> str:
    line = stream.readline(_LINE_BYTES)
    if not line.endswith(b"\r\n"):
        raise CutError
    assert line.count(b"\r") == 1, "a bare CR in a line"
    return line[:-2].decode("latin-1")


def _fields(stream: BinaryIO) -> Fields:
    fields: Fields = []
    while line := _line(stream):
        name, colon, value = line.partition(":")
        assert colon, f"no field: {line!r}"
        assert name == name.strip(), f"no field: {line!r}"
        fields.append((name, value.strip()))
    return fields


def _exactly(stream: BinaryIO, size: int) -> Iterator[bytes]:
    while size:
        data = stream.read1(min(size, _PIECE_BYTES))  # type: ignore[attr-defined]
        if not data:
            raise CutError
        size -= len(data)
        yield data
