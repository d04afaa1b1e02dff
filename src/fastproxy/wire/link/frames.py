"""Frames: what records hold. Each is a header of 8 bytes and a payload; a record holds whole frames.

    header = kind (4 bits), flags (4 bits), length of the payload (24 bits), stream (32 bits)

Kind and flags share a byte, and constants stand for either at their place in it: `DATA | END` is the first
byte of a header. Stream 0 is the link itself.
Here is how payloads are laid out; which frame may come when, on which stream and with which flags, is for the
two ends to judge. The heads in REQUEST and RESPONSE are those of `wire.envelope`.
"""

from __future__ import annotations

import re
import struct

from fastproxy.wire.link.errors import LinkError

HEADER = struct.Struct(">II")
HEADER_BYTES = HEADER.size
LENGTH_BITS = 24
LENGTH_MASK = (1 << LENGTH_BITS) - 1

REQUEST = 0x10
RESPONSE = 0x20
DATA = 0x30
TRAILERS = 0x40
INTERIM = 0x50
RESET = 0x60
WINDOW = 0x70
PING = 0x80
GOAWAY = 0x90
REFUSED = 0xA0
REKEY = 0xB0
PAD = 0xC0

END = 0x01
"""The sender's side of the stream ends with this frame."""
COMPRESSED = 0x02
"""The content begins with the id of a compressor and is compressed."""
EXPECTS = 0x04
"""The content of this request is sent after an INTERIM 100."""
ACK = 0x08
"""This PING is an answer."""

DRAINING, REPLACED, KEY_REVOKED, PROTOCOL_ERROR, IDLE = range(5)
"""Why an end of a link says GOAWAY."""

MAX_DATA_BYTES = 65_536
"""Most content in a frame, also after decompression: what one frame can make the other end hold."""
MAX_CREDIT_BYTES = 2**31 - 1
"""Most credit that a window ever holds."""
PING_BYTES = 8

_WINDOW = struct.Struct(">I")
_GOAWAY = struct.Struct(">IB")
_INTERIM = struct.Struct(">H")
_MAX_LABEL_BYTES = 255
_is_label = re.compile(rb"[!-~]*").fullmatch


def frame(kind: int, stream: int, payload: bytes) -> bytes:
    """Return a frame.

    Args:
        kind: with its flags. stream: 0 for the link itself.
        payload: at most what a record leaves room for; whoever makes it sees to that.
    """
    return HEADER.pack(kind << LENGTH_BITS | len(payload), stream) + payload


def build_window(credit_bytes: int) -> bytes:
    """Return the payload of a WINDOW: how much more content is taken."""
    return _WINDOW.pack(credit_bytes)


def parse_window(payload: bytes) -> int:
    """Return the credit in bytes.

    Raises:
        LinkError: frame, another form; or window, none, or more than any window holds.
    """
    if len(payload) != _WINDOW.size:
        raise LinkError("frame", "credit of another length")
    credit_bytes: int
    (credit_bytes,) = _WINDOW.unpack(payload)
    if not 0 < credit_bytes <= MAX_CREDIT_BYTES:
        raise LinkError("window", "credit of nothing, or of more than a window holds")
    return credit_bytes


def build_goaway(last_stream: int, reason: int) -> bytes:
    """Return the payload of a GOAWAY.

    Args:
        last_stream: streams above it were never taken, and won't be.
        reason: one of `DRAINING` to `IDLE`.
    """
    return _GOAWAY.pack(last_stream, reason)


def parse_goaway(payload: bytes) -> tuple[int, int]:
    """Return the last stream and the reason.

    Raises:
        LinkError: frame.
    """
    if len(payload) != _GOAWAY.size or payload[-1] > IDLE:
        raise LinkError("frame", "a goodbye of another length, or for no known reason")
    last_stream, reason = _GOAWAY.unpack(payload)
    return last_stream, reason


def build_reset(label: str) -> bytes:
    """Return the payload of a RESET.

    Args:
        label: of a row of the error table; empty for what was cancelled.

    Raises:
        ValueError: longer than 255 characters, or not visible ASCII.
    """
    text = label.encode()
    if len(text) > _MAX_LABEL_BYTES or not _is_label(text):
        raise ValueError("a label is at most 255 visible ASCII characters")
    return bytes((len(text),)) + text


def build_refused(label: str) -> bytes:
    """Return the payload of a REFUSED.

    Args:
        label: of a row of the error table.

    Raises:
        ValueError: empty, longer than 255 characters, or not visible ASCII.
    """
    if not label:
        raise ValueError("a refusal has a label")
    return build_reset(label)


def parse_label(payload: bytes) -> str:
    """Return the label in a RESET or REFUSED. It is information, from the peer, and no more.

    Raises:
        LinkError: frame.
    """
    if not payload or payload[0] != len(payload) - 1 or not _is_label(payload, 1):
        raise LinkError("frame", "a label of another form")
    return payload[1:].decode()


def build_interim(status: int, fields: bytes) -> bytes:
    """Return the payload of an INTERIM.

    Args:
        status: 100 to 199, but not 101. fields: header lines, each with its line end; may be empty.
    """
    return _INTERIM.pack(status) + fields


def parse_interim(payload: bytes) -> tuple[int, bytes]:
    """Return the status and the header lines, which are not parsed yet.

    Raises:
        LinkError: frame.
    """
    if len(payload) < _INTERIM.size:
        raise LinkError("frame", "an interim answer that is cut")
    status: int
    (status,) = _INTERIM.unpack_from(payload)
    if not 100 <= status <= 199 or status == 101:
        raise LinkError("frame", "an interim answer of another status")
    return status, payload[_INTERIM.size :]
