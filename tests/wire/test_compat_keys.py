"""The keys of wire format v1: what they do, and that they don't show themselves."""

from __future__ import annotations

import hashlib
import hmac
import pickle

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.wire.compat.keys import EncryptKey, SignKey

SECRETS = st.sampled_from([16, 24, 32]).flatmap(lambda size: st.binary(min_size=size, max_size=size))


def plainly_encrypted(secret: bytes, body: bytes) -> bytes:
    """The same by the library alone, a new context for each message."""
    padder = PKCS7(128).padder()
    encryptor = Cipher(AES(secret), CBC(secret[:16])).encryptor()
    return encryptor.update(padder.update(body) + padder.finalize()) + encryptor.finalize()


@given(SECRETS, st.lists(st.binary(max_size=100), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_each_message_is_encrypted_as_if_it_were_the_first(secret: bytes, bodies: list[bytes]) -> None:
    key = EncryptKey("k", secret)
    for body in bodies:
        ciphertext = key.encrypt(body)
        assert ciphertext == plainly_encrypted(secret, body)
        assert key.decrypt(ciphertext) == body


@given(SECRETS, st.lists(st.binary(max_size=80), min_size=1, max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_does_not_decrypt_leaves_no_trace(secret: bytes, garbage: list[bytes]) -> None:
    key = EncryptKey("k", secret)
    for ciphertext in garbage:
        key.decrypt(ciphertext)
        assert key.decrypt(plainly_encrypted(secret, b"body")) == b"body"


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=32).filter(lambda head: len(head) % 16 == 0))
@settings(max_examples=80, deadline=None)
def test_padding_is_right_as_the_library_has_it(last_block: bytes, head: bytes) -> None:
    secret = b"0123456789abcdef"
    for size in range(17):
        padded = head + last_block[: 16 - size] + bytes((size,)) * size
        unpadder = PKCS7(128).unpadder()
        try:
            expected: bytes | None = unpadder.update(padded) + unpadder.finalize()
        except ValueError:
            expected = None
        encryptor = Cipher(AES(secret), CBC(secret)).encryptor()
        assert EncryptKey("k", secret).decrypt(encryptor.update(padded)) == expected
        if size:
            assert expected is not None


@pytest.mark.parametrize("last_byte", [0, 17, 32, 128, 255])
def test_no_padding_is_longer_than_a_block_or_empty(last_byte: int) -> None:
    secret = b"0123456789abcdef"
    encryptor = Cipher(AES(secret), CBC(secret)).encryptor()
    assert EncryptKey("k", secret).decrypt(encryptor.update(bytes((last_byte,)) * 256)) is None


@pytest.mark.parametrize("size", [0, 1, 15, 17, 31])
def test_ciphertext_is_a_positive_number_of_blocks(size: int) -> None:
    assert EncryptKey("k", b"0123456789abcdef").decrypt(bytes(size)) is None


def test_a_key_that_two_threads_use_at_once_fails_loudly() -> None:
    key = EncryptKey("k", b"0123456789abcdef")
    key._encryptor.update(bytes(16))  # what another thread would do in between
    with pytest.raises(RuntimeError, match="two threads"):
        key.encrypt(b"body")
    assert key.encrypt(b"body") == plainly_encrypted(b"0123456789abcdef", b"body")


@given(st.binary(min_size=1, max_size=100), st.lists(st.binary(max_size=100), max_size=4))
@settings(max_examples=60, deadline=None)
def test_a_signature_is_hmac_sha256_in_hexadecimal(secret: bytes, payloads: list[bytes]) -> None:
    key = SignKey("s", secret)
    for payload in payloads:
        assert key.sign(payload) == hmac.new(secret, payload, hashlib.sha256).hexdigest().encode()


@pytest.mark.parametrize("size", [0, 15, 17, 23, 33])
def test_an_aes_key_has_16_24_or_32_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=rf"k has {size} bytes") as refused:
        EncryptKey("k", b"S" * size)
    assert "SS" not in str(refused.value)


def test_keys_have_names_and_sign_keys_are_not_empty() -> None:
    with pytest.raises(ValueError, match="is empty"):
        SignKey("s", b"")
    for name in ("", "n" * 256, "ä" * 128):
        with pytest.raises(ValueError, match="between 1 and 255"):
            SignKey(name, b"secret")
        with pytest.raises(ValueError, match="between 1 and 255"):
            EncryptKey(name, b"0123456789abcdef")


def test_a_key_does_not_show_itself() -> None:
    for key in (SignKey("name", b"0123456789abcdef"), EncryptKey("name", b"0123456789abcdef")):
        assert "name" in repr(key)
        assert "0123" not in repr(key)
        with pytest.raises(TypeError):
            pickle.dumps(key)
