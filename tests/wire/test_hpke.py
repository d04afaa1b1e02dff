"""The key schedule: against the vectors of RFC 9180 and against an independent implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pyhpke import AEADId, CipherSuite, KDFId, KEMId, KEMKey, KEMKeyInterface

from fastproxy.errors import IDENTITY_UNPROVEN, ProxyError
from fastproxy.wire.ciphers import AES_256_GCM, CHACHA20_POLY1305, Cipher
from fastproxy.wire.hpke import PreSharedKey, Schedule, auth_decap, auth_encap, key_schedule
from fastproxy.wire.identity import PrivateKey
from tests.wire.parties import RECEIVER_KEY, SENDER_KEY

VECTORS = json.loads((Path(__file__).parent.parent / "data" / "hpke_rfc9180.json").read_text())["vectors"]
CIPHERS = {1: Cipher(1, "aes-128-gcm", 16, AESGCM), 3: CHACHA20_POLY1305}
"""The appendix has no vectors for AES-256-GCM with this KEM; the other implementation covers it below."""

PSK = PreSharedKey(b"\x55" * 32, b"fastproxy psk")
SUITES = [(AES_256_GCM, AEADId.AES256_GCM), (CHACHA20_POLY1305, AEADId.CHACHA20_POLY1305)]


def private(vector: dict[str, Any], name: str) -> PrivateKey:
    return PrivateKey(bytes.fromhex(vector[name]))


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["section"] for vector in VECTORS])
def test_vector(vector: dict[str, Any]) -> None:
    receiver, sender, ephemeral = (private(vector, name) for name in ("skRm", "skSm", "skEm"))
    assert receiver.public_key.hex() == vector["pkRm"]
    assert sender.public_key.hex() == vector["pkSm"]
    assert ephemeral.public_key.hex() == vector["enc"]
    shared_secret = auth_encap(sender, receiver.public_key, ephemeral)
    assert shared_secret.hex() == vector["shared_secret"]
    assert auth_decap(receiver, sender.public_key, ephemeral.public_key) == shared_secret

    psk = (
        PreSharedKey(bytes.fromhex(vector["psk"]), bytes.fromhex(vector["psk_id"])) if vector["psk"] else None
    )
    assert (vector["mode"] == 3) == (psk is not None)
    cipher = CIPHERS[vector["aead_id"]]
    schedule = key_schedule(shared_secret, bytes.fromhex(vector["info"]), cipher, psk)
    assert schedule.key.hex() == vector["key"]
    assert schedule.base_nonce.hex() == vector["base_nonce"]
    assert schedule.exporter_secret.hex() == vector["exporter_secret"]
    for export in vector["exports"]:
        assert schedule.export(bytes.fromhex(export["context"]), 32).hex() == export["value"]
    for sealed in vector["encryptions"]:
        assert seal(cipher, schedule, sealed["sequence"], sealed["pt"], sealed["aad"]) == sealed["ct"]


def seal(cipher: Cipher, schedule: Schedule, sequence: int, pt: str, aad: str) -> str:
    nonce = int.from_bytes(schedule.base_nonce, "big") ^ sequence
    aead = cipher.keyed(schedule.key)
    return aead.encrypt(nonce.to_bytes(12, "big"), bytes.fromhex(pt), bytes.fromhex(aad)).hex()


def their_private(key: PrivateKey) -> KEMKeyInterface:
    return KEMKey.from_pyca_cryptography_key(X25519PrivateKey.from_private_bytes(bytes.fromhex(key.reveal())))


def their_public(key: PrivateKey) -> KEMKeyInterface:
    return KEMKey.from_pyca_cryptography_key(X25519PublicKey.from_public_bytes(key.public_key))


@pytest.mark.parametrize("psk", [None, PSK], ids=["auth", "auth_psk"])
@pytest.mark.parametrize(("cipher", "aead_id"), SUITES, ids=["aes", "chacha"])
def test_the_other_implementation_opens_what_this_one_seals(
    cipher: Cipher, aead_id: AEADId, psk: PreSharedKey | None
) -> None:
    ephemeral = PrivateKey(b"\x44" * 32)
    schedule = key_schedule(auth_encap(SENDER_KEY, RECEIVER_KEY.public_key, ephemeral), b"info", cipher, psk)
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, aead_id)
    theirs = suite.create_recipient_context(
        ephemeral.public_key,
        their_private(RECEIVER_KEY),
        info=b"info",
        pks=their_public(SENDER_KEY),
        psk=psk.key if psk else b"",
        psk_id=psk.key_id if psk else b"",
    )
    assert (
        theirs.open(bytes.fromhex(seal(cipher, schedule, 0, b"hello".hex(), b"aad".hex())), b"aad")
        == b"hello"
    )
    assert theirs.export(b"context", 48) == schedule.export(b"context", 48)


@pytest.mark.parametrize("psk", [None, PSK], ids=["auth", "auth_psk"])
@pytest.mark.parametrize(("cipher", "aead_id"), SUITES, ids=["aes", "chacha"])
def test_this_implementation_opens_what_the_other_one_seals(
    cipher: Cipher, aead_id: AEADId, psk: PreSharedKey | None
) -> None:
    suite = CipherSuite.new(KEMId.DHKEM_X25519_HKDF_SHA256, KDFId.HKDF_SHA256, aead_id)
    enc, theirs = suite.create_sender_context(
        their_public(RECEIVER_KEY),
        info=b"info",
        sks=their_private(SENDER_KEY),
        psk=psk.key if psk else b"",
        psk_id=psk.key_id if psk else b"",
    )
    schedule = key_schedule(auth_decap(RECEIVER_KEY, SENDER_KEY.public_key, enc), b"info", cipher, psk)
    opened = cipher.keyed(schedule.key).decrypt(schedule.base_nonce, theirs.seal(b"hello", b"aad"), b"aad")
    assert opened == b"hello"
    assert theirs.export(b"context", 48) == schedule.export(b"context", 48)


def test_an_ephemeral_key_of_low_order_is_refused() -> None:
    with pytest.raises(ProxyError) as refused:
        auth_decap(RECEIVER_KEY, SENDER_KEY.public_key, bytes(32))
    assert refused.value.cause is IDENTITY_UNPROVEN


@pytest.mark.parametrize("psk", [PreSharedKey(b"short", b"id"), PreSharedKey(b"\x55" * 32, b"")])
def test_a_weak_pre_shared_key_is_refused(psk: PreSharedKey) -> None:
    with pytest.raises(ValueError, match="pre-shared key"):
        key_schedule(bytes(32), b"", AES_256_GCM, psk)


def test_secrets_do_not_show() -> None:
    schedule = key_schedule(bytes(32), b"", AES_256_GCM, PSK)
    assert repr(schedule) == "Schedule(secret)"
    assert "UUUU" not in repr(PSK)
