"""Records: opened as they were sealed, in this order, in this direction, and in no other way."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.wire.link.records import (
    MAX_PLAINTEXT_BYTES,
    MAX_RECORDS,
    REKEY_RECORDS,
    WORD_BYTES,
    AnyOpener,
    AnySealer,
    Opener,
    PlainOpener,
    PlainSealer,
    Sealer,
)
from tests.wire.link.parties import flipped, make_link, opened, refused, taken

KEY = b"\x01" * 32
PAIRS = pytest.mark.parametrize("pair", ["sealed", "plain"])
TEXTS = [b"one", b"two", b"three"]


def make_pair(pair: str = "sealed") -> tuple[AnySealer, AnyOpener]:
    return (Sealer(KEY), Opener(KEY)) if pair == "sealed" else (PlainSealer(), PlainOpener())


def sealed(texts: list[bytes] = TEXTS) -> list[bytes]:
    sealer = Sealer(KEY)
    return [sealer.seal(text) for text in texts]


# --- that it works ------------------------------------------------------------------------------------------


@PAIRS
@given(
    texts=st.lists(st.binary(min_size=1, max_size=40) | st.just(bytes(MAX_PLAINTEXT_BYTES)), max_size=6),
    cuts=st.lists(st.integers(0, 200) | st.integers(0, 3 * MAX_PLAINTEXT_BYTES)),
)
@settings(max_examples=150, deadline=None)
def test_records_open_however_they_are_cut(pair: str, texts: list[bytes], cuts: list[int]) -> None:
    sealer, opener = make_pair(pair)
    stream = b"".join(sealer.seal(text) for text in texts)
    ends = sorted(cut for cut in cuts if cut < len(stream))
    pieces = [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]
    assert opened(opener, *pieces) == texts


@PAIRS
def test_records_open_byte_by_byte(pair: str) -> None:
    sealer, opener = make_pair(pair)
    stream = b"".join(sealer.seal(text) for text in TEXTS)
    assert opened(opener, *(bytes((byte,)) for byte in stream)) == TEXTS


@PAIRS
def test_a_record_opens_as_soon_as_it_is_here_and_not_before(pair: str) -> None:
    sealer, opener = make_pair(pair)
    record = sealer.seal(b"text")
    for byte in record[:-1]:
        assert opened(opener, bytes((byte,))) == []
    assert opened(opener, record[-1:] + sealer.seal(b"next")[:2]) == [b"text"]


@PAIRS
@pytest.mark.parametrize("size", [0, MAX_PLAINTEXT_BYTES + 1])
def test_nothing_and_too_much_are_not_sealed(pair: str, size: int) -> None:
    with pytest.raises(ValueError, match="between 1 and"):
        make_pair(pair)[0].seal(bytes(size))


@PAIRS
@given(steps=st.lists(st.integers(0, 3)), cuts=st.integers(1, 50))
@settings(max_examples=60, deadline=None)
def test_a_rekey_between_two_records_counts_for_the_next(pair: str, steps: list[int], cuts: int) -> None:
    """Also when both records arrived together: 0 stands for a rekey that the record before it announced."""
    sealer, opener = make_pair(pair)
    texts = [bytes((step,)) for step in steps]
    stream = b""
    for text in texts:
        stream += sealer.seal(text)
        if text == b"\0":
            sealer.rekey()
    plaintexts = []
    for at in range(0, len(stream), cuts):
        for plaintext in opener.feed(stream[at : at + cuts]):
            plaintexts.append(plaintext)
            if plaintext == b"\0":
                opener.rekey()
    assert plaintexts == texts


def test_the_count_goes_on_over_a_rekey() -> None:
    """Nonce and key of the first record under the second key differ from both of the first one's."""
    sealer, fresh = Sealer(KEY), Sealer(KEY)
    sealer.seal(b"text")
    assert sealer.records == 1
    sealer.rekey()
    fresh.rekey()
    assert sealer.records == 0
    assert sealer.seal(b"text") != fresh.seal(b"text")


# --- that nothing else opens --------------------------------------------------------------------------------


@pytest.mark.parametrize("record", [0, 1, 2])
def test_any_flipped_bit_ends_the_link_or_waits_for_more(record: int) -> None:
    for bit in range(8 * len(sealed()[record])):
        changed = sealed()
        changed[record] = flipped(changed[record], bit)
        plaintexts, label = taken(Opener(KEY), b"".join(changed))
        assert plaintexts == TEXTS[:record]
        if bit >= 8 * WORD_BYTES:
            assert label == "record"


def test_what_was_cut_opens_to_what_was_whole() -> None:
    stream = b"".join(sealed())
    ends = [len(b"".join(sealed()[:count])) for count in range(len(TEXTS) + 1)]
    for size in range(len(stream)):
        assert opened(Opener(KEY), stream[:size]) == TEXTS[: sum(end <= size for end in ends) - 1]


