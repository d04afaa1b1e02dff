"""Noise_IKpsk2_25519_AESGCM_SHA256: from identities, ephemeral keys and a secret to a link's two keys.

    <- s
    ...
    -> e, es, s, ss
    <- e, ee, se, psk

Only this pattern, written out (Noise revision 34, sections 5 and 9). In it every key seals one field and is
then mixed into the next, so that the nonce is always 0. Checked against public vectors and against an
independent implementation.
Knows nothing of what payloads and prologue hold, nor of what is done with the keys.
"""

from __future__ import annotations

import hmac
from hashlib import sha256
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fastproxy.errors import ProxyError
from fastproxy.wire.ciphers import NONCE_BYTES, TAG_BYTES
from fastproxy.wire.identity import KEY_BYTES, PrivateKey
from fastproxy.wire.link.errors import LinkError

PROTOCOL_NAME = b"Noise_IKpsk2_25519_AESGCM_SHA256"
"""Exactly as long as a hash, so that the transcript's hash begins with the name itself (section 5.2)."""
PSK_BYTES = 32
SEALED_KEY_BYTES = KEY_BYTES + TAG_BYTES
MESSAGE_1_BYTES = KEY_BYTES + SEALED_KEY_BYTES + TAG_BYTES
"""The first message around an empty payload."""
MESSAGE_2_BYTES = KEY_BYTES + TAG_BYTES
"""The second message around an empty payload."""
_NONCE = bytes(NONCE_BYTES)
_REKEY_NONCE = bytes(4) + b"\xff" * 8


class LinkKeys(NamedTuple):
    """The keys of both directions, 32 bytes each (Split, section 5.2)."""

    from_initiator: bytes
    from_responder: bytes

    def __repr__(self) -> str:
        return "LinkKeys(secret)"


class Transcript:
    """Noise's SymmetricState (section 5.2): what both sides have said and agreed upon so far.

    handshake_hash: of all that was said, 32 bytes.
    """

    __slots__ = ("_chaining_key", "_key", "handshake_hash")

    def __init__(self, prologue: bytes, responder_public_key: bytes) -> None:
        self._chaining_key = self.handshake_hash = PROTOCOL_NAME
        self._key = b""
        self.mix_hash(prologue)
        self.mix_hash(responder_public_key)

    def mix_hash(self, data: bytes) -> None:
        """Bind what was said."""
        self.handshake_hash = sha256(self.handshake_hash + data).digest()

    def mix_ephemeral(self, public_key: bytes) -> None:
        """Bind an ephemeral key; in patterns with a pre-shared key it is mixed in as well (section 9.2)."""
        self.mix_hash(public_key)
        self.mix_key(public_key)

    def mix_key(self, secret: bytes) -> None:
        """Go on under a key that needs this secret too."""
        self._chaining_key, self._key = _hkdf(self._chaining_key, secret, 2)

    def mix_psk(self, psk: bytes) -> None:
        """Go on under a key that needs the pre-shared key too (MixKeyAndHash)."""
        self._chaining_key, bound, self._key = _hkdf(self._chaining_key, psk, 3)
        self.mix_hash(bound)

    def seal(self, plaintext: bytes) -> bytes:
        """Seal a field, bound to all that was said before."""
        ciphertext = AESGCM(self._key).encrypt(_NONCE, plaintext, self.handshake_hash)
        self.mix_hash(ciphertext)
        return ciphertext

    def open(self, ciphertext: bytes) -> bytes:
        """Open a field.

        Raises:
            LinkError: handshake, the peer has other keys, or both don't mean the same transcript.
        """
        try:
            plaintext = AESGCM(self._key).decrypt(_NONCE, ciphertext, self.handshake_hash)
        except InvalidTag as exc:
            raise LinkError("handshake", "other keys, another name, or changed on the way") from exc
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> LinkKeys:
        """Return the keys of both directions."""
        return LinkKeys(*_hkdf(self._chaining_key, b"", 2))


