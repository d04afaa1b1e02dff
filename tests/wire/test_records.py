"""Records: packing and unpacking, and messages that arrive whole, byte by byte, or not as they left."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.errors import COMPRESSION_BROKEN, MESSAGE_BROKEN, RESPONSE_BROKEN, ProxyError
from fastproxy.wire.ciphers import AES_256_GCM
from fastproxy.wire.compressors import COMPRESSORS, SNAPPY
from fastproxy.wire.records import (
    MAX_CIPHERTEXT_BYTES,
    MAX_DATA_BYTES,
    MAX_META_BYTES,
    PLAIN,
    REQUEST_FAULTS,
    RESPONSE_FAULTS,
    Chunk,
    MessageOpener,
    MessageSealer,
    Packing,
    pack,
    unpack,
)

AEAD = AES_256_GCM.keyed(b"\x01" * 32)
BASE_NONCE = 0x0F0E0D0C0B0A090807060504
HEADER = b"header"
PACKINGS = [PLAIN, Packing(pad_to_bytes=65536), Packing(pad_to_bytes=7)] + [
    Packing(compressor, threshold_bytes=10, pad_to_bytes=pad)
    for compressor in COMPRESSORS.values()
    for pad in (1, 256)
]


def sealer(packing: Packing = PLAIN) -> MessageSealer:
    return MessageSealer(AEAD, BASE_NONCE, HEADER, packing)


def opener() -> MessageOpener:
    return MessageOpener(AEAD, BASE_NONCE, HEADER, REQUEST_FAULTS)


def seal_all(pieces: list[bytes], trailers: bytes = b"") -> list[bytes]:
    message = sealer()
    last = len(pieces) - 1
    metas = [b"head"] + [b""] * last
    if last:
        metas[-1] = trailers
    records = [message.record(metas[i], piece, last=i == last) for i, piece in enumerate(pieces)]
    return [records[0][len(HEADER) :], *records[1:]]


def broken(act: object, *args: object, **kwargs: object) -> ProxyError:
    assert callable(act)
    with pytest.raises(ProxyError) as refused:
        act(*args, **kwargs)
    return refused.value


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 50), st.sampled_from(PACKINGS))
@settings(max_examples=150, deadline=None)
def test_packing_round_trip(meta: bytes, data: bytes, times: int, packing: Packing) -> None:
    data *= times
    plaintext = pack(meta, data, packing)
    assert unpack(plaintext, True, REQUEST_FAULTS) == Chunk(meta, data, True)
    assert packing.pad_to_bytes == 1 or len(plaintext) % packing.pad_to_bytes == 0


def test_padding_hides_the_length() -> None:
    lengths = {len(pack(b"head", b"x" * size, Packing(pad_to_bytes=128))) for size in range(100)}
    assert lengths == {128}


def test_only_data_above_the_threshold_that_shrinks_is_compressed() -> None:
    packing = Packing(SNAPPY, threshold_bytes=100)
    assert pack(b"", b"a" * 99, packing)[0] == 0
    assert pack(b"", b"a" * 100, packing)[0] == SNAPPY.compressor_id
    assert pack(b"", bytes(range(256)), packing)[0] == 0
    assert b"a" * 500 in pack(b"a" * 500, b"b" * 500, packing), "meta is never compressed"


@pytest.mark.parametrize(
    ("plaintext", "cause"),
    [
        (b"\x00\x01\x00\x00" + bytes(4), MESSAGE_BROKEN),  # reserved
        (b"\x00\x00\x00\x01" + bytes(4), MESSAGE_BROKEN),  # more padding than there is
        (b"\x00\x00\x00\x02" + bytes(4) + b"\x00\x01", MESSAGE_BROKEN),  # padding that says something
        (b"\x00\x00\x00\x01\x00\x00\x00\x01\x00", MESSAGE_BROKEN),  # padding and meta overlap
        (b"\x00\x00\x00\x00\x00\x00\x00\x02\x00", MESSAGE_BROKEN),  # meta longer than the record
        (b"\x00\x00\x00\x00\xff\xff\xff\xff\x00", MESSAGE_BROKEN),
        (bytes(8) + bytes(MAX_DATA_BYTES + 1), MESSAGE_BROKEN),
        (b"\x00\x00\x00\x00\x00\x02\x00\x01" + bytes(MAX_META_BYTES + 1), MESSAGE_BROKEN),
        (b"\x05\x00\x00\x00" + bytes(4), COMPRESSION_BROKEN),  # unknown compressor
        (b"\xff\x00\x00\x00" + bytes(4), COMPRESSION_BROKEN),
        (b"\x01\x00\x00\x00" + bytes(4) + b"garbage", COMPRESSION_BROKEN),
    ],
)
def test_an_authentic_record_of_a_bad_form_is_refused(plaintext: bytes, cause: object) -> None:
    assert broken(unpack, plaintext, True, REQUEST_FAULTS).cause is cause
    assert broken(unpack, plaintext, True, RESPONSE_FAULTS).cause is RESPONSE_BROKEN


@pytest.mark.parametrize("compressor", COMPRESSORS.values(), ids=lambda compressor: compressor.name)
def test_data_that_decompresses_beyond_a_record_is_refused(compressor: object) -> None:
    assert hasattr(compressor, "compress")
    assert hasattr(compressor, "compressor_id")
    bomb = (
        bytes((compressor.compressor_id, 0, 0, 0)) + bytes(4) + compressor.compress(bytes(MAX_DATA_BYTES + 1))
    )
    assert broken(unpack, bomb, True, REQUEST_FAULTS).cause is COMPRESSION_BROKEN


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=6), st.data())
@settings(max_examples=80, deadline=None)
def test_a_message_arrives_however_it_is_cut(pieces: list[bytes], choice: st.DataObject) -> None:
    trailers = b"trailers" if len(pieces) > 1 else b""
    message = b"".join(seal_all(pieces, trailers))
    chunks, opening = [], opener()
    while message:
        size = choice.draw(st.integers(0, len(message)))
        chunks += opening.feed(message[:size] if size else message)
        message = message[size:] if size else b""
    opening.eof()
    assert opening.finished
    assert b"".join(chunk.data for chunk in chunks) == b"".join(pieces)
    assert [chunk.meta for chunk in chunks if chunk.meta] == [b"head"] + [trailers] * bool(trailers)


def test_byte_by_byte() -> None:
    message = b"".join(seal_all([b"one", b"two", b""], b"trailers"))
    opening = opener()
    chunks = [chunk for byte in message for chunk in opening.feed(bytes((byte,)))]
    assert chunks == [Chunk(b"head", b"one", False), Chunk(b"", b"two", False), Chunk(b"trailers", b"", True)]
    opening.eof()


def test_every_cut_shows() -> None:
    message = b"".join(seal_all([b"one", b"two"]))
    for size in range(len(message)):
        opening = opener()
        opening.feed(message[:size])
        assert broken(opening.eof).cause is MESSAGE_BROKEN


@pytest.mark.parametrize("together", [True, False])
def test_nothing_may_follow_the_last_record(together: bool) -> None:
    message = b"".join(seal_all([b"one", b"two"]))
    for extra in (b"\0", message, bytes(100)):
        opening = opener()
        if together:
            broken(opening.feed, message + extra)
        else:
            opening.feed(message)
            broken(opening.feed, extra)
        broken(opening.eof)


ORDERS = [
    [0, 2, 1, 3],
    [0, 1, 3],
    [0, 1, 1, 2, 3],
    [1, 0, 2, 3],
    [0, 3],
    [1, 2, 3],
    [3],
    [0, 1, 2, 2, 3],
    [0, 0, 1, 2, 3],
]


@pytest.mark.parametrize("order", ORDERS)
def test_records_that_are_swapped_dropped_or_doubled_are_refused(order: list[int]) -> None:
    records = seal_all([b"one", b"two", b"three", b"four"])
    opening = opener()
    assert broken(opening.feed, b"".join(records[index] for index in order)).cause is MESSAGE_BROKEN
    assert broken(opening.feed, b"").cause is MESSAGE_BROKEN, "once broken, it stays broken"
    broken(opening.eof)


@pytest.mark.parametrize("index", range(3))
def test_a_toggled_last_flag_is_refused(index: int) -> None:
    records = [bytearray(record) for record in seal_all([b"one", b"two", b"three"])]
    records[index][0] ^= 0x80
    assert broken(opener().feed, b"".join(records[: index + 1])).cause is MESSAGE_BROKEN


@pytest.mark.parametrize("length", [0, 1, 23, MAX_CIPHERTEXT_BYTES + 1, 2**31 - 1])
def test_an_impossible_length_is_refused_before_the_record_has_come(length: int) -> None:
    assert broken(opener().feed, length.to_bytes(4, "big")).cause is MESSAGE_BROKEN


def test_the_opener_holds_at_most_one_record() -> None:
    opening = opener()
    opening.feed(MAX_CIPHERTEXT_BYTES.to_bytes(4, "big"))
    for _ in range(MAX_CIPHERTEXT_BYTES // 4096):
        assert opening.feed(bytes(4096)) == []
    assert broken(opening.feed, bytes(4096)).cause is MESSAGE_BROKEN


@pytest.mark.parametrize(("meta", "data"), [(b"meta", b"data"), (b"", b"")])
def test_a_record_in_the_middle_carries_data_and_nothing_else(meta: bytes, data: bytes) -> None:
    message = sealer()
    first = message.record(b"head", b"", last=False)
    with pytest.raises(ValueError, match="may not stand here"):
        message.record(meta, data, last=False)
    nonce = (BASE_NONCE ^ 1 << 8).to_bytes(12, "big")
    ciphertext = AEAD.encrypt(nonce, pack(meta, data, PLAIN), None)
    forged = first[len(HEADER) :] + len(ciphertext).to_bytes(4, "big") + ciphertext
    assert broken(opener().feed, forged).cause is MESSAGE_BROKEN


def test_nothing_is_sealed_after_the_last_record() -> None:
    message = sealer()
    message.record(b"head", b"", last=True)
    with pytest.raises(ValueError, match="may not stand here"):
        message.record(b"", b"more", last=True)


@pytest.mark.parametrize(("meta_bytes", "data_bytes"), [(0, MAX_DATA_BYTES + 1), (MAX_META_BYTES + 1, 0)])
def test_too_much_for_one_record_is_refused_where_it_is_sealed(meta_bytes: int, data_bytes: int) -> None:
    with pytest.raises(ValueError, match="too much"):
        sealer().record(bytes(meta_bytes), bytes(data_bytes), last=True)


def test_the_greatest_record_passes() -> None:
    packing = Packing(pad_to_bytes=65536)
    message = sealer(packing).record(b"m" * MAX_META_BYTES, b"d" * MAX_DATA_BYTES, last=True)
    assert opener().feed(message[len(HEADER) :]) == [
        Chunk(b"m" * MAX_META_BYTES, b"d" * MAX_DATA_BYTES, True)
    ]


def test_record_numbers_run_out_rather_than_repeat() -> None:
    opening = MessageOpener(AEAD, BASE_NONCE, HEADER, REQUEST_FAULTS, index=2**32)
    assert broken(opening.feed, seal_all([b"one"])[0]).cause is MESSAGE_BROKEN