@given(st.permutations(range(4)), st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_dropped_doubled_and_reordered_records_end_the_link(order: list[int], count: int) -> None:
    records = sealed([b"a", b"b", b"c", b"d"])
    chosen = order[:count]
    in_order = 0
    while in_order < count and chosen[in_order] == in_order:
        in_order += 1
    plaintexts, label = taken(Opener(KEY), *(records[number] for number in chosen))
    assert plaintexts == [b"a", b"b", b"c", b"d"][:in_order]
    assert label == ("" if in_order == count else "record")


def test_a_replayed_record_ends_the_link() -> None:
    opener = Opener(KEY)
    record = sealed()[0]
    assert opened(opener, record) == [b"one"]
    assert refused(opened, opener, record) == "record"


def test_a_reflected_record_ends_the_link() -> None:
    link = make_link()
    assert refused(opened, link.caller.opener, link.caller.sealer.seal(b"text")) == "record"
    assert refused(opened, link.receiver.opener, link.receiver.sealer.seal(b"text")) == "record"


def test_a_record_of_another_link_ends_the_link() -> None:
    assert refused(opened, make_link(1).receiver.opener, make_link(3).caller.sealer.seal(b"text")) == "record"


def test_a_record_under_the_key_before_ends_the_link() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    opened(opener, sealer.seal(b"text"))
    opener.rekey()
    assert refused(opened, opener, sealer.seal(b"text")) == "record"


@pytest.mark.parametrize("length", [0, 1, 16, MAX_PLAINTEXT_BYTES + 17, 2**31, 2**32 - 1])
@pytest.mark.parametrize("held", range(WORD_BYTES))
def test_an_impossible_length_ends_the_link_before_the_record_comes(length: int, held: int) -> None:
    word = length.to_bytes(WORD_BYTES, "big")
    opener = Opener(KEY)
    assert opened(opener, word[:held]) == []
    assert refused(opened, opener, word[held:]) == "record"


@pytest.mark.parametrize("length", [0, MAX_PLAINTEXT_BYTES + 1, 2**32 - 1])
def test_an_impossible_length_ends_a_link_inside_tls_as_well(length: int) -> None:
    assert refused(opened, PlainOpener(), length.to_bytes(WORD_BYTES, "big")) == "record"


@pytest.mark.parametrize("behind", [b"", b"behind"])
def test_a_link_that_was_found_broken_stays_broken(behind: bytes) -> None:
    opener, records = Opener(KEY), sealed()
    assert refused(opened, opener, flipped(records[0], 60) + behind) == "record"
    assert refused(opened, opener, records[0]) == "record"


# --- bounds -------------------------------------------------------------------------------------------------


def test_a_key_that_is_never_changed_ends_the_link() -> None:
    assert REKEY_RECORDS < MAX_RECORDS == 2**21
    sealer, opener = Sealer(KEY), Opener(KEY)
    sealer.records = opener.records = MAX_RECORDS - 1
    last = sealer.seal(b"last")
    assert opened(opener, last) == [b"last"]
    assert refused(sealer.seal, b"more") == "record"
    sealer.records -= 1  # a peer that goes on all the same
    sealer._before += 1
    assert refused(opened, opener, sealer.seal(b"more")) == "record"


def test_a_changed_key_is_good_for_as_many_records_again() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    sealer.records = opener.records = MAX_RECORDS
    sealer.rekey()
    opener.rekey()
    assert opened(opener, sealer.seal(b"more")) == [b"more"]


def test_no_more_than_one_record_is_held() -> None:
    sealer, opener = Sealer(KEY), Opener(KEY)
    record = sealer.seal(bytes(MAX_PLAINTEXT_BYTES))
    opened(opener, record[:-1])
    following = [sealer.seal(b"x" * 1000) for _ in range(300)]
    tracemalloc.start()
    try:
        before_bytes = tracemalloc.get_traced_memory()[0]
        assert sum(map(len, opened(opener, record[-1:], *following))) == MAX_PLAINTEXT_BYTES + 300_000
        opened(opener, sealer.seal(bytes(MAX_PLAINTEXT_BYTES))[:-1])
        held_bytes = tracemalloc.get_traced_memory()[0] - before_bytes
    finally:
        tracemalloc.stop()
    assert held_bytes < 2 * MAX_PLAINTEXT_BYTES


def test_a_record_that_arrives_byte_by_byte_costs_no_more_than_its_bytes() -> None:
    """What has come isn't copied again for each byte that comes: it is always the same buffer that grows."""
    opener = Opener(KEY)
    record = Sealer(KEY).seal(bytes(4096))
    opened(opener, record[:1])
    buffer = opener._buffer
    opened(opener, *(record[at : at + 1] for at in range(1, 4000)))
    assert opener._buffer is buffer


@given(st.lists(st.binary(max_size=60), max_size=8))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_refused_or_waited_for(pieces: list[bytes]) -> None:
    assert taken(Opener(KEY), *pieces) in (([], ""), ([], "record"))
    plaintexts, label = taken(PlainOpener(), *pieces)
    assert all(plaintexts)
    assert label in ("", "record")
