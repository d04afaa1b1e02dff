"""HPKE's authenticated modes (RFC 9180): from two identities and an ephemeral key to a session's secrets.

Fixed here: DHKEM(X25519, HKDF-SHA256) and HKDF-SHA256. The cipher is an argument. Mode auth without a
pre-shared key, mode auth_psk with one. Only the key schedule is HPKE's; what is sealed with its output,
under which nonces, is `records`' matter. Checked against the vectors of RFC 9180, appendix A, and
against an independent implementation.
"""

from __future__ import annotations

import hmac
from typing import NamedTuple

from fastproxy.wire.ciphers import NONCE_BYTES, Cipher
from fastproxy.wire.identity import PrivateKey

_KEM_ID = 0x0020
_KDF_ID = 0x0001
_KEM_SUITE = b"KEM" + _KEM_ID.to_bytes(2, "big")
_HASH_BYTES = 32
_MODE_AUTH = 0x02
_MODE_AUTH_PSK = 0x03
PSK_MIN_BYTES = 32
"""RFC 9180, section 9.5: a pre-shared key of less entropy can be guessed offline."""


class PreSharedKey(NamedTuple):
    """A secret that both sides hold besides their identities.

    key: at least 32 bytes of randomness. key_id: its name, not secret, not empty.
    """

    key: bytes
    key_id: bytes

    def __repr__(self) -> str:
        return f"PreSharedKey(key_id={self.key_id!r})"


class Schedule(NamedTuple):
    """What the key schedule yields (RFC 9180, section 5.1)."""

    key: bytes
    base_nonce: bytes
    exporter_secret: bytes
    suite: bytes

    def export(self, context: bytes, length_bytes: int) -> bytes:
        """Derive another secret, independent of the key, for the use that `context` names (section 5.3)."""
        return _labeled_expand(self.suite, self.exporter_secret, b"sec", context, length_bytes)

    def __repr__(self) -> str:
        return "Schedule(secret)"


def auth_encap(sender: PrivateKey, receiver_public_key: bytes, ephemeral: PrivateKey) -> bytes:
    """Return the shared secret as the sender has it; `ephemeral.public_key` goes to the receiver.

    Raises:
        ProxyError: IDENTITY_UNPROVEN, the receiver's key is a point of low order.

    Source: AuthEncap, RFC 9180, section 4.1.
    """
    dh = ephemeral.exchange(receiver_public_key) + sender.exchange(receiver_public_key)
    return _extract_and_expand(dh, ephemeral.public_key + receiver_public_key + sender.public_key)


def auth_decap(receiver: PrivateKey, sender_public_key: bytes, enc: bytes) -> bytes:
    """Return the shared secret as the receiver has it; `enc` is the ephemeral public key that came.

    Raises:
        ProxyError: IDENTITY_UNPROVEN, one of the keys is a point of low order.

    Source: AuthDecap, RFC 9180, section 4.1.
    """
    dh = receiver.exchange(enc) + receiver.exchange(sender_public_key)
    return _extract_and_expand(dh, enc + receiver.public_key + sender_public_key)


def key_schedule(shared_secret: bytes, info: bytes, cipher: Cipher, psk: PreSharedKey | None) -> Schedule:
    """Derive a session's secrets, in mode auth, or auth_psk when there is a pre-shared key.

    Args:
        shared_secret: what `auth_encap` or `auth_decap` returned.
        info: what both sides must agree on besides their keys.

    Raises:
        ValueError: the pre-shared key is shorter than 32 bytes or has no id.

    Source: KeySchedule, RFC 9180, section 5.1.
    """
    mode, key, key_id = _MODE_AUTH, b"", b""
    if psk is not None:
        mode, (key, key_id) = _MODE_AUTH_PSK, psk
        if len(key) < PSK_MIN_BYTES or not key_id:
            raise ValueError(f"a pre-shared key has at least {PSK_MIN_BYTES} bytes and an id")
    suite = b"HPKE" + b"".join(n.to_bytes(2, "big") for n in (_KEM_ID, _KDF_ID, cipher.aead_id))
    context = (
        bytes((mode,))
        + _labeled_extract(suite, b"", b"psk_id_hash", key_id)
        + _labeled_extract(suite, b"", b"info_hash", info)
    )
    secret = _labeled_extract(suite, shared_secret, b"secret", key)
    return Schedule(
        _labeled_expand(suite, secret, b"key", context, cipher.key_bytes),
        _labeled_expand(suite, secret, b"base_nonce", context, NONCE_BYTES),
        _labeled_expand(suite, secret, b"exp", context, _HASH_BYTES),
        suite,
    )


def _extract_and_expand(dh: bytes, kem_context: bytes) -> bytes:
    prk = _labeled_extract(_KEM_SUITE, b"", b"eae_prk", dh)
    return _labeled_expand(_KEM_SUITE, prk, b"shared_secret", kem_context, _HASH_BYTES)


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return hmac.digest(salt or bytes(_HASH_BYTES), b"HPKE-v1" + suite + label + ikm, "sha256")


def _labeled_expand(suite: bytes, prk: bytes, label: bytes, info: bytes, length_bytes: int) -> bytes:
    """HKDF-Expand (RFC 5869, section 2.3) of a labeled info."""
    labeled = length_bytes.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
    block = okm = b""
    counter = 1
    while len(okm) < length_bytes:
        block = hmac.digest(prk, block + labeled + bytes((counter,)), "sha256")
        okm += block
        counter += 1
    return okm[:length_bytes]
