"""Sealed records: the chunks that every message consists of, requests and responses alike.

A record is a 32-bit word (last flag, ciphertext length) and a ciphertext. Its nonce is made of its index
and its last flag, so that a record that was dropped, doubled, moved, taken from elsewhere, or made the
last one does not open (the STREAM construction). Record 0 authenticates the message's header as well.
A message ends with its last record and in no other way.

Knows neither how a key was agreed upon nor what the header or the meta block of a record means.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from msgspec import Struct

from fastproxy.errors import (
    COMPRESSION_BROKEN,
    INTERNAL_ERROR,
    MESSAGE_BROKEN,
    RESPONSE_BROKEN,
    Cause,
    ProxyError,
)
from fastproxy.wire.ciphers import NONCE_BYTES, TAG_BYTES, Aead
from fastproxy.wire.compressors import COMPRESSORS, BrokenDataError, Compressor

MAX_DATA_BYTES = 65536
"""Most data in a record. It bounds what one record can make the other side hold or decompress."""
MAX_META_BYTES = 131072
"""Most bytes of a head or trailer block; limits on HTTP headers lie below it."""
OPENED_BYTES = 1 << 20
"""How much data is opened at a time: small records can decompress to a thousand times what came."""
MAX_PAD_BYTES = 65535
PREFIX_BYTES = 8
MAX_CIPHERTEXT_BYTES = PREFIX_BYTES + MAX_META_BYTES + MAX_DATA_BYTES + MAX_PAD_BYTES + TAG_BYTES
MIN_CIPHERTEXT_BYTES = PREFIX_BYTES + TAG_BYTES
MAX_INDEX = 2**32 - 1
WORD_BYTES = 4
WORD = struct.Struct(">I")
LAST = 1 << 31
PREFIX = struct.Struct(">II")
"""What a record's plaintext begins with: compressor and padding (4 bytes, 0 for neither), length of meta."""


class Chunk(Struct, frozen=True, gc=False):
    """What one record carried.

    meta: the message head in the first record, the trailer block in a last one that isn't the first.
    data: at most 65,536 bytes of the body. last: the message ends here.
    """

    meta: bytes
    data: bytes
    last: bool


class Faults(NamedTuple):
    """Under which causes a message is refused: those of a request and a response differ."""

    broken: Cause
    compression: Cause


REQUEST_FAULTS = Faults(MESSAGE_BROKEN, COMPRESSION_BROKEN)
RESPONSE_FAULTS = Faults(RESPONSE_BROKEN, RESPONSE_BROKEN)


class Packing(NamedTuple):
    """How a sender forms records; made when the config loads.

    compressor: None to send data as it is. Compressing what a stranger can choose together with what
        must stay secret betrays the secret by the length (BREACH).
    threshold_bytes: less data than this isn't worth compressing.
    pad_to_bytes: record plaintexts are rounded up to a multiple of this, at most 65,536; 1 for none.
    """

    compressor: Compressor | None = None
    threshold_bytes: int = 1024
    pad_to_bytes: int = 1


PLAIN = Packing()


def pack(meta: bytes, data: bytes, packing: Packing) -> bytes:
    """Return a record's plaintext.

    Raises:
        ValueError: meta or data is larger than a record holds.
    """
    if len(meta) > MAX_META_BYTES or len(data) > MAX_DATA_BYTES:
        raise ValueError("too much for one record")
    if packing is PLAIN:
        return b"".join((PREFIX.pack(0, len(meta)), meta, data))
    meta_length = WORD.pack(len(meta))
    compressor_id = 0
    compressor = packing.compressor
    if compressor is not None and len(data) >= packing.threshold_bytes:
        compressed = compressor.compress(data)
        if len(compressed) < len(data):
            compressor_id, data = compressor.compressor_id, compressed
    pad_bytes = -(PREFIX_BYTES + len(meta) + len(data)) % packing.pad_to_bytes
    prefix = bytes((compressor_id, 0, pad_bytes >> 8, pad_bytes & 255))
    return b"".join((prefix, meta_length, meta, data, bytes(pad_bytes)))


