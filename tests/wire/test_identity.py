"""Key pairs: text forms, ids, what is refused, and that nothing shows a private key."""

from __future__ import annotations

import pickle
from hashlib import sha256

import pytest

from fastproxy.errors import IDENTITY_UNPROVEN, ProxyError
from fastproxy.wire.identity import PrivateKey, format_public_key
from tests.wire.parties import RECEIVER_KEY, SENDER_KEY

LOW_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


def test_text_forms_round_trip() -> None:
    assert PrivateKey.parse(SENDER_KEY.reveal() + "\n").public_key == SENDER_KEY.public_key
    assert bytes.fromhex(format_public_key(SENDER_KEY.public_key)) == SENDER_KEY.public_key


def test_the_key_id_is_a_hash_of_the_public_key() -> None:
    assert SENDER_KEY.key_id == sha256(b"fastproxy key id" + SENDER_KEY.public_key).digest()[:8]


def test_both_sides_share_a_secret() -> None:
    assert SENDER_KEY.exchange(RECEIVER_KEY.public_key) == RECEIVER_KEY.exchange(SENDER_KEY.public_key)


@pytest.mark.parametrize(
    "text", ["", "11" * 31, "11" * 33, "AA" * 32, "0x" + "11" * 31, "11" * 31 + "1g", "١" * 64]
)
def test_text_that_is_no_key_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="64 lowercase") as private:
        PrivateKey.parse(text)
    assert not text or text not in str(private.value)


@pytest.mark.parametrize("text", LOW_ORDER)
def test_a_point_of_low_order_is_refused_in_an_exchange(text: str) -> None:
    with pytest.raises(ProxyError) as refused:
        SENDER_KEY.exchange(bytes.fromhex(text))
    assert refused.value.cause is IDENTITY_UNPROVEN


def test_nothing_shows_a_private_key() -> None:
    secret = SENDER_KEY.reveal()
    assert secret not in repr(SENDER_KEY) + str(SENDER_KEY)
    assert "1111" not in repr(SENDER_KEY)
    with pytest.raises(TypeError):
        pickle.dumps(SENDER_KEY)


def test_a_private_key_has_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        PrivateKey(b"\x11" * 31)
