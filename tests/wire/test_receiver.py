"""Opening requests: who is proven, what was here before, what comes too late, and what is kept."""

from __future__ import annotations

import dataclasses

import pytest
from msgspec.structs import replace

from fastproxy.errors import (
    ENVELOPE_EXPIRED,
    ENVELOPE_MALFORMED,
    ENVELOPE_REPLAYED,
    EPOCH_MISMATCH,
    IDENTITY_UNPROVEN,
    MESSAGE_BROKEN,
    ProxyError,
)
from fastproxy.wire.ciphers import AES_256_GCM, CHACHA20_POLY1305, Cipher
from fastproxy.wire.compressors import COMPRESSORS, Compressor
from fastproxy.wire.envelope import (
    UNKNOWN_EPOCH,
    Challenge,
    Refusal,
    build_response_head,
    parse_request_head,
    parse_response_head,
)
from fastproxy.wire.receiver import ProvenRefusalError
from fastproxy.wire.records import Chunk, Packing
from fastproxy.wire.sessions import CallerKey
from tests.wire.parties import (
    ANSWER,
    CALLER,
    EPOCH,
    EXPIRY_MS,
    LIMITS,
    META,
    NAME,
    NONCE,
    NOW_MS,
    PSK,
    SENDER_KEY,
    STRANGER_KEY,
    assert_unproven,
    make_receiver,
    make_session,
    open_all,
    open_response,
    opened,
    refusal,
    seal,
    seal_answer,
    seal_pieces,
)

NAMES = [compressor.name for compressor in COMPRESSORS.values()]


# --- the way through ------------------------------------------------------------------------------------


@pytest.mark.parametrize("cipher", [AES_256_GCM, CHACHA20_POLY1305], ids=lambda cipher: cipher.name)
@pytest.mark.parametrize("psk", [None, PSK], ids=["auth", "auth_psk"])
@pytest.mark.parametrize("compressor", [None, *COMPRESSORS.values()], ids=["plain", *NAMES])
def test_request_and_response_go_through(
    cipher: Cipher, psk: bytes | None, compressor: Compressor | None
) -> None:
    receiver = make_receiver(callers=(CallerKey("chat_service", SENDER_KEY.public_key, psk),))
    packing = Packing(compressor, threshold_bytes=100, pad_to_bytes=64)
    session = make_session(cipher=cipher, psk=psk)
    body = b"param=hello&" * 1000
    for _ in range(2):  # the session is new, then known
        message, opener = session.seal_single(EPOCH, EXPIRY_MS, META, body, packing)
        request = opened(receiver, message)
        assert request.caller.name == "chat_service"
        assert request.chunk == Chunk(META, body, True)
        assert parse_request_head(request.chunk.meta).service == "search_service"
        answer = request.binding.seal_single(NONCE, ANSWER, body, packing)
        assert open_response(opener, answer) == [Chunk(ANSWER, body, True)]
        assert compressor is None or len(message) + len(answer) < len(body)
    assert receiver.session_count == 1


def test_a_message_of_several_records_with_trailers() -> None:
    receiver = make_receiver()
    records, opener = seal_pieces(make_session(), [b"one", b"two", b""], b"trailers")
    assert open_all(receiver, b"".join(records)) == [
        Chunk(META, b"one", False),
        Chunk(b"", b"two", False),
        Chunk(b"trailers", b"", True),
    ]
    records, opener = seal_pieces(make_session(), [b"one"])
    receiver = make_receiver()
    answer = b"".join(seal_answer(opened(receiver, records[0]).binding.sealer(NONCE), [b"a", b"b"], b"end"))
    chunks = [chunk for byte in answer for chunk in opener.feed(bytes((byte,)))]
    opener.eof()
    assert chunks == [Chunk(ANSWER, b"a", False), Chunk(b"end", b"b", True)]


def test_sealing_whole_and_record_by_record_yields_the_same_bytes() -> None:
    whole, _ = make_session().seal_single(EPOCH, EXPIRY_MS, META, b"body")
    records, _ = seal_pieces(make_session(), [b"body"])
    assert [whole] == records


def test_the_head_opens_as_soon_as_it_is_here_and_not_before() -> None:
    receiver = make_receiver()
    records, _ = seal_pieces(make_session(), [b"one", b"two"])
    for size in range(len(records[0])):
        assert receiver.open_head(records[0][:size], NOW_MS) is None
        assert receiver.open_head(bytearray(records[0][:size]), NOW_MS) is None
        assert refusal(receiver, records[0][:size]).cause is ENVELOPE_MALFORMED
    request = receiver.open_head(bytearray(records[0] + records[1][:5]), NOW_MS)
    assert request is not None
    assert request.consumed_bytes == len(records[0])
    rest = request.opener()
    assert rest.feed(records[1]) == [Chunk(b"", b"two", True)]