def unpack(plaintext: bytes, last: bool, faults: Faults) -> Chunk:
    """Return what an authentic plaintext carries.

    Raises:
        ProxyError: its sender did not keep to the form.
    """
    extras, meta_bytes = PREFIX.unpack_from(plaintext)
    meta_end = PREFIX_BYTES + meta_bytes
    if extras or meta_end > len(plaintext) or len(plaintext) > MAX_DATA_BYTES:
        return _unpack(plaintext, meta_end, last, faults)
    # the hot path: not compressed, not padded, and short
    return Chunk(plaintext[PREFIX_BYTES:meta_end], plaintext[meta_end:], last)


def meta_of(plaintext: bytes) -> bytes:
    """Return the meta block alone of an authentic plaintext, cut where the plaintext ends before it does."""
    _, meta_bytes = PREFIX.unpack_from(plaintext)
    return plaintext[PREFIX_BYTES : PREFIX_BYTES + meta_bytes]


def _unpack(plaintext: bytes, meta_end: int, last: bool, faults: Faults) -> Chunk:
    data = _unpack_data(plaintext, meta_end, faults)
    if len(data) > MAX_DATA_BYTES or meta_end > PREFIX_BYTES + MAX_META_BYTES:
        raise ProxyError(faults.broken, "a record holds more than it may")
    return Chunk(plaintext[PREFIX_BYTES:meta_end], data, last)


def _unpack_data(plaintext: bytes, meta_end: int, faults: Faults) -> bytes:
    compressor_id, reserved = plaintext[0], plaintext[1]
    data_end = len(plaintext) - int.from_bytes(plaintext[2:4], "big")
    if reserved or meta_end > data_end:
        raise ProxyError(faults.broken, "the lengths inside a record do not fit it")
    if plaintext.count(0, data_end) != len(plaintext) - data_end:
        raise ProxyError(faults.broken, "the padding of a record is not zero")
    data = plaintext[meta_end:data_end]
    if compressor_id == 0:
        return data
    compressor = COMPRESSORS.get(compressor_id)
    if compressor is None:
        raise ProxyError(faults.compression, "unknown compressor")
    try:
        return compressor.decompress(data, MAX_DATA_BYTES)
    except BrokenDataError as exc:
        raise ProxyError(faults.compression, f"{compressor.name} data {exc}") from exc


class MessageSealer:
    """Seals a message record by record; the first one comes with the header.

    finished: the last record has been sealed.
    """

    __slots__ = ("_aead", "_authenticated", "_base_nonce", "_header", "_index", "_packing", "finished")

    def __init__(
        self, aead: Aead, base_nonce: int, header: bytes, packing: Packing, *, authenticated: bytes = b""
    ) -> None:
        """Begin a message.

        Args:
            aead: the cipher, keyed.
            base_nonce: 96 bits that the index (times 256) and the last flag are XORed into.
            header: authenticated with the first record and sent before it.
            packing: compression and padding.
            authenticated: what the first record authenticates, when that is more than the header.
        """
        self._aead = aead
        self._base_nonce = base_nonce
        self._header = header
        self._authenticated = authenticated or header
        self._index = 0
        self._packing = packing
        self.finished = False

    def record(self, meta: bytes, data: bytes, last: bool) -> bytes:
        """Return the next piece of the message.

        Args:
            meta: the head (first record), the trailer block (a last record that isn't the first), else b"".
            data: at most 65,536 bytes; not empty in a record that is neither the first nor the last.
            last: whether the message ends with this record.

        Raises:
            ValueError: these rules were not kept, or the message has ended.
            ProxyError: INTERNAL_ERROR, 2**32 records were sealed.
        """
        index = self._index
        if self.finished or (index and not last and (meta or not data)):
            raise ValueError("this record may not stand here")
        if index > MAX_INDEX:
            raise ProxyError(INTERNAL_ERROR, "a message has more records than can be numbered")
        plaintext = pack(meta, data, self._packing)
        nonce = (self._base_nonce ^ (index << 8 | last)).to_bytes(NONCE_BYTES, "big")
        ciphertext = self._aead.encrypt(nonce, plaintext, None if index else self._authenticated)
        self._index = index + 1
        self.finished = last
        word = WORD.pack(len(ciphertext) | last << 31)
        return b"".join((b"" if index else self._header, word, ciphertext))


