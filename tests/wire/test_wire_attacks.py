"""What a proven but hostile peer tries with sealed records: to make the other side hold too much."""

from __future__ import annotations

import pytest

from fastproxy.errors import ProxyError
from fastproxy.wire.compressors import ZSTD
from fastproxy.wire.records import MAX_DATA_BYTES, OPENED_BYTES, PLAIN, Packing
from fastproxy.wire.responses import ResponseBinding, ResponseOpener
from tests.wire.test_records import AEAD, HEADER, opener, sealer

RECORDS = 200
BOMB = Packing(ZSTD, threshold_bytes=10)


def test_many_small_records_that_decompress_to_much_are_opened_a_part_at_a_time() -> None:
    message = sealer(BOMB)
    data = bytes(MAX_DATA_BYTES)
    bomb = b"".join(message.record(b"", data, last=number == RECORDS - 1) for number in range(RECORDS))
    assert len(bomb) < RECORDS * 100
    opening = opener()
    received = rounds = 0
    chunks = opening.feed(bomb[len(HEADER) :])
    while True:
        piece_bytes = sum(len(chunk.data) for chunk in chunks)
        assert piece_bytes < OPENED_BYTES + MAX_DATA_BYTES
        received += piece_bytes
        rounds += 1
        if not opening.pending:
            break
        with pytest.raises(ProxyError):
            opener().eof()
        chunks = opening.feed(b"")
    opening.eof()
    assert received == RECORDS * MAX_DATA_BYTES
    assert rounds == received // OPENED_BYTES + 1


def test_an_answer_that_came_whole_is_opened_a_part_at_a_time_too() -> None:
    binding = b"binding"
    answer = ResponseBinding(AEAD, binding).sealer(b"\x07" * 12, BOMB)
    bomb = b"".join(
        answer.record(b"", bytes(MAX_DATA_BYTES), last=number == RECORDS - 1) for number in range(RECORDS)
    )
    opening = ResponseOpener(AEAD, binding)
    assert len(opening.feed(bomb)) == OPENED_BYTES // MAX_DATA_BYTES
    assert opening.pending
    assert not opening.finished


def test_what_is_not_compressed_is_opened_at_once() -> None:
    message = sealer(PLAIN)
    whole = b"".join(message.record(b"", b"x" * 4096, last=number == 99) for number in range(100))
    opening = opener()
    assert len(opening.feed(whole[len(HEADER) :])) == 100
    assert opening.finished
    assert not opening.pending
