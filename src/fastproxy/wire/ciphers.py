"""The AEADs that seal records, by their id in the HPKE registry (RFC 9180, section 7.3).

All take keys of 32 bytes, nonces of 12 and append a tag of 16. Which one a session uses stands in the
header of its envelopes; an id that isn't in `CIPHERS` is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from msgspec import Struct

NONCE_BYTES = 12
TAG_BYTES = 16


class Aead(Protocol):
    """A cipher with its key."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        """Return the ciphertext with its tag."""
        ...

    def decrypt(self, nonce: bytes, data: bytes | bytearray, associated_data: bytes | None) -> bytes:
        """Return the plaintext.

        Raises:
            cryptography.exceptions.InvalidTag: not sealed with this key, nonce and associated data.
        """
        ...


class Cipher(Struct, frozen=True):
    """One AEAD: its HPKE id, its name in configs, the length of its key in bytes, and how to key it."""

    aead_id: int
    name: str
    key_bytes: int
    keyed: Callable[[bytes], Aead]


AES_256_GCM = Cipher(0x0002, "aes-256-gcm", 32, AESGCM)
CHACHA20_POLY1305 = Cipher(0x0003, "chacha20-poly1305", 32, ChaCha20Poly1305)

CIPHERS: Mapping[int, Cipher] = MappingProxyType(
    {cipher.aead_id: cipher for cipher in (AES_256_GCM, CHACHA20_POLY1305)}
)