class MessageOpener:
    """Opens the records of a message, however the bytes arrive. Holds at most one record.

    finished: the last record has come.
    pending: more of what was fed waits to be opened, by `feed(b"")`; nothing else is fed before that.
    """

    __slots__ = (
        "_aead",
        "_base_nonce",
        "_buffer",
        "_faults",
        "_header",
        "_index",
        "_intact",
        "_wanted_bytes",
        "finished",
        "pending",
    )

    def __init__(
        self,
        aead: Aead,
        base_nonce: int,
        header: bytes,
        faults: Faults,
        *,
        index: int = 0,
        finished: bool = False,
    ) -> None:
        """Begin with the record of this index.

        Args:
            aead: the cipher, keyed.
            base_nonce: as in `MessageSealer`.
            header: what the first record authenticates; unused when index is not 0.
            faults: under which causes the message is refused.
            index: number of the records that were opened already.
            finished: whether the last one was among them.
        """
        self._aead = aead
        self._base_nonce = base_nonce
        self._header = header
        self._faults = faults
        self._index = index
        self._buffer = bytearray()
        self._intact = True
        self._wanted_bytes = WORD_BYTES
        self.finished = finished
        self.pending = False

    def feed(self, data: bytes) -> list[Chunk]:
        """Take the next bytes of the message and return what they complete, or part of it; see `pending`.

        Raises:
            ProxyError: the message is broken. What was returned before was authentic; the rest is lost.
        """
        if not self._intact:
            raise self._fault("the message was found broken before")
        buffer = self._buffer
        source: bytes | bytearray = data
        if buffer:
            buffer += data
            if len(buffer) < self._wanted_bytes:  # so that byte by byte costs no more than it must
                return []
            source = buffer
        self._intact = False  # until all of this has proved to be in order
        chunks: list[Chunk] = []
        at = 0
        available = len(source)
        opened_bytes = 0
        self.pending = False
        while available - at >= WORD_BYTES:
            if opened_bytes >= OPENED_BYTES:
                self.pending = True
                break
            (word,) = WORD.unpack_from(source, at)
            length = word & ~LAST
            if self.finished or not MIN_CIPHERTEXT_BYTES <= length <= MAX_CIPHERTEXT_BYTES:
                raise self._fault("a record has an impossible length, or follows the last one")
            end = at + WORD_BYTES + length
            if end > available:
                self._wanted_bytes = WORD_BYTES + length
                break
            chunk = self._open(word, source[at + WORD_BYTES : end])
            opened_bytes += len(chunk.data)
            chunks.append(chunk)
            self._wanted_bytes = WORD_BYTES
            at = end
        if at < available:
            if self.finished:
                raise self._fault("something follows the last record")
            if source is data:
                buffer += data[at:]
        if source is buffer:
            del buffer[:at]
        self._intact = True
        return chunks

    def eof(self) -> None:
        """Say that no more bytes will come.

        Raises:
            ProxyError: the last record hasn't come: the message was cut.
        """
        if not (self.finished and self._intact):
            raise self._fault("the message was cut")

    def _open(self, word: int, ciphertext: bytes | bytearray) -> Chunk:
        index = self._index
        if index > MAX_INDEX:
            raise self._fault("the message has more records than can be numbered")
        nonce = self._base_nonce ^ (index << 8 | word >> 31)
        try:
            plaintext = self._aead.decrypt(
                nonce.to_bytes(NONCE_BYTES, "big"), ciphertext, None if index else self._header
            )
        except InvalidTag as exc:
            raise self._fault("a record is not the one that belongs here") from exc
        chunk = unpack(plaintext, word >= LAST, self._faults)
        if index and not chunk.last and (chunk.meta or not chunk.data):
            raise self._fault("a record in the middle carries no data, or more than data")
        self._index = index + 1
        self.finished = chunk.last
        return chunk

    def _fault(self, detail: str) -> ProxyError:
        return ProxyError(self._faults.broken, detail)
