"""Records: what travels on a link once it is established, sealed and in strict order.

A record is a 32-bit length and a ciphertext (AES-256-GCM). Its nonce is the number of records before it in
this direction, which isn't sent: a record that is dropped, doubled, moved, changed, or comes from the other
direction doesn't open, and nothing after it ever will. Each direction has its own key, and changes it
(`rekey`) long before AES-GCM's limits; the count goes on.
Knows neither frames nor when a key is due.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fastproxy.wire.ciphers import TAG_BYTES
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.noise import rekeyed

MAX_PLAINTEXT_BYTES = 131_072
"""Most that a record holds: larger ones cost less per byte, and hold up longer what waits behind them."""
REKEY_RECORDS = 1 << 20
"""After how many records under one key a sender changes it."""
MAX_RECORDS = 1 << 21
"""How many records one key seals at most. Of the largest size these are 2^34 blocks, less than the 2^34.5
that RFC 8446, section 5.5, allows for a safety margin of 2^-57."""
WORD_BYTES = 4
_WORD = struct.Struct(">I")
_NONCE = struct.Struct(">4xQ")


class Sealer:
    """Seals one direction.

    records: sealed since the last `rekey`.

    Args:
        key: of this direction, 32 bytes.
    """

    __slots__ = ("_aead", "_before", "_key", "records")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = AESGCM(key)
        self._before = 0
        self.records = 0

    def seal(self, plaintext: bytes) -> bytes:
        """Return the next record; as `parts`, in one piece."""
        word, ciphertext = self.parts(plaintext)
        return word + ciphertext

    def parts(self, plaintext: bytes) -> tuple[bytes, bytes]:
        """Return the next record's length and what follows it: joining a large one would cost a copy.

        Args:
            plaintext: whole frames, 1 to 131,072 bytes.

        Raises:
            ValueError: more or less than that.
            LinkError: record, the key was used for longer than the peer would take.
        """
        size_bytes = len(plaintext)
        if not 0 < size_bytes <= MAX_PLAINTEXT_BYTES:
            raise ValueError(f"a record holds between 1 and {MAX_PLAINTEXT_BYTES} bytes")
        records = self.records
        if records >= MAX_RECORDS:
            raise LinkError("record", "the key wasn't changed in time")
        self.records = records + 1
        nonce = _NONCE.pack(self._before + records)
        return _WORD.pack(size_bytes + TAG_BYTES), self._aead.encrypt(nonce, plaintext, None)

    def rekey(self) -> None:
        """Seal what follows under the next key."""
        self._before += self.records
        self.records = 0
        self._key = rekeyed(self._key)
        self._aead = AESGCM(self._key)


class PlainSealer:
    """Frames records inside TLS, which seals, orders and rekeys by itself.

    records: 0, since there is no key to change.
    """

    __slots__ = ("records",)

    def __init__(self) -> None:
        self.records = 0

    def seal(self, plaintext: bytes) -> bytes:
        """Return the record that holds this; as `parts`, in one piece."""
        word, frames = self.parts(plaintext)
        return word + frames

    def parts(self, plaintext: bytes) -> tuple[bytes, bytes]:
        """Return the record's length and what follows it.

        Args:
            plaintext: whole frames, 1 to 131,072 bytes.

        Raises:
            ValueError: more or less than that.
        """
        if not 0 < len(plaintext) <= MAX_PLAINTEXT_BYTES:
            raise ValueError(f"a record holds between 1 and {MAX_PLAINTEXT_BYTES} bytes")
        return _WORD.pack(len(plaintext)), plaintext

    def rekey(self) -> None:
        """Nothing to do."""


class _Reader:
    """Finds records in a stream of bytes, and holds one that hasn't come whole; never more."""

    __slots__ = ("_buffer", "_is_broken", "_overhead_bytes", "_wanted_bytes")

    def __init__(self, overhead_bytes: int) -> None:
        self._overhead_bytes = overhead_bytes
        self._buffer = bytearray()
        self._wanted_bytes = WORD_BYTES
        self._is_broken = False

    def _open(self, sealed: memoryview) -> bytes:
        raise NotImplementedError

    def feed(self, data: bytes | memoryview) -> Iterable[bytes]:
        """Take the next bytes and yield the plaintexts that they complete.

        Each record is opened when it is asked for, so that a `rekey` in between counts for the next one. What
        is yielded is taken to the end before the next `feed`, or the link is given up.

        Raises:
            LinkError: record, one isn't what belongs here, or wasn't before. What was yielded is authentic.
        """
        if self._is_broken:
            raise LinkError("record", "the link was found broken before")
        self._is_broken = True  # until all of this has proved to be in order
        if self._buffer or len(data) < WORD_BYTES or WORD_BYTES + self._length(data, 0) != len(data):
            return self._records(data)
        # most reads bring exactly one record; without the generator it costs 1 µs less
        plaintext = self._open(memoryview(data)[WORD_BYTES:])
        self._is_broken = False
        return (plaintext,)

    def _records(self, data: bytes | memoryview) -> Iterator[bytes]:
        view = memoryview(data)  # a slice of it is opened without being copied first
        at = 0
        if self._buffer:
            at = self._complete(view)
            if len(self._buffer) == self._wanted_bytes:
                record, self._buffer = self._buffer, bytearray()
                self._wanted_bytes = WORD_BYTES
                yield self._open(memoryview(record)[WORD_BYTES:])
        size_bytes = len(view)
        while size_bytes - at >= WORD_BYTES:
            start = at + WORD_BYTES
            end = start + self._length(view, at)
            if end > size_bytes:
                self._wanted_bytes = end - at
                break
            at = end
            yield self._open(view[start:end])
        if at < size_bytes:
            self._buffer += view[at:]
        self._is_broken = False

    def _complete(self, view: memoryview) -> int:
        """Add to the record that hasn't come whole, and nothing beyond it; return how much that took."""
        buffer = self._buffer
        at = 0
        if len(buffer) < WORD_BYTES:
            at = WORD_BYTES - len(buffer)
            buffer += view[:at]
            if len(buffer) < WORD_BYTES:
                return len(view)
            self._wanted_bytes = WORD_BYTES + self._length(buffer, 0)
        missing_bytes = self._wanted_bytes - len(buffer)
        buffer += view[at : at + missing_bytes]
        return min(at + missing_bytes, len(view))

    def _length(self, source: bytes | bytearray | memoryview, at: int) -> int:
        length: int
        (length,) = _WORD.unpack_from(source, at)
        if not 0 < length - self._overhead_bytes <= MAX_PLAINTEXT_BYTES:
            raise LinkError("record", "a record of an impossible length")
        return length


