"""Responses: sealed under the session's response key, bound to the one request that they answer.

The key is exported by the session. Each response has a random nonce of 96 bits, and its first record
authenticates what identifies the request (its header and the tag of its first record), so that a response
opens for its own request only. A key of its own for every response, as in RFC 9458, would cost 5 µs more per
hop: to set a cipher up takes longer than to use it.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag

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
    MAX_CIPHERTEXT_BYTES,
    MIN_CIPHERTEXT_BYTES,
    PLAIN,
    RESPONSE_FAULTS,
    WORD,
    WORD_BYTES,
    Chunk,
    MessageOpener,
    MessageSealer,
    Packing,
    pack,
    unpack,
)

EXPORT_CONTEXT = b"fastproxy v2 response"


def binding_of(request_header: bytes, first_record: bytes) -> bytes:
    """Return what binds a response: the header of its request, and the tag of the request's first record.

    The header holds session, counter, epoch and expiry, which no other request shares; the tag stands for
    the content.
    """
    return request_header + first_record[-TAG_BYTES:]


class ResponseBinding:
    """What the answer to one request is sealed with; the receiver's side."""

    __slots__ = ("_aead", "_binding")

    def __init__(self, aead: Aead, binding: bytes) -> None:
        """Seal under the session's response key, bound as `binding_of` says."""
        self._aead = aead
        self._binding = binding

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
            self._aead, int.from_bytes(nonce, "big"), header, packing, authenticated=header + self._binding
        )

    def seal_whole(self, nonce: bytes, meta: bytes, data: bytes, packing: Packing = PLAIN) -> bytes:
        """Return a response of a single record; arguments as in `sealer` and `MessageSealer.record`.

        The same bytes, in fewer steps.
        """
        header = _header(nonce)
        ciphertext = self._aead.encrypt(
            _only_record(nonce), pack(meta, data, packing), header + self._binding
        )
        return b"".join((header, WORD.pack(len(ciphertext) | LAST), ciphertext))


def _header(nonce: bytes) -> bytes:
    if len(nonce) != RESPONSE_NONCE_BYTES:
        raise ValueError("a response nonce is 12 bytes")
    return RESPONSE_START + nonce


def _only_record(nonce: bytes) -> bytes:
    """Return the nonce of a record that is the first and the last."""
    return (int.from_bytes(nonce, "big") ^ 1).to_bytes(RESPONSE_NONCE_BYTES, "big")


class ResponseOpener:
    """Opens the answer to one request, however its bytes arrive; the sender's side.

    Whatever fails here means: discard the content.
    """

    __slots__ = ("_aead", "_binding", "_records", "_start")

    def __init__(self, aead: Aead, binding: bytes) -> None:
        """Expect the answer that is sealed under the session's response key and bound to this request."""
        self._aead = aead
        self._binding = binding
        self._start = b""
        self._records: MessageOpener | None = None

    @property
    def finished(self) -> bool:
        """The last record has come."""
        return self._records is not None and self._records.finished

    @property
    def pending(self) -> bool:
        """As in `MessageOpener`."""
        return self._records is not None and self._records.pending

    def open_whole(self, message: bytes) -> list[Chunk]:
        """Open a response all of which is here; what `feed` and `eof` do, a single record in fewer steps.

        While `pending` says that there is more, `feed(b"")` and at last `eof` have to follow.

        Raises:
            ProxyError: as `feed` and `eof`.
        """
        ciphertext = message[RESPONSE_HEADER_BYTES + WORD_BYTES :]
        if (
            message[RESPONSE_HEADER_BYTES : RESPONSE_HEADER_BYTES + WORD_BYTES]
            == WORD.pack(len(ciphertext) | LAST)
            and message.startswith(RESPONSE_START)
            and MIN_CIPHERTEXT_BYTES <= len(ciphertext) <= MAX_CIPHERTEXT_BYTES
        ):
            header = message[:RESPONSE_HEADER_BYTES]
            try:
                plaintext = self._aead.decrypt(
                    _only_record(header[len(RESPONSE_START) :]), ciphertext, header + self._binding
                )
            except InvalidTag as exc:
                raise ProxyError(RESPONSE_BROKEN, "a record is not the one that belongs here") from exc
            return [unpack(plaintext, True, RESPONSE_FAULTS)]
        chunks = self.feed(message)
        if not self.pending:
            self.eof()
        return chunks

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
            self._records = MessageOpener(self._aead, nonce, header + self._binding, RESPONSE_FAULTS)
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
