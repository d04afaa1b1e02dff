"""Compression in wire format v1: bounded, and what is too large is told from what is broken."""

from __future__ import annotations

import contextlib
import gzip
import tracemalloc

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.wire.compat.payload import (
    COMPRESSION_IDS,
    GZIP_ID,
    SNAPPY_ID,
    TooLargeError,
    compress,
    decompress,
)
from fastproxy.wire.compressors import BrokenDataError

EACH = pytest.mark.parametrize("compression_id", sorted(COMPRESSION_IDS))
BODIES = st.one_of(st.binary(max_size=500), st.binary(min_size=1, max_size=20).map(lambda part: part * 9000))


@EACH
@given(BODIES, st.booleans())
@settings(max_examples=60, deadline=None)
def test_round_trip_within_the_limit_and_not_beyond(
    compression_id: int, body: bytes, is_ciphertext: bool
) -> None:
    data = compress(body, compression_id, is_ciphertext=is_ciphertext)
    assert decompress(data, compression_id, len(body)) == body
    if body:
        with pytest.raises(TooLargeError):
            decompress(data, compression_id, len(body) - 1)


@EACH
def test_a_body_of_several_mebibytes_passes(compression_id: int) -> None:
    body = b"0123456789" * 500_000
    assert decompress(compress(body, compression_id, is_ciphertext=False), compression_id, len(body)) == body


def test_the_ids_are_those_of_the_original() -> None:
    body = b"hello" * 9
    assert bytes(cramjam.snappy.decompress_raw(compress(body, 0, is_ciphertext=False))) == body
    for is_ciphertext in (True, False):
        assert gzip.decompress(compress(body, 1, is_ciphertext=is_ciphertext)) == body


def test_the_densest_snappy_block_passes() -> None:
    body = b"x" + bytes(64) * 2000
    block = compress(body, SNAPPY_ID, is_ciphertext=False)
    assert len(body) > 20 * len(block), "otherwise this test shows nothing"
    assert decompress(block, SNAPPY_ID, len(body)) == body


@pytest.mark.parametrize(
    "bomb",
    [
        pytest.param((GZIP_ID, gzip.compress(bytes(10 << 20))), id="gzip"),
        pytest.param((GZIP_ID, gzip.compress(bytes(60_000)) * 200), id="gzip of many members"),
        pytest.param((SNAPPY_ID, bytes(cramjam.snappy.compress_raw(bytes(10 << 20)))), id="snappy"),
        pytest.param((SNAPPY_ID, b"\xff\xff\xff\xff\x0f" + b"\x00x" * 20), id="snappy that declares 4 GiB"),
        pytest.param((SNAPPY_ID, b"\x80\x80\x04" + b"\x00x" * 20), id="snappy that declares the limit"),
        pytest.param(
            (SNAPPY_ID, b"\x05" + bytes(cramjam.snappy.compress_raw(bytes(10 << 20)))[4:]),
            id="snappy that declares less than it holds",
        ),
    ],
)
def test_a_bomb_is_refused_without_being_unpacked(bomb: tuple[int, bytes]) -> None:
    compression_id, data = bomb
    limit_bytes = 65_536
    tracemalloc.start()
    with pytest.raises((TooLargeError, BrokenDataError)):
        decompress(data, compression_id, limit_bytes)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < len(data) + 4 * limit_bytes


def test_a_lie_about_the_length_gets_no_buffer() -> None:
    tracemalloc.start()
    with pytest.raises(BrokenDataError):
        decompress(b"\x80\x80\x80\x05" + b"\x00x" * 20, SNAPPY_ID, 100 << 20)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 100_000


@EACH
@given(st.binary(max_size=200), st.data())
@settings(max_examples=100, deadline=None)
def test_changed_or_cut_data_is_refused_or_bounded(
    compression_id: int, body: bytes, choice: st.DataObject
) -> None:
    data = compress(body, compression_id, is_ciphertext=False)
    with pytest.raises(BrokenDataError):
        decompress(data[: choice.draw(st.integers(0, len(data) - 1))], compression_id, 1000)
    changed = bytearray(data)
    changed[choice.draw(st.integers(0, len(changed) - 1))] ^= choice.draw(st.integers(1, 255))
    with contextlib.suppress(TooLargeError, BrokenDataError):
        assert len(decompress(bytes(changed), compression_id, 1000)) <= 1000


@EACH
@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80" * 40, b"\xff" * 40, b"\x1f\x8b\x08"])
def test_what_was_never_compressed_is_broken(compression_id: int, data: bytes) -> None:
    with pytest.raises(BrokenDataError):
        decompress(data, compression_id, 1000)


def test_bytes_after_a_gzip_member_are_refused() -> None:
    with pytest.raises(BrokenDataError):
        decompress(gzip.compress(b"hello") + b"x", GZIP_ID, 1000)