class Opener(_Reader):
    """Opens one direction.

    records: opened since the last `rekey`.

    Args:
        key: of this direction, 32 bytes.
    """

    __slots__ = ("_aead", "_before", "_key", "records")

    def __init__(self, key: bytes) -> None:
        super().__init__(TAG_BYTES)
        self._key = key
        self._aead = AESGCM(key)
        self._before = 0
        self.records = 0

    def _open(self, sealed: memoryview) -> bytes:
        records = self.records
        if records >= MAX_RECORDS:
            raise LinkError("record", "the key wasn't changed in time")
        try:
            plaintext = self._aead.decrypt(_NONCE.pack(self._before + records), sealed, None)
        except InvalidTag as exc:
            raise LinkError("record", "not the record that belongs here") from exc
        self.records = records + 1
        return plaintext

    def rekey(self) -> None:
        """Open what follows under the next key."""
        self._before += self.records
        self.records = 0
        self._key = rekeyed(self._key)
        self._aead = AESGCM(self._key)


class PlainOpener(_Reader):
    """Takes records apart inside TLS."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(0)

    def _open(self, sealed: memoryview) -> bytes:
        return bytes(sealed)

    def rekey(self) -> None:
        """Nothing to do."""


AnySealer = Sealer | PlainSealer
AnyOpener = Opener | PlainOpener
