"""Compression: what comes back is what went in, or the data is broken; nothing grows past its bound."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc
import zlib

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.wire.compressors import COMPRESSORS, GZIP, LZ4, SNAPPY, ZSTD, BrokenDataError, Compressor

LIMIT_BYTES = 65536
ALL = pytest.mark.parametrize("compressor", COMPRESSORS.values(), ids=lambda compressor: compressor.name)
BOMB = bytes(100_000_000)


@ALL
@given(st.one_of(st.binary(max_size=2000), st.binary(min_size=1, max_size=20).map(lambda part: part * 3000)))
@settings(max_examples=60, deadline=None)
def test_round_trip(compressor: Compressor, data: bytes) -> None:
    compressed = compressor.compress(data)
    assert compressor.decompress(compressed, len(data)) == data
    if data:
        with pytest.raises(BrokenDataError):
            compressor.decompress(compressed, len(data) - 1)


@ALL
@given(st.binary(max_size=300), st.data())
@settings(max_examples=100, deadline=None)
def test_changed_data_is_broken_or_bounded(
    compressor: Compressor, data: bytes, choice: st.DataObject
) -> None:
    changed = bytearray(compressor.compress(data))
    changed[choice.draw(st.integers(0, len(changed) - 1))] ^= choice.draw(st.integers(1, 255))
    with contextlib.suppress(BrokenDataError):
        assert len(compressor.decompress(bytes(changed), LIMIT_BYTES)) <= LIMIT_BYTES


@ALL
@given(
    st.binary(max_size=100),
    st.sampled_from([b"", b"\x28\xb5\x2f\xfd", b"\x28\xb5\x2f\xfd\x20", b"\x1f\x8b\x08"]),
)
@settings(max_examples=100, deadline=None)
def test_garbage_is_broken_or_bounded(compressor: Compressor, garbage: bytes, start: bytes) -> None:
    with contextlib.suppress(BrokenDataError):
        assert len(compressor.decompress(start + garbage, LIMIT_BYTES)) <= LIMIT_BYTES


@ALL
def test_data_that_is_cut_is_broken(compressor: Compressor) -> None:
    compressed = compressor.compress(bytes(range(256)) * 8)
    for end in range(len(compressed)):
        with pytest.raises(BrokenDataError):
            compressor.decompress(compressed[:end], LIMIT_BYTES)


@ALL
def test_anything_after_the_form_is_broken(compressor: Compressor) -> None:
    compressed = compressor.compress(b"hello " * 50)
    for prolonged in (compressed * 2, compressed + b"\0"):
        with pytest.raises(BrokenDataError):
            compressor.decompress(prolonged, LIMIT_BYTES)


def lie_about_length(compressed: bytes, compressor: Compressor) -> list[bytes]:
    """The same content, declared as the largest that may pass."""
    if compressor is SNAPPY:
        return [b"\x80\x80\x04" + compressed[4:]]
    if compressor is LZ4:
        return [LIMIT_BYTES.to_bytes(4, "little") + compressed[4:]]
    if compressor is ZSTD:
        descriptor_and_size = compressed[4:9]  # 100 MB needs 4 bytes of size
        assert descriptor_and_size[0] >> 6 == 2
        return [compressed[:5] + LIMIT_BYTES.to_bytes(4, "little") + compressed[9:]]
    return []


@ALL
def test_a_bomb_is_refused_without_being_unpacked(compressor: Compressor) -> None:
    bomb = compressor.compress(BOMB)
    for message in (bomb, *lie_about_length(bomb, compressor)):
        tracemalloc.start()
        with pytest.raises(BrokenDataError):
            compressor.decompress(message, LIMIT_BYTES)
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak_bytes < len(message) + 4 * LIMIT_BYTES


def test_a_gzip_bomb_of_many_members_is_refused() -> None:
    with pytest.raises(BrokenDataError):
        GZIP.decompress(gzip.compress(bytes(60000)) * 10, LIMIT_BYTES)


def test_a_zstd_frame_that_wants_a_window_is_refused() -> None:
    def frame(window_descriptor: int) -> bytes:
        return (
            b"\x28\xb5\x2f\xfd\x00"
            + bytes((window_descriptor,))
            + (1 | 5 << 3).to_bytes(3, "little")
            + b"hello"
        )

    windowed = frame(0x88)  # 128 MiB
    assert cramjam.zstd.decompress_into(windowed, bytearray(5)) == 5, "otherwise this test shows nothing"
    for data in (windowed, ZSTD.compress(b"") + windowed):
        with pytest.raises(BrokenDataError):
            ZSTD.decompress(data, LIMIT_BYTES)


def test_a_zstd_frame_of_endless_empty_blocks_is_refused() -> None:
    with pytest.raises(BrokenDataError):
        ZSTD.decompress(b"\x28\xb5\x2f\xfd\x20\x00" + bytes(3) * 20000 + b"\x01\x00\x00", LIMIT_BYTES)


def test_gzip_is_gzip() -> None:
    assert gzip.decompress(GZIP.compress(b"hello" * 100)) == b"hello" * 100
    assert GZIP.decompress(zlib.compress(b"hello", 9, 31), LIMIT_BYTES) == b"hello"
