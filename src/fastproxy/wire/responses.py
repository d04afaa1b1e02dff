"""Responses: sealed under the session's response key, bound to the one request that they answer.

The key is exported by the session. Each response has a random nonce of 96 bits, and its first record
authenticates what identifies the request (its header and the tag of its first record), so that a response
opens for its own request only. A key of its own for every response, as in RFC 9458, would cost 5 µs more per
hop: to set a cipher up takes longer than to use it.
"""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag
from msgspec import Struct

from fastproxy.errors import RESPONSE_BROKEN, RESPONSE_UNSEALED, ProxyError
from fastproxy.wire.ciphers import TAG_BYTES, Aead
from fastproxy.wire.envelope import (
    RESPONSE_HEADER_BYTES,
    RESPONSE_NONCE_BYTES,
    RESPONSE_START,
    check_response_start,
)
from fastproxy.wire.records import (
    LAST,
    MIN_CIPHERTEXT_BYTES,
    PLAIN,
    RESPONSE_FAULTS,
    WORD,
    Chunk,
    MessageOpener,
    MessageSealer,
    Packing,
    pack,
    unpack,
)

EXPORT_CONTEXT = b"fastproxy v2 response"
_SINGLE = struct.Struct(f">{len(RESPONSE_START)}s{RESPONSE_NONCE_BYTES}sI")
_RECORD_AT = _SINGLE.size
_SHORTEST = _RECORD_AT + MIN_CIPHERTEXT_BYTES
SINGLE_BYTES = _RECORD_AT + TAG_BYTES
"""What a response of a single record has beside the record's plaintext."""
_OF_LAST = [bytes((end ^ 1,)) for end in range(256)]
"""By the last byte of a response's nonce, that of its only record's: its index is 0, and it is the last."""


def binding_of(request_header: bytes, first_record: bytes) -> bytes:
    """Return what binds a response: the header of its request, and the tag of the request's first record.

    The header holds session, counter, epoch and expiry, which no other request shares; the tag stands for
    the content.
    """
    return request_header + first_record[-TAG_BYTES:]


class ResponseBinding(Struct, frozen=True, gc=False):
    """What the answer to one request is sealed with; the receiver's side.

    aead: the session's response key. bound_to: as `binding_of` says.
    """

    aead: Aead
    bound_to: bytes

    def sealer(self, nonce: bytes, packing: Packing = PLAIN) -> MessageSealer:
        """Begin the response.

        Args:
            nonce: 12 fresh random bytes.
            packing: compression and padding.

        Raises:
            ValueError: not 12 bytes.
        """
        header = _header(nonce)
        return MessageSealer(
            self.aead, int.from_bytes(nonce, "big"), header, packing, authenticated=header + self.bound_to
        )

    def seal_single(self, nonce: bytes, meta: bytes, data: bytes, packing: Packing = PLAIN) -> bytes:
        """Return a response of a single record; arguments as in `sealer` and `MessageSealer.record`.

        The same bytes, in fewer steps.
        """
        return seal_packed(self.aead, self.bound_to, nonce, pack(meta, data, packing))


def seal_packed(aead: Aead, bound_to: bytes, nonce: bytes, plaintext: bytes, before: bytes = b"") -> bytes:
    """Return a response of a single record that is packed already.

    Args:
        aead, bound_to: as for a `ResponseBinding`.
        nonce: 12 fresh random bytes.
        plaintext: what `records.pack` makes.
        before: what stands in front of the response.
    """
    header = RESPONSE_START + nonce
    ciphertext = aead.encrypt(nonce[:-1] + _OF_LAST[nonce[-1]], plaintext, header + bound_to)
    return b"".join((before, header, WORD.pack(len(ciphertext) | LAST), ciphertext))


def _header(nonce: bytes) -> bytes:
    if len(nonce) != RESPONSE_NONCE_BYTES:
        raise ValueError("a response nonce is 12 bytes")
    return RESPONSE_START + nonce


class ResponseOpener(Struct):
    """Opens the answer to one request, however its bytes arrive; the sender's side.

    Whatever fails here means: discard the content.
    aead: the session's response key. bound_to: as `binding_of` says.
    """

    aead: Aead
    bound_to: bytes
    _start: bytes = b""
    _records: MessageOpener | None = None

    @property
    def finished(self) -> bool:
        """The last record has come."""
        return self._records is not None and self._records.finished

    @property
    def pending(self) -> bool:
        """As in `MessageOpener`."""
        return self._records is not None and self._records.pending

    def open_single(self, message: bytes) -> Chunk | None:
        """Open a response that is here entirely and is a single record, in fewer steps than `feed`.

        Returns and raises: as `open_packed`.
        """
        plaintext = open_packed(self.aead, self.bound_to, message)
        return None if plaintext is None else unpack(plaintext, True, RESPONSE_FAULTS)

    def feed(self, data: bytes) -> list[Chunk]:
        """Take the next bytes and return the chunks that they complete.

        Raises:
            ProxyError: RESPONSE_UNSEALED, what comes is no sealed response; RESPONSE_BROKEN, it was changed
                or cut, or belongs to another request.
        """
        if self._records is None:
            data = self._start + data  # what was kept is shorter than a header
            header = data[:RESPONSE_HEADER_BYTES]
            if len(header) < RESPONSE_HEADER_BYTES or not header.startswith(RESPONSE_START):
                check_response_start(header)
                self._start = data
                return []
            data = data[RESPONSE_HEADER_BYTES:]
            nonce = int.from_bytes(header[len(RESPONSE_START) :], "big")
            self._records = MessageOpener(self.aead, nonce, header + self.bound_to, RESPONSE_FAULTS)
        return self._records.feed(data)

    def eof(self) -> None:
        """Say that no more bytes will come.

        Raises:
            ProxyError: RESPONSE_BROKEN, the response was cut; RESPONSE_UNSEALED, there was none to speak of.
        """
        if self._records is not None:
            self._records.eof()
        elif self._start.startswith(RESPONSE_START):
            raise ProxyError(RESPONSE_BROKEN, "the answer was cut before its first record")
        else:
            raise ProxyError(RESPONSE_UNSEALED)


def open_packed(aead: Aead, bound_to: bytes, message: bytes) -> bytes | None:
    """Return what the single record of a response holds, packed as it came.

    Args:
        aead, bound_to: as for a `ResponseOpener`.
        message: all of it.

    Returns:
        None for any other message: `ResponseOpener.feed` tells what is to be thought of it.

    Raises:
        ProxyError: RESPONSE_BROKEN.
    """
    if len(message) < _SHORTEST:
        return None
    start, nonce, word = _SINGLE.unpack_from(message)
    if start != RESPONSE_START or word != len(message) - _RECORD_AT | LAST:
        return None
    only_record = nonce[:-1] + _OF_LAST[nonce[-1]]
    try:
        return aead.decrypt(only_record, message[_RECORD_AT:], message[:RESPONSE_HEADER_BYTES] + bound_to)
    except InvalidTag as exc:
        raise ProxyError(RESPONSE_BROKEN, "a record is not the one that belongs here") from exc
