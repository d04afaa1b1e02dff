"""The handshake: who gets in, and that whoever changes a bit of it gets nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link import terms
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import MAX_CREDIT_BYTES, MAX_DATA_BYTES
from fastproxy.wire.link.handshake import MAC_BYTES, NO_PSK, Initiator, Responder
from fastproxy.wire.link.noise import Transcript
from fastproxy.wire.link.terms import (
    LENGTH,
    MAX_MESSAGE_BYTES,
    OPENING,
    Params,
    build_choice,
    build_params,
)
from tests.wire.link.parties import (
    CALLER_KEY,
    CALLER_PARAMS,
    LOW_ORDER,
    NAME,
    OTHER_RECEIVER_KEY,
    PSK,
    RECEIVER_KEY,
    RECEIVER_PARAMS,
    STRANGER_KEY,
    answer,
    ephemeral,
    flipped,
    label_of,
    make_initiator,
    make_link,
    make_responder,
    odd_message_1,
    odd_message_2,
    opened,
    refused,
    with_mac,
)

MESSAGE_1 = make_link().message_1
MESSAGE_2 = make_link().message_2
NOT_MADE = {"mac", "handshake"}


def is_link(message_2: bytes) -> bool:
    """Whether the caller takes this for an answer."""
    try:
        return begin().finish(message_2) is not None
    except LinkError:
        return False


def begin() -> Initiator:
    """The caller that has sent `MESSAGE_1`."""
    initiator = make_initiator()
    assert initiator.message == MESSAGE_1
    return initiator


# --- that it works ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("psk", [NO_PSK, PSK], ids=["no psk", "psk"])
def test_both_sides_know_each_other_and_share_keys(psk: bytes) -> None:
    link = make_link(psk=psk)
    assert link.caller.peer_public_key == RECEIVER_KEY.public_key
    assert link.receiver.peer_public_key == CALLER_KEY.public_key
    assert (link.caller.params, link.receiver.params) == (RECEIVER_PARAMS, CALLER_PARAMS)
    assert (
        (link.caller.version, link.caller.features)
        == (link.receiver.version, link.receiver.features)
        == (1, 0)
    )
    assert opened(link.receiver.opener, link.caller.sealer.seal(b"request")) == [b"request"]
    assert opened(link.caller.opener, link.receiver.sealer.seal(b"response")) == [b"response"]


def test_both_messages_arrive_however_they_are_cut() -> None:
    responder = make_responder()
    for size in range(len(MESSAGE_1)):
        assert responder.message_bytes(MESSAGE_1[:size]) == 0
    assert responder.message_bytes(MESSAGE_1) == len(MESSAGE_1)
    assert responder.message_bytes(MESSAGE_1 + b"more") == len(MESSAGE_1)
    initiator = begin()
    for byte in MESSAGE_2[:-1]:
        assert initiator.finish(bytes((byte,))) is None
    finished = initiator.finish(MESSAGE_2[-1:] + b"first record")
    assert finished is not None
    assert finished[1] == b"first record"


def test_message_1_shows_neither_the_caller_nor_its_params() -> None:
    assert CALLER_KEY.public_key not in MESSAGE_1
    assert build_params(CALLER_PARAMS) not in MESSAGE_1
    assert NAME.encode() not in MESSAGE_1


def test_the_check_says_which_of_several_keys_is_meant() -> None:
    responder = make_responder(keys=(OTHER_RECEIVER_KEY, RECEIVER_KEY))
    assert responder.check(MESSAGE_1) is RECEIVER_KEY
    message = make_initiator(receiver=OTHER_RECEIVER_KEY).message
    assert responder.check(message) is OTHER_RECEIVER_KEY
    assert answer(responder, message)[1].peer_public_key == CALLER_KEY.public_key


def test_a_replayed_message_1_leads_to_other_keys() -> None:
    """Whoever recorded a link can't talk to the receiver: neither its records nor its message 2 fit."""
    link = make_link()
    record = link.caller.sealer.seal(b"request")
    message_2, again = answer(make_responder(), link.message_1, number=3)
    assert message_2[LENGTH.size + 32 :] != link.message_2[LENGTH.size + 32 :]
    assert refused(opened, again.opener, record) == "record"


def test_a_message_2_answers_one_message_1_only() -> None:
    assert refused(make_initiator(7).finish, MESSAGE_2) == "handshake"