def test_overtaking_is_allowed() -> None:
    receiver = make_receiver()
    session = make_session()
    messages = [seal(session) for _ in range(100)]
    for message in reversed(messages):
        opened(receiver, message)


# --- who is proven --------------------------------------------------------------------------------------


def test_whatever_fails_before_the_tag_looks_the_same() -> None:
    receiver = make_receiver()
    message = seal(make_session())
    assert_unproven(receiver, seal(make_session(key=STRANGER_KEY)))  # unknown sender
    assert_unproven(make_receiver(key=STRANGER_KEY), message)  # unknown receiver key
    assert_unproven(receiver, seal(make_session(name="other-in")))  # other name
    assert_unproven(receiver, seal(make_session(name="search-inn")))
    assert_unproven(receiver, seal(make_session(psk=PSK)))  # a key that was not agreed upon
    assert_unproven(receiver, message[:-1] + bytes((message[-1] ^ 1,)))  # bad tag
    assert receiver.session_count == 0


def test_a_caller_with_a_pre_shared_key_must_use_it() -> None:
    receiver = make_receiver(callers=(dataclasses.replace(CALLER, psk=PSK),))
    assert_unproven(receiver, seal(make_session()))
    assert_unproven(receiver, seal(make_session(psk=b"\x56" * 32)))
    opened(receiver, seal(make_session(psk=PSK)))


def test_a_stranger_cannot_pose_as_a_caller() -> None:
    """The header names the caller's key, but the session was made with another one."""
    message = bytearray(seal(make_session(key=STRANGER_KEY)))
    message[8:16] = SENDER_KEY.key_id
    assert_unproven(make_receiver(), bytes(message))


def test_two_receivers_with_one_key_but_two_names_do_not_take_each_others_envelopes() -> None:
    """Nor does it help to rewrite the name in the header."""
    message = seal(make_session(name="search-a1"))
    assert_unproven(make_receiver(), message.replace(b"search-a1", NAME.encode()))


def test_a_strangers_record_is_not_waited_for() -> None:
    message = seal(make_session(key=STRANGER_KEY), bytes(60_000))
    with pytest.raises(ProxyError) as refused:
        make_receiver().open_head(message[:200], NOW_MS)
    assert refused.value.cause is IDENTITY_UNPROVEN


def test_an_ephemeral_key_of_low_order_is_refused() -> None:
    message = bytearray(seal(make_session()))
    message[24:56] = bytes(32)
    assert_unproven(make_receiver(), bytes(message))


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (0, b"X"),
        (3, b"1"),
        (4, b"\x02"),  # kind
        (4, b"\x00"),
        (5, b"\x01"),  # flags
        (5, b"\x80"),
        (6, b"\x00\x01"),  # cipher
        (6, b"\xff\xff"),
        (56, b"\x01"),  # counter of more than 56 bits
        (88, b"\x00"),  # no name
    ],
)
def test_a_header_of_another_form_is_refused(at: int, value: bytes) -> None:
    message = bytearray(seal(make_session()))
    message[at : at + len(value)] = value
    assert refusal(make_receiver(), bytes(message)).cause is ENVELOPE_MALFORMED


@pytest.mark.parametrize("length", [0, 23, 2**31 - 1])
def test_a_first_record_of_impossible_length_is_refused_at_once(length: int) -> None:
    header = seal(make_session())[: 89 + len(NAME)]
    assert refusal(make_receiver(), header + length.to_bytes(4, "big")).cause is ENVELOPE_MALFORMED


def test_nothing_may_follow_a_single_record() -> None:
    receiver = make_receiver()
    message = seal(make_session())
    assert refusal(receiver, message + b"\0").cause is MESSAGE_BROKEN
    with pytest.raises(ProxyError) as refused:
        opened(receiver, message).opener().feed(b"\0")
    assert refused.value.cause is MESSAGE_BROKEN


# --- what was here before, what comes too late -----------------------------------------------------------


def test_a_replay_is_refused() -> None:
    receiver = make_receiver()
    message = seal(make_session())
    opened(receiver, message)
    for _ in range(3):
        assert refusal(receiver, message).cause is ENVELOPE_REPLAYED