class NoiseInitiator:
    """The side that speaks first; it knows the other one's public key.

    Args:
        key: its own.
        responder_public_key: 32 bytes.
        psk: 32 bytes, zeros for none.
        prologue: what both sides must agree on besides their keys.
        ephemeral: for this handshake only.
    """

    __slots__ = ("_ephemeral", "_key", "_psk", "_responder_public_key", "_transcript")

    def __init__(
        self,
        key: PrivateKey,
        responder_public_key: bytes,
        psk: bytes,
        prologue: bytes,
        ephemeral: PrivateKey,
    ) -> None:
        self._key = key
        self._responder_public_key = responder_public_key
        self._psk = psk
        self._ephemeral = ephemeral
        self._transcript = Transcript(prologue, responder_public_key)

    def write(self, payload: bytes) -> bytes:
        """Return message 1: e, es, s, ss. Its payload is for the responder's eyes, but can be replayed.

        Raises:
            LinkError: handshake, the responder's key is a point of low order.
        """
        transcript, ephemeral = self._transcript, self._ephemeral
        transcript.mix_ephemeral(ephemeral.public_key)
        transcript.mix_key(_exchange(ephemeral, self._responder_public_key))
        sealed_key = transcript.seal(self._key.public_key)
        transcript.mix_key(_exchange(self._key, self._responder_public_key))
        return ephemeral.public_key + sealed_key + transcript.seal(payload)

    def read(self, message: bytes) -> tuple[bytes, LinkKeys]:
        """Take message 2: e, ee, se, psk. Return its payload, and the keys.

        Raises:
            LinkError: handshake, whoever sent it isn't the responder, or has another pre-shared key.
        """
        transcript = self._transcript
        ephemeral = message[:KEY_BYTES]
        transcript.mix_ephemeral(ephemeral)
        transcript.mix_key(_exchange(self._ephemeral, ephemeral))
        transcript.mix_key(_exchange(self._key, ephemeral))
        transcript.mix_psk(self._psk)
        payload = transcript.open(message[KEY_BYTES:])
        return payload, transcript.split()


class NoiseResponder:
    """The side that answers; it learns who speaks from the first message.

    peer_public_key: the initiator's, once `read` has returned.

    Args:
        key: its own.
        prologue: what both sides must agree on besides their keys.
    """

    __slots__ = ("_initiator_ephemeral", "_key", "_transcript", "peer_public_key")

    def __init__(self, key: PrivateKey, prologue: bytes) -> None:
        self._key = key
        self._transcript = Transcript(prologue, key.public_key)
        self._initiator_ephemeral = self.peer_public_key = b""

    def read(self, message: bytes) -> bytes:
        """Take message 1 and return its payload.

        Raises:
            LinkError: handshake, it isn't meant for this key and prologue, or was changed.
        """
        transcript = self._transcript
        ephemeral = self._initiator_ephemeral = message[:KEY_BYTES]
        transcript.mix_ephemeral(ephemeral)
        transcript.mix_key(_exchange(self._key, ephemeral))
        self.peer_public_key = transcript.open(message[KEY_BYTES : KEY_BYTES + SEALED_KEY_BYTES])
        transcript.mix_key(_exchange(self._key, self.peer_public_key))
        return transcript.open(message[KEY_BYTES + SEALED_KEY_BYTES :])

    def write(self, psk: bytes, ephemeral: PrivateKey, payload: bytes) -> tuple[bytes, LinkKeys]:
        """Return message 2, and the keys.

        Args:
            psk: 32 bytes, zeros for none.
            ephemeral: for this handshake only.

        Raises:
            LinkError: handshake, the initiator's ephemeral key is a point of low order.
        """
        transcript = self._transcript
        transcript.mix_ephemeral(ephemeral.public_key)
        transcript.mix_key(_exchange(ephemeral, self._initiator_ephemeral))
        transcript.mix_key(_exchange(ephemeral, self.peer_public_key))
        transcript.mix_psk(psk)
        return ephemeral.public_key + transcript.seal(payload), transcript.split()


def rekeyed(key: bytes) -> bytes:
    """Return the key that follows this one; there is no way back (REKEY, section 4.2)."""
    return AESGCM(key).encrypt(_REKEY_NONCE, bytes(KEY_BYTES), None)[:KEY_BYTES]


def _exchange(key: PrivateKey, public_key: bytes) -> bytes:
    try:
        return key.exchange(public_key)
    except ProxyError as exc:
        raise LinkError("handshake", "a public key is a point of low order") from exc


def _hkdf(chaining_key: bytes, secret: bytes, outputs: int) -> list[bytes]:
    """HKDF with an empty info, as Noise has it (section 4.3)."""
    pseudo_random_key = hmac.digest(chaining_key, secret, "sha256")
    output = b""
    derived = []
    for number in range(1, outputs + 1):
        output = hmac.digest(pseudo_random_key, output + bytes((number,)), "sha256")
        derived.append(output)
    return derived