# --- that nobody else gets in -------------------------------------------------------------------------------


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_message_1_is_refused_before_any_curve_arithmetic(
    bit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchanges = count_exchanges(monkeypatch)
    responder = make_responder()
    for byte in range(len(MESSAGE_1)):
        assert refused(answer, responder, flipped(MESSAGE_1, 8 * byte + bit)) in NOT_MADE
    assert exchanges == []


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_message_1_is_refused_also_with_its_check_made_anew(bit: int) -> None:
    responder = make_responder()
    for byte in range(len(MESSAGE_1) - MAC_BYTES):
        changed = with_mac(flipped(MESSAGE_1, 8 * byte + bit))
        if byte < 6:  # magic and length, the latter bound by the prologue where it fits
            assert refused(answer, responder, changed) == "handshake"
        else:
            assert refused(responder.answer, changed, RECEIVER_KEY, ephemeral(2)) in ("handshake", "version")


@pytest.mark.parametrize("bit", range(8))
def test_any_flipped_bit_of_message_2_is_refused(bit: int) -> None:
    for byte in range(LENGTH.size, len(MESSAGE_2)):
        # also the highest bit of the public key, which the curve ignores (RFC 7748, section 5): it is hashed
        assert refused(begin().finish, flipped(MESSAGE_2, 8 * byte + bit)) == "handshake"
    for byte in range(LENGTH.size):
        assert not is_link(flipped(MESSAGE_2, 8 * byte + bit))


def test_any_cut_message_makes_no_link() -> None:
    for size in range(len(MESSAGE_1)):
        assert make_responder().message_bytes(MESSAGE_1[:size]) == 0
    for size in range(len(MESSAGE_2)):
        assert begin().finish(MESSAGE_2[:size]) is None
    for size in range(LENGTH.size + 65, len(MESSAGE_2)):  # with the length that it has then
        assert refused(begin().finish, LENGTH.pack(size - 2) + MESSAGE_2[2:size]) == "handshake"


@pytest.mark.parametrize(
    "start",
    [
        b"GET / HTTP/1.1\r\n",
        b"\r\n",
        b"\x16\x03\x01",
        b"FPV2\x01\x00",
        b"\xfbfp\x02",
        b"\xfbfq",
        b"\xfa",
        b"\0",
    ],
)
def test_what_is_no_link_is_refused_at_its_first_odd_byte(start: bytes) -> None:
    responder = make_responder()
    odd = next((i for i, byte in enumerate(start) if byte != b"\xfbfp\x01"[i]), 0)
    for size in range(odd + 1):
        assert responder.message_bytes(start[:size]) == 0
    assert refused(responder.message_bytes, start[: odd + 1]) == "handshake"


def test_a_length_that_no_message_has_is_refused_before_the_message_comes() -> None:
    responder = make_responder()
    for size in (0, len(MESSAGE_1) - 7, MAX_MESSAGE_BYTES - 5, 65535):
        assert refused(responder.message_bytes, MESSAGE_1[:4] + LENGTH.pack(size)) == "handshake"
    for size in (0, 64, MAX_MESSAGE_BYTES - 1, 65535):
        assert refused(begin().finish, LENGTH.pack(size)) == "handshake"


def test_a_message_as_long_as_may_be_is_taken_for_what_is_known_of_it() -> None:
    room_bytes = MAX_MESSAGE_BYTES - OPENING.size - 96 - MAC_BYTES
    params = build_params(CALLER_PARAMS)
    message_1, _ = odd_message_1(params + bytes(room_bytes - len(params)))
    assert len(message_1) == MAX_MESSAGE_BYTES
    assert answer(make_responder(), message_1)[1].params == CALLER_PARAMS
    choice = build_choice(1, 0, RECEIVER_PARAMS)
    message_2 = odd_message_2(MESSAGE_1, choice + bytes(MAX_MESSAGE_BYTES - 2 - 48 - len(choice)))
    assert len(message_2) == MAX_MESSAGE_BYTES
    finished = begin().finish(message_2)
    assert finished is not None
    assert finished[0].params == RECEIVER_PARAMS


def test_another_name_is_refused_on_either_side() -> None:
    assert refused(answer, make_responder(name="billing-in"), MESSAGE_1) == "handshake"
    assert refused(answer, make_responder(), make_initiator(name="billing-in").message) == "handshake"


def test_another_receiver_is_refused_by_the_check() -> None:
    assert refused(answer, make_responder(keys=(OTHER_RECEIVER_KEY,)), MESSAGE_1) == "mac"
    assert refused(answer, make_responder(), with_mac(MESSAGE_1, OTHER_RECEIVER_KEY)) == "mac"


def test_whoever_has_another_key_than_the_receiver_can_not_answer() -> None:
    """It can even be told what the message says; still nothing that it sends is taken."""
    thief = make_responder(keys=(OTHER_RECEIVER_KEY,))
    assert refused(thief.answer, MESSAGE_1, OTHER_RECEIVER_KEY, ephemeral(2)) == "handshake"
    other_answer, _ = answer(thief, make_initiator(receiver=OTHER_RECEIVER_KEY).message)
    assert refused(begin().finish, other_answer) == "handshake"


@pytest.mark.parametrize(("psk", "other"), [(PSK, NO_PSK), (NO_PSK, PSK), (PSK, PSK[::-1][:31] + b"\1")])
def test_another_pre_shared_key_ends_it_at_the_caller(psk: bytes, other: bytes) -> None:
    initiator = make_initiator(psk=psk)
    message_2, receiver = answer(make_responder(psk=other), initiator.message)
    assert refused(initiator.finish, message_2) == "handshake"
    other_link = make_link(psk=psk)
    assert refused(opened, receiver.opener, other_link.caller.sealer.seal(b"request")) == "record"


def test_a_caller_that_is_not_known_is_refused() -> None:
    message = make_initiator(key=STRANGER_KEY).message
    assert refused(answer, make_responder(), message) == "unknown_caller"


def count_exchanges(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Make a list to which every curve operation is added."""
    exchanges: list[bytes] = []
    exchange = PrivateKey.exchange

    def counted(key: PrivateKey, public_key: bytes) -> bytes:
        exchanges.append(public_key)
        return exchange(key, public_key)

    monkeypatch.setattr(PrivateKey, "exchange", counted)
    return exchanges


def test_a_caller_that_is_not_known_costs_what_a_known_one_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    known, unknown = make_initiator().message, make_initiator(key=STRANGER_KEY).message
    exchanges = count_exchanges(monkeypatch)
    sealed: list[int] = []
    seal = Transcript.seal

    def counted(transcript: Transcript, plaintext: bytes) -> bytes:
        sealed.append(len(plaintext))
        return seal(transcript, plaintext)

    monkeypatch.setattr(Transcript, "seal", counted)
    answer(make_responder(), known)
    cost = len(exchanges), list(sealed)
    assert cost == (4, [17])
    exchanges.clear()
    sealed.clear()
    assert refused(answer, make_responder(), unknown) == "unknown_caller"
    assert (len(exchanges), sealed) == cost


@pytest.mark.parametrize("point", LOW_ORDER)
def test_an_ephemeral_key_of_low_order_is_refused(point: bytes) -> None:
    message_1 = with_mac(MESSAGE_1[: OPENING.size] + point + MESSAGE_1[OPENING.size + 32 :])
    assert refused(answer, make_responder(), message_1) == "handshake"
    message_2 = MESSAGE_2[: LENGTH.size] + point + MESSAGE_2[LENGTH.size + 32 :]
    assert refused(begin().finish, message_2) == "handshake"


def test_an_identity_of_low_order_is_refused() -> None:
    class Nobody(PrivateKey):
        """Claims a public key whose private half is nothing: its shared secret would be known to all."""

        def __init__(self) -> None:
            super().__init__(b"\x77" * 32)
            self.public_key = bytes(32)

    message, _ = odd_message_1(build_params(CALLER_PARAMS), key=Nobody())
    responder = Responder(NAME, [RECEIVER_KEY], {bytes(32): NO_PSK}.get, RECEIVER_PARAMS)
    assert refused(answer, responder, message) == "handshake"


# --- versions, features, params -----------------------------------------------------------------------------


@pytest.mark.parametrize("versions", [0, 2, 0xFFFFFFFE])
def test_versions_of_which_none_is_known_are_refused(versions: int) -> None:
    message, _ = odd_message_1(build_params(CALLER_PARAMS), versions=versions)
    assert refused(answer, make_responder(), message) == "version"


def test_of_versions_and_features_those_that_both_know_are_chosen() -> None:
    message, _ = odd_message_1(build_params(CALLER_PARAMS), versions=0xFFFFFFFF, features=0xFFFFFFFF)
    receiver = answer(make_responder(), message)[1]
    assert (receiver.version, receiver.features) == (1, 0)


def test_of_several_common_versions_the_highest_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "VERSIONS", 0b1011)
    monkeypatch.setattr(terms, "FEATURES", 0b110)
    message, _ = odd_message_1(build_params(CALLER_PARAMS), versions=0b0111, features=0b011)
    receiver = answer(make_responder(), message)[1]
    assert (receiver.version, receiver.features) == (2, 0b010)


@pytest.mark.parametrize(("version", "features"), [(0, 0), (2, 0), (33, 0), (255, 0), (1, 1), (1, 1 << 31)])
def test_a_choice_that_was_not_offered_ends_the_link(version: int, features: int) -> None:
    message_2 = odd_message_2(MESSAGE_1, build_choice(version, features, RECEIVER_PARAMS))
    assert refused(begin().finish, message_2) == "version"


@pytest.mark.parametrize(("versions", "features"), [(0x80000001, 0), (1, 1)])
def test_an_offer_that_is_changed_on_the_way_is_refused(versions: int, features: int) -> None:
    """The change in flight that a downgrade needs, with the check made anew."""
    opening = OPENING.pack(*OPENING.unpack_from(MESSAGE_1)[:2], versions, features)
    assert refused(answer, make_responder(), with_mac(opening + MESSAGE_1[OPENING.size :])) == "handshake"


def test_windows_beyond_what_credit_can_be_or_less_than_a_frame_holds_are_refused() -> None:
    least, most = MAX_DATA_BYTES, MAX_CREDIT_BYTES
    for params in (
        Params(most + 1, least, 0),
        Params(least, most + 1, 0),
        Params(least - 1, least, 0),
    ):
        with pytest.raises(ValueError, match="window"):
            Initiator(CALLER_KEY, NAME, RECEIVER_KEY.public_key, NO_PSK, params, ephemeral(1))
        with pytest.raises(ValueError, match="window"):
            Responder(NAME, [RECEIVER_KEY], lambda _: None, params)
        words = b"".join(limit.to_bytes(4, "big") for limit in params)
        assert refused(answer, make_responder(), odd_message_1(words)[0]) == "handshake"
        choice = build_choice(1, 0, RECEIVER_PARAMS)[:5] + words
        assert refused(begin().finish, odd_message_2(MESSAGE_1, choice)) == "handshake"


@pytest.mark.parametrize("name", ["", "x" * 256])
def test_names_of_no_possible_length_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        make_initiator(name=name)
    with pytest.raises(ValueError, match="name"):
        make_responder(name=name)


def test_keys_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        make_initiator(psk=b"short")


# --- whatever comes -----------------------------------------------------------------------------------------


@given(st.binary(max_size=600))
@settings(max_examples=300, deadline=None)
def test_whatever_comes_first_is_refused_or_waited_for(data: bytes) -> None:
    def take() -> None:
        assert make_responder().message_bytes(data) == 0, "nobody guesses a whole message 1"
        assert len(data) < MAX_MESSAGE_BYTES

    assert label_of(take) in ("", "handshake")


@given(
    st.binary(max_size=12)
    | st.binary(min_size=12, max_size=MAX_MESSAGE_BYTES - OPENING.size - 96 - MAC_BYTES),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=150, deadline=None)
def test_whatever_a_caller_says_is_taken_or_refused(payload: bytes, versions: int) -> None:
    message, _ = odd_message_1(payload, versions=versions)

    def take() -> None:
        _, receiver = answer(make_responder(), message)
        assert build_params(receiver.params) == payload[:12]
        assert versions & 1

    assert label_of(take) in ("", "handshake", "version")


@given(
    st.binary(max_size=200)
    | st.binary(max_size=200).map(lambda rest: build_choice(1, 0, RECEIVER_PARAMS) + rest),
    st.lists(st.integers(0, 250)),
)
@settings(max_examples=150, deadline=None)
def test_whatever_a_receiver_says_is_taken_or_refused(payload: bytes, cuts: list[int]) -> None:
    message_2 = odd_message_2(MESSAGE_1, payload)

    def take() -> None:
        initiator, finished, at = begin(), None, 0
        for end in sorted(cut for cut in cuts if cut < len(message_2)):
            assert initiator.finish(message_2[at:end]) is None
            at = end
        finished = initiator.finish(message_2[at:] + b"behind it")
        assert finished is not None
        assert payload[:5] == b"\x01\0\0\0\0"
        assert finished[1] == b"behind it"

    assert label_of(take) in ("", "handshake", "version")
