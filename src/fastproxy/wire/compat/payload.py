"""Wire format v1: the compression of a whole payload, and its bounded undoing.

As in `compressors`, no buffer is made larger than the limit. Unlike there, a payload is a whole body, so it
can be of any size, and one that is too large is told from one that is broken.
"""

from __future__ import annotations

import zlib

from fastproxy.wire.compressors import GZIP, SNAPPY, BrokenDataError, library

SNAPPY_ID = 0
GZIP_ID = 1
COMPRESSION_IDS = frozenset((SNAPPY_ID, GZIP_ID))

_GZIP_WBITS = 16 + zlib.MAX_WBITS
_MAX_LENGTH_VARINT_BYTES = 5
_SNAPPY_MAX_RATIO = 22
"""The densest element of a snappy block makes 64 bytes out of 3."""


class TooLargeError(ValueError):
    """Data that decompresses to more than its bound."""


def compress(data: bytes, compression_id: int, *, is_ciphertext: bool) -> bytes:
    """Return the compressed data.

    is_ciphertext: it can't get shorter, so gzip only wraps it: 8 µs instead of 30 for 1 KiB.
    """
    if compression_id == SNAPPY_ID:
        return SNAPPY.compress(data)
    if is_ciphertext:
        return zlib.compress(data, zlib.Z_NO_COMPRESSION, _GZIP_WBITS)
    return GZIP.compress(data)


def decompress(data: bytes, compression_id: int, limit_bytes: int) -> bytes:
    """Return the data decompressed, at most limit_bytes long.

    Raises:
        TooLargeError: it declares, or comes to, more than the limit.
        BrokenDataError: it doesn't decompress, or to another length than it declares.
    """
    return _unsnap(data, limit_bytes) if compression_id == SNAPPY_ID else _gunzip(data, limit_bytes)


def _unsnap(data: bytes, limit_bytes: int) -> bytes:
    length_bytes = _declared_length(data)
    if length_bytes > limit_bytes:
        raise TooLargeError
    if length_bytes > _SNAPPY_MAX_RATIO * len(data):
        raise BrokenDataError("declares more than it can hold")  # and gets no buffer for it
    buffer = bytearray(length_bytes)
    try:
        filled_bytes = library().snappy.decompress_raw_into(data, buffer)
    except library().DecompressionError as exc:
        raise BrokenDataError("does not decompress") from exc
    if filled_bytes != length_bytes:
        raise BrokenDataError("is shorter than it declares")
    return bytes(buffer)


def _declared_length(data: bytes) -> int:
    length_bytes = 0
    for position, byte in enumerate(data[:_MAX_LENGTH_VARINT_BYTES]):
        length_bytes |= (byte & 0x7F) << 7 * position
        if byte < 0x80:
            return length_bytes
    raise BrokenDataError("declares no length")


def _gunzip(data: bytes, limit_bytes: int) -> bytes:
    decoder = zlib.decompressobj(_GZIP_WBITS)
    try:
        content = decoder.decompress(data, limit_bytes + 1)
    except zlib.error as exc:
        raise BrokenDataError("does not decompress") from exc
    if len(content) > limit_bytes:
        raise TooLargeError
    if not decoder.eof or decoder.unused_data:
        raise BrokenDataError("is cut, or not exactly one gzip member")
    return content
