"""Compression of one record's data, and its bounded undoing.

Every form declares its decompressed length before the first byte of content, or is undone by a decoder
that stops at a length (gzip). So no buffer is made larger than the limit, and the result has exactly the
declared length or the data is broken: never cut short silently.
Nothing is kept from one call to the next: compression across messages would let a caller probe what
another one sent.
The library that does it (cramjam) is loaded when something is first compressed: most proxies never need its
1.5 MiB.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType
from typing import Any

from msgspec import Struct


@lru_cache(1)
def library() -> Any:
    """Load cramjam."""
    return import_module("cramjam")


_GZIP_WBITS = 16 + zlib.MAX_WBITS
_GZIP_LEVEL = 1
_ZSTD_LEVEL = 1
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SINGLE_SEGMENT = 0x20
_ZSTD_CHECKSUM = 0x04
_ZSTD_RESERVED_OR_DICTIONARY = 0x0B
_ZSTD_MAX_BLOCKS = 64
"""A block may hold 128 KiB, so that a record needs one; encoders that split data need a few more."""


class BrokenDataError(ValueError):
    """Compressed data that doesn't decompress within its bound, whatever the reason."""


def _sized(
    length_of: Callable[[bytes], int], undo: Callable[[Any], Callable[[bytes, bytearray], int]]
) -> Callable[[bytes, int], bytes]:
    """Undo a form that declares its length: make a buffer of that length and fill it exactly.

    length_of reads the declared length, of whole input that may be anything. undo takes what fills a buffer
    from the library.
    """

    def decompress(data: bytes, limit_bytes: int) -> bytes:
        length_bytes = length_of(data)
        if length_bytes > limit_bytes:
            raise BrokenDataError("declares more than its bound")
        buffer = bytearray(length_bytes)
        try:
            filled_bytes = undo(library())(data, buffer)
        except library().DecompressionError as exc:
            raise BrokenDataError("does not decompress") from exc
        if filled_bytes != length_bytes:
            raise BrokenDataError("is shorter than it declares")
        return bytes(buffer)

    return decompress


def _snappy_length(data: bytes) -> int:
    """The varint at the start of the snappy block format; 65,536 needs three bytes of it."""
    length = 0
    for position, byte in enumerate(data[:3]):
        length |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return length
    raise BrokenDataError("declares no length, or a large one")


def _lz4_length(data: bytes) -> int:
    """The length in 4 bytes, little-endian, that stands before the LZ4 block."""
    if len(data) < 4:
        raise BrokenDataError("declares no length")
    return int.from_bytes(data[:4], "little")


def _zstd_length(data: bytes) -> int:
    """The content size of a Zstandard frame (RFC 8878, section 3.1.1), which must be the only one.

    Only single-segment frames declare their size for certain and need no window beyond it. A second frame
    could ask for a window of 128 MiB, hence the walk over the blocks to the frame's end.
    """
    descriptor = data[4] if len(data) > 4 and data[:4] == _ZSTD_MAGIC else 0
    if not descriptor & _ZSTD_SINGLE_SEGMENT or descriptor & _ZSTD_RESERVED_OR_DICTIONARY:
        raise BrokenDataError("is no single-segment Zstandard frame")
    size_bytes = (1, 2, 4, 8)[descriptor >> 6]
    length = int.from_bytes(data[5 : 5 + size_bytes], "little") + (256 if size_bytes == 2 else 0)
    at = 5 + size_bytes
    for _ in range(_ZSTD_MAX_BLOCKS):
        header = int.from_bytes(data[at : at + 3], "little")
        is_last, is_run, block_bytes = header & 1, header >> 1 & 3 == 1, header >> 3
        at += 3 + (1 if is_run else block_bytes)
        if is_last:
            break
    if at + (4 if descriptor & _ZSTD_CHECKSUM else 0) != len(data):
        raise BrokenDataError("is not exactly one Zstandard frame")
    return length


def _gunzip(data: bytes, limit_bytes: int) -> bytes:
    decoder = zlib.decompressobj(_GZIP_WBITS)
    try:
        content = decoder.decompress(data, limit_bytes + 1)
    except zlib.error as exc:
        raise BrokenDataError("does not decompress") from exc
    if len(content) > limit_bytes or not decoder.eof or decoder.unused_data:
        raise BrokenDataError("is cut, too large, or not exactly one gzip member")
    return content


class Compressor(Struct, frozen=True):
    """One form of compression: its id on the wire, its name in configs, and both directions.

    decompress takes the data and the bound in bytes; it raises `BrokenDataError`.
    """

    compressor_id: int
    name: str
    compress: Callable[[bytes], bytes]
    decompress: Callable[[bytes, int], bytes]


SNAPPY = Compressor(
    1,
    "snappy",
    lambda data: bytes(library().snappy.compress_raw(data)),
    _sized(_snappy_length, lambda cramjam: cramjam.snappy.decompress_raw_into),
)
GZIP = Compressor(2, "gzip", lambda data: zlib.compress(data, _GZIP_LEVEL, _GZIP_WBITS), _gunzip)
LZ4 = Compressor(
    3,
    "lz4",
    lambda data: bytes(library().lz4.compress_block(data)),
    _sized(_lz4_length, lambda cramjam: cramjam.lz4.decompress_block_into),
)
ZSTD = Compressor(
    4,
    "zstd",
    lambda data: bytes(library().zstd.compress(data, _ZSTD_LEVEL)),
    _sized(_zstd_length, lambda cramjam: cramjam.zstd.decompress_into),
)

COMPRESSORS: Mapping[int, Compressor] = MappingProxyType(
    {compressor.compressor_id: compressor for compressor in (SNAPPY, GZIP, LZ4, ZSTD)}
)
