"""Sealing requests: one session of a sender process with one receiver.

A session is made of both identities and an ephemeral key; each request takes the next counter, which is
its nonce. The caller of this module makes a new session every ten minutes, and after every fork: two
processes with one session would seal under the same nonces.
"""

from __future__ import annotations

from struct import Struct

from fastproxy.errors import INTERNAL_ERROR, ProxyError
from fastproxy.wire.ciphers import AES_256_GCM, NONCE_BYTES, TAG_BYTES, Aead, Cipher
from fastproxy.wire.envelope import (
    COUNTER_AT,
    EPOCH_BYTES,
    INFO_LABEL,
    MAX_COUNTER,
    PSK_ID,
    REQUEST_START,
    name_field,
)
from fastproxy.wire.hpke import PreSharedKey, auth_encap, key_schedule
from fastproxy.wire.identity import PrivateKey, key_id
from fastproxy.wire.records import (
    LAST,
    PLAIN,
    WORD,
    MessageSealer,
    Packing,
    pack,
)
from fastproxy.wire.responses import (
    EXPORT_CONTEXT,
    ResponseOpener,
    binding_of,
)


class SenderSession:
    """Seals requests to one receiver.

    good_until_s: as given, for whoever renews sessions, and earlier when it is to end before that.
    response_aead: what responses are sealed with. header_bytes: length of the header of each request.
    """

    __slots__ = (
        "_aead",
        "_base_nonce",
        "_counter",
        "_header_end",
        "_header_start",
        "_pack_header",
        "good_until_s",
        "header_bytes",
        "response_aead",
    )

    def __init__(
        self,
        private_key: PrivateKey,
        receiver_name: str,
        receiver_public_key: bytes,
        ephemeral_random_32: bytes,
        *,
        cipher: Cipher = AES_256_GCM,
        psk: bytes | None = None,
        good_until_s: float,
    ) -> None:
        """Set up a session; costs two curve operations and two public keys.

        Args:
            private_key: the caller's identity.
            receiver_name: the in proxy's name, as its own config has it.
            receiver_public_key: 32 bytes.
            ephemeral_random_32: 32 fresh random bytes, of no other use.
            cipher: seals records.
            psk: the pair's pre-shared key, at least 32 bytes, if it has one.
            good_until_s: when it is to be renewed, on whatever clock the renewal uses.

        Raises:
            ValueError: a name or key of the wrong length.
            ProxyError: IDENTITY_UNPROVEN, the receiver's key is a point of low order.
        """
        ephemeral = PrivateKey(ephemeral_random_32)
        name = name_field(receiver_name)
        schedule = key_schedule(
            auth_encap(private_key, receiver_public_key, ephemeral),
            INFO_LABEL + name,
            cipher,
            PreSharedKey(psk, PSK_ID) if psk is not None else None,
        )
        self._aead = cipher.keyed(schedule.key)
        self._base_nonce = int.from_bytes(schedule.base_nonce, "big")
        self.response_aead = cipher.keyed(schedule.export(EXPORT_CONTEXT, cipher.key_bytes))
        self._header_start = b"".join(
            (
                REQUEST_START,
                cipher.aead_id.to_bytes(2, "big"),
                private_key.key_id,
                key_id(receiver_public_key),
                ephemeral.public_key,
            )
        )
        self._header_end = name
        layout = Struct(f">{COUNTER_AT}sQ{EPOCH_BYTES}sQ{len(name)}s")
        self._pack_header = layout.pack
        self.header_bytes = layout.size
        self._counter = 0
        self.good_until_s = good_until_s

    def seal(self, epoch: bytes, expiry_ms: int, packing: Packing = PLAIN) -> RequestSealer:
        """Begin a request that is sealed record by record; takes the next counter.

        Args:
            epoch: the receiver's, 16 bytes, as its last challenge told it; UNKNOWN_EPOCH before that.
            expiry_ms: Unix time in ms after which the receiver refuses the request.
            packing: compression and padding.

        Raises:
            ProxyError: INTERNAL_ERROR, the session has no counter left.
        """
        counter = self._counter
        if counter > MAX_COUNTER:
            raise ProxyError(INTERNAL_ERROR, "the session has no counter left")
        self._counter = counter + 1
        header = self._pack_header(self._header_start, counter, epoch, expiry_ms, self._header_end)
        sealer = MessageSealer(self._aead, self._base_nonce ^ (counter << 40), header, packing)
        return RequestSealer(sealer, header, self.response_aead)

    def opener(self, bound_to: bytes) -> ResponseOpener:
        """Return what opens the answer that is bound to one request of this session."""
        return ResponseOpener(self.response_aead, bound_to)

    def seal_packed(self, epoch: bytes, expiry_ms: int, plaintext: bytes) -> tuple[bytes, bytes]:
        """Return header and ciphertext of a request of a single record that was packed already (`pack`).

        Between the two belongs the word of a last record. Takes the next counter; errors as in `seal`.
        """
        counter = self._counter
        if counter > MAX_COUNTER:
            raise ProxyError(INTERNAL_ERROR, "the session has no counter left")
        self._counter = counter + 1  # before anything is sealed, so that no failure can make one serve twice
        header = self._pack_header(self._header_start, counter, epoch, expiry_ms, self._header_end)
        nonce = (self._base_nonce ^ (counter << 40 | 1)).to_bytes(NONCE_BYTES, "big")
        return header, self._aead.encrypt(nonce, plaintext, header)

    def seal_single(
        self, epoch: bytes, expiry_ms: int, meta: bytes, data: bytes, packing: Packing = PLAIN
    ) -> tuple[bytes, ResponseOpener]:
        """Return a request of a single record, and what opens its response; takes the next counter.

        Arguments and errors as in `seal` and `MessageSealer.record`; the same bytes, in fewer steps.
        """
        header, ciphertext = self.seal_packed(epoch, expiry_ms, pack(meta, data, packing))
        message = b"".join((header, WORD.pack(len(ciphertext) | LAST), ciphertext))
        return message, ResponseOpener(self.response_aead, header + ciphertext[-TAG_BYTES:])


class RequestSealer:
    """Seals one request record by record."""

    __slots__ = ("_binding", "_header", "_response_aead", "_sealer")

    def __init__(self, sealer: MessageSealer, header: bytes, response_aead: Aead) -> None:
        """Seal with this sealer, which sends this header; responses are sealed under `response_aead`."""
        self._sealer = sealer
        self._header = header
        self._response_aead = response_aead
        self._binding: bytes | None = None

    @property
    def finished(self) -> bool:
        """The last record has been sealed."""
        return self._sealer.finished

    def record(self, meta: bytes, data: bytes, last: bool) -> bytes:
        """Return the next piece of the request; see `MessageSealer.record`."""
        piece = self._sealer.record(meta, data, last)
        if self._binding is None:
            self._binding = binding_of(self._header, piece)
        return piece

    def opener(self) -> ResponseOpener:
        """Return what opens this request's response, which may come before the request has ended.

        Raises:
            ValueError: the first record hasn't been sealed.
        """
        if self._binding is None:
            raise ValueError("a response is bound to the first record of its request")
        return ResponseOpener(self._response_aead, self._binding)
