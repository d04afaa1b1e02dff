"""Identities: the X25519 key pair that belongs to one caller or one receiver.

Keys are 32 raw bytes (RFC 7748); their text form is 64 lowercase hexadecimal digits. A key id is a
public key's short name on the wire: it selects a key, it proves nothing.
A private key never shows itself: neither in `repr` nor in an error. Where keys are kept (files,
environment) is not known here.
"""

from __future__ import annotations

import re
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fastproxy.errors import IDENTITY_UNPROVEN, ProxyError

KEY_BYTES = 32
KEY_ID_BYTES = 8
_KEY_TEXT = re.compile(r"[0-9a-f]{64}")


def key_id(public_key: bytes) -> bytes:
    """Return the 8 bytes by which envelopes name this public key (32 bytes)."""
    return sha256(b"fastproxy key id" + public_key).digest()[:KEY_ID_BYTES]


def format_public_key(public_key: bytes) -> str:
    """Return the text form of a public key (32 bytes)."""
    return public_key.hex()


class PrivateKey:
    """The private half of an identity.

    public_key: the public half, 32 bytes. key_id: its name on the wire, 8 bytes.
    """

    __slots__ = ("_key", "key_id", "public_key")

    def __init__(self, random_32: bytes) -> None:
        """Make the key that these 32 random bytes are (RFC 7748, section 5: clamped when used).

        Raises:
            ValueError: not 32 bytes.
        """
        if len(random_32) != KEY_BYTES:
            raise ValueError("a private key is 32 bytes")
        self._key = X25519PrivateKey.from_private_bytes(random_32)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = key_id(self.public_key)

    @classmethod
    def parse(cls, text: str) -> PrivateKey:
        """Read the text form; white space around it (the end of a file's line) is ignored.

        Raises:
            ValueError: the text is no private key; the message doesn't repeat it.
        """
        digits = text.strip()
        if not _KEY_TEXT.fullmatch(digits):
            raise ValueError("a private key is 64 lowercase hexadecimal digits")
        return cls(bytes.fromhex(digits))

    def reveal(self) -> str:
        """Return the text form, for writing a key file and for nothing else."""
        return self._key.private_bytes_raw().hex()

    def exchange(self, public_key: bytes) -> bytes:
        """Return the X25519 shared secret with a peer's public key (32 bytes).

        Raises:
            ProxyError: IDENTITY_UNPROVEN, the peer's point is of low order (RFC 9180, section 7.1.4).
        """
        try:
            return self._key.exchange(X25519PublicKey.from_public_bytes(public_key))
        except ValueError as exc:
            raise ProxyError(IDENTITY_UNPROVEN) from exc

    def __repr__(self) -> str:
        return f"PrivateKey(key_id={self.key_id.hex()})"

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a private key is not pickled")