def test_a_counter_below_the_window_is_refused() -> None:
    receiver = make_receiver(limits=replace(LIMITS, window_width=64))
    session = make_session()
    messages = [seal(session) for _ in range(65)]
    opened(receiver, messages[64])
    assert refusal(receiver, messages[0]).cause is ENVELOPE_REPLAYED
    opened(receiver, messages[1])


def test_a_forged_counter_moves_no_window() -> None:
    receiver = make_receiver()
    session = make_session()
    opened(receiver, seal(session))
    forged = bytearray(seal(session))
    forged[57:64] = b"\xff" * 7
    assert_unproven(receiver, bytes(forged))
    opened(receiver, seal(session))


@pytest.mark.parametrize(
    ("expiry_ms", "taken"),
    [
        (NOW_MS - 1_000, True),
        (NOW_MS - 1_001, False),
        (NOW_MS + 61_000, True),
        (NOW_MS + 61_001, False),
        (0, False),
        (2**64 - 1, False),
    ],
)
def test_an_expiry_lies_within_the_greatest_age_and_the_skew(expiry_ms: int, taken: bool) -> None:
    receiver = make_receiver(limits=LIMITS)
    message = seal(make_session(), expiry_ms=expiry_ms)
    if taken:
        opened(receiver, message)
        return
    refused = refusal(receiver, message)
    assert refused.cause is ENVELOPE_EXPIRED
    assert isinstance(refused, ProvenRefusalError)
    assert receiver.session_count == 0


def test_a_refusal_after_proof_can_be_sealed() -> None:
    receiver = make_receiver()
    message, opener = make_session().seal_single(EPOCH, NOW_MS - 100_000, META, b"body")
    refused = refusal(receiver, message)
    assert isinstance(refused, ProvenRefusalError)
    assert (refused.caller, refused.meta) == (CALLER, META)
    head = Refusal(refused.cause.label, b"HTTP/1.1 401 Unauthorized\r\n\r\n")
    (first,) = open_response(opener, refused.binding.seal_single(NONCE, build_response_head(head), b"why"))
    assert parse_response_head(first) == head


@pytest.mark.parametrize("epoch", [UNKNOWN_EPOCH, bytes(range(1, 17))])
def test_a_wrong_epoch_is_answered_by_a_challenge_and_processed_once_sealed_anew(epoch: bytes) -> None:
    receiver = make_receiver()
    session = make_session()
    message, opener = session.seal_single(epoch, EXPIRY_MS, META, b"body")
    assert refusal(receiver, message).cause is EPOCH_MISMATCH
    refused = refusal(receiver, message)  # repeating it yields a challenge again, never the request
    assert refused.cause is EPOCH_MISMATCH
    assert isinstance(refused, ProvenRefusalError)
    assert receiver.session_count == 0
    challenge = build_response_head(Challenge(receiver.epoch))
    (first,) = open_response(opener, refused.binding.seal_single(NONCE, challenge, b""))
    head = parse_response_head(first)
    assert isinstance(head, Challenge)
    assert opened(receiver, seal(session, epoch=head.epoch)).chunk.data == b"body"


def test_a_recording_is_not_taken_after_a_restart() -> None:
    message = seal(make_session())
    opened(make_receiver(), message)
    restarted = make_receiver(epoch=b"another epoch..!")
    assert refusal(restarted, message).cause is EPOCH_MISMATCH


def test_an_authentic_record_of_bad_form_is_refused_and_its_counter_spent() -> None:
    receiver = make_receiver()
    bomb = COMPRESSORS[1]
    lying = Packing(replace(bomb, compressor_id=9), threshold_bytes=0)
    message, _ = make_session().seal_single(EPOCH, EXPIRY_MS, META, b"a" * 1000, lying)
    refused = refusal(receiver, message)
    assert isinstance(refused, ProvenRefusalError)
    assert refused.cause.label == "compression_broken"
    assert refusal(receiver, message).cause is ENVELOPE_REPLAYED


# --- the sender's own bounds ------------------------------------------------------------------------------


def test_no_two_envelopes_share_a_counter_even_if_one_could_not_be_sealed() -> None:
    session = make_session()
    with pytest.raises(ValueError, match="too much"):
        session.seal_single(EPOCH, EXPIRY_MS, META, bytes(65_537))
    counters = [int.from_bytes(seal(session)[56:64], "big") for _ in range(3)]
    assert counters == [0, 1, 2]


def test_a_response_is_bound_to_a_first_record() -> None:
    with pytest.raises(ValueError, match="first record"):
        make_session().seal(EPOCH, EXPIRY_MS).opener()


def test_a_response_nonce_has_12_bytes() -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        opened(make_receiver(), seal(make_session())).binding.sealer(b"short")
