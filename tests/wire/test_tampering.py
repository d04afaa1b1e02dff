"""Whatever is done to a message on its way: it is refused with a row of the error table, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.errors import (
    ENVELOPE_MALFORMED,
    IDENTITY_UNPROVEN,
    MESSAGE_BROKEN,
    RESPONSE_BROKEN,
    RESPONSE_UNSEALED,
    Cause,
    ProxyError,
)
from fastproxy.wire.records import Chunk
from fastproxy.wire.responses import ResponseOpener
from tests.wire.parties import (
    ANSWER,
    EPOCH,
    EXPIRY_MS,
    META,
    NONCE,
    NOW_MS,
    make_receiver,
    make_session,
    open_all,
    open_response,
    opened,
    seal_answer,
    seal_pieces,
)

REQUEST_CAUSES = {ENVELOPE_MALFORMED, IDENTITY_UNPROVEN, MESSAGE_BROKEN}
RESPONSE_CAUSES = {RESPONSE_BROKEN, RESPONSE_UNSEALED}


def exchange() -> tuple[list[bytes], ResponseOpener]:
    """The records of a response, and what opens it."""
    session = make_session()
    sealer = session.seal(EPOCH, EXPIRY_MS)
    message = sealer.record(META, b"body", last=True)
    binding = opened(make_receiver(), message).binding
    return seal_answer(binding.sealer(NONCE), [b"one", b"two", b"three"], b"end"), sealer.opener()


REQUEST = b"".join(seal_pieces(make_session(), [b"one", b"two", b"three"], b"trailers")[0])
RESPONSE = b"".join(exchange()[0])


def request_cause(message: bytes) -> Cause:
    with pytest.raises(ProxyError) as refused:
        open_all(make_receiver(), message)
    return refused.value.cause


def response_cause(message: bytes) -> Cause:
    with pytest.raises(ProxyError) as refused:
        open_response(exchange()[1], message)
    return refused.value.cause


def flip(message: bytes, bit: int) -> bytes:
    flipped = bytearray(message)
    flipped[bit >> 3] ^= 1 << (bit & 7)
    return bytes(flipped)


def test_the_untouched_messages_open() -> None:
    assert [chunk.data for chunk in open_all(make_receiver(), REQUEST)] == [b"one", b"two", b"three"]
    assert [chunk.data for chunk in open_response(exchange()[1], RESPONSE)] == [b"one", b"two", b"three"]


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_a_request_is_refused(bit: int) -> None:
    for byte in range(len(REQUEST)):
        assert request_cause(flip(REQUEST, 8 * byte + bit)) in REQUEST_CAUSES


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_a_response_is_refused(bit: int) -> None:
    for byte in range(len(RESPONSE)):
        assert response_cause(flip(RESPONSE, 8 * byte + bit)) in RESPONSE_CAUSES


def test_any_cut_is_refused() -> None:
    for size in range(len(REQUEST)):
        assert request_cause(REQUEST[:size]) in REQUEST_CAUSES
    for size in range(len(RESPONSE)):
        assert response_cause(RESPONSE[:size]) in RESPONSE_CAUSES


@given(st.binary(max_size=300), st.integers(0, 260))
@settings(max_examples=150, deadline=None)
def test_garbage_behind_any_true_beginning_is_refused(garbage: bytes, keep: int) -> None:
    if garbage:
        for message, cause_of, causes in (
            (REQUEST, request_cause, REQUEST_CAUSES),
            (RESPONSE, response_cause, RESPONSE_CAUSES),
        ):
            changed = message[:keep] + garbage
            if changed != message:
                assert cause_of(changed) in causes


@given(st.permutations(range(6)), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_records_of_two_messages_are_never_joined(order: list[int], count: int) -> None:
    """Of one session: two messages, sealed one after the other, taken apart and put together anew."""
    session = make_session()
    first, second = (seal_pieces(session, [b"one", b"two", b"three"])[0] for _ in range(2))
    chosen = order[:count]
    message = b"".join((first + second)[index] for index in chosen)
    if chosen in ([0, 1, 2], [3, 4, 5]):
        assert open_all(make_receiver(), message)
    else:
        assert request_cause(message) in REQUEST_CAUSES


@given(st.permutations(range(6)), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_records_of_two_responses_are_never_joined(order: list[int], count: int) -> None:
    session, receiver = make_session(), make_receiver()
    records: list[bytes] = []
    openers = []
    for nonce in (NONCE, NONCE[::-1]):
        message, opener = session.seal_single(EPOCH, EXPIRY_MS, META, b"body")
        records += seal_answer(opened(receiver, message).binding.sealer(nonce), [b"one", b"two", b"three"])
        openers.append(opener)
    chosen = order[:count]
    if chosen != [0, 1, 2]:
        with pytest.raises(ProxyError) as refused:
            open_response(openers[0], b"".join(records[index] for index in chosen))
        assert refused.value.cause in RESPONSE_CAUSES


def test_a_response_is_not_taken_for_another_request() -> None:
    session, receiver = make_session(), make_receiver()
    answers, openers = [], []
    for _ in range(2):
        message, opener = session.seal_single(EPOCH, EXPIRY_MS, META, b"body")
        answers.append(opened(receiver, message).binding.seal_single(NONCE, ANSWER, b"secret"))
        openers.append(opener)
    for opener, answer in zip(openers, reversed(answers), strict=True):
        with pytest.raises(ProxyError) as refused:
            open_response(opener, answer)
        assert refused.value.cause is RESPONSE_BROKEN


def test_a_response_is_not_taken_for_a_request_and_a_request_not_for_a_response() -> None:
    assert request_cause(RESPONSE) is ENVELOPE_MALFORMED
    assert response_cause(REQUEST) is RESPONSE_UNSEALED


@pytest.mark.parametrize("message", [b"", b"F", b"HTTP", b"<html>", b"{}", b"FPV1\x02\x00" + bytes(40)])
def test_what_is_not_sealed_is_named_so(message: bytes) -> None:
    assert response_cause(message) is RESPONSE_UNSEALED


def test_what_is_not_sealed_is_refused_at_its_first_odd_byte() -> None:
    opener = exchange()[1]
    opener.feed(b"FPV")
    with pytest.raises(ProxyError) as refused:
        opener.feed(b"1")
    assert refused.value.cause is RESPONSE_UNSEALED


def test_two_answers_to_one_request_share_no_nonce() -> None:
    message, _ = make_session().seal_single(EPOCH, EXPIRY_MS, META, b"body")
    binding = opened(make_receiver(), message).binding
    one, two = (binding.seal_single(bytes((nonce,)) * 12, ANSWER, b"same") for nonce in (1, 2))
    assert one[22:] != two[22:]


def test_bytes_that_come_one_by_one_open_the_same() -> None:
    opener = exchange()[1]
    chunks = [chunk for byte in RESPONSE for chunk in opener.feed(bytes((byte,)))]
    opener.eof()
    assert opener.finished
    assert chunks[0] == Chunk(ANSWER, b"one", False)
    receiver, buffer, bytes_left = make_receiver(), bytearray(), iter(REQUEST)
    request = None
    while request is None:
        buffer.append(next(bytes_left))
        request = receiver.open_head(buffer, NOW_MS)
    rest = request.opener()
    more = [chunk for byte in bytes_left for chunk in rest.feed(bytes((byte,)))]
    rest.eof()
    assert [request.chunk.data, *(chunk.data for chunk in more)] == [b"one", b"two", b"three"]
