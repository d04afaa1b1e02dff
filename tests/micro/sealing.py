"""Sealing and opening content, by the ciphers and compressions of each way between the proxies, and by size.

The content is text like that of an API, which compresses well. What is compressed counts as one operation
with sealing it: that is how a call pays for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from fastproxy.wire.ciphers import AES_256_GCM, CHACHA20_POLY1305, Aead
from fastproxy.wire.compat.payload import GZIP_ID, SNAPPY_ID
from fastproxy.wire.compat.sealing import CompatSender
from fastproxy.wire.compressors import COMPRESSORS
from fastproxy.wire.link.records import MAX_PLAINTEXT_BYTES, Opener, Sealer
from fastproxy.wire.records import (
    MAX_DATA_BYTES,
    PLAIN,
    REQUEST_FAULTS,
    MessageOpener,
    MessageSealer,
    Packing,
)
from tests.micro.work import Benchmark, Step, Work, single
from tests.wire.compat_parties import BOTH, ENCRYPT, SIGN, receiver
from tests.wire.parties import META

SIZES = {"64 B": 64, "1 KiB": 1024, "16 KiB": 16_384, "1 MiB": 1 << 20}
_KEY = bytes(range(32))
_HEADER = bytes(100)
_LIMIT_BYTES = 2 << 20

SealAndOpen = tuple[Step, Step]
"""Seals some content; and opens what came of that."""


def content(size_bytes: int) -> bytes:
    """Text of this length: objects that differ in their numbers."""
    lines = (
        b'{"id": %d, "name": "item %x", "price": %d},\n' % (number, number * 7919, number * 104_729 % 10_007)
        for number in range(size_bytes // 30 + 1)
    )
    return b"".join(lines)[:size_bytes]


def envelope(aead: Aead, packing: Packing, size_bytes: int) -> SealAndOpen:
    """A message of envelope v2: as many records as it needs, with a head in the first."""
    data = content(size_bytes)
    pieces = [data[at : at + MAX_DATA_BYTES] for at in range(0, size_bytes, MAX_DATA_BYTES)]

    def seal() -> bytes:
        sealer = MessageSealer(aead, 0, _HEADER, packing)
        last = len(pieces) - 1
        return b"".join(
            sealer.record(b"" if place else META, piece, place == last) for place, piece in enumerate(pieces)
        )

    message = seal()[len(_HEADER) :]

    def unseal() -> bytes:
        opener = MessageOpener(aead, 0, _HEADER, REQUEST_FAULTS)
        chunks = opener.feed(message)
        while opener.pending:
            chunks += opener.feed(b"")
        opener.eof()
        return b"".join(chunk.data for chunk in chunks)

    assert unseal() == data
    return seal, unseal


def records(size_bytes: int) -> SealAndOpen:
    """Records of a link, as large as they may be; its cipher is always AES-256-GCM."""
    data = content(size_bytes)
    pieces = [data[at : at + MAX_PLAINTEXT_BYTES] for at in range(0, size_bytes, MAX_PLAINTEXT_BYTES)]
    sealer = Sealer(_KEY)

    def seal() -> list[bytes]:
        sealer.records = 0  # each time the same nonces, so that what is opened can be sealed in advance
        return [sealer.seal(piece) for piece in pieces]

    sealed = seal()
    opener = Opener(_KEY)

    def unseal() -> list[bytes]:
        opener.records = 0
        return [plaintext for record in sealed for plaintext in opener.feed(record)]

    assert b"".join(unseal()) == data
    return seal, unseal


def compat(compression_id: int | None, size_bytes: int) -> SealAndOpen:
    """A message of wire format v1, signed and encrypted."""
    data = content(size_bytes)
    sender, taker = CompatSender(SIGN, ENCRYPT, compression_id), receiver()
    message = sender.seal(data)

    def seal() -> bytes:
        return sender.seal(data)

    def unseal() -> bytes:
        return taker.open(BOTH, message, _LIMIT_BYTES).body

    assert unseal() == data
    return seal, unseal


def _kinds() -> Iterator[tuple[str, Callable[[int], SealAndOpen]]]:
    for cipher in (AES_256_GCM, CHACHA20_POLY1305):
        yield f"http/{cipher.name}/plain", partial(envelope, cipher.keyed(_KEY), PLAIN)
    for compressor in COMPRESSORS.values():
        packing = Packing(compressor, threshold_bytes=0)
        yield f"http/aes-256-gcm/{compressor.name}", partial(envelope, AES_256_GCM.keyed(_KEY), packing)
    yield "link/aes-256-gcm/plain", records
    for name, compression_id in (("plain", None), ("snappy", SNAPPY_ID), ("gzip", GZIP_ID)):
        yield f"compat/aes-cbc+hmac/{name}", partial(compat, compression_id)


def _work(kind: Callable[[int], SealAndOpen], size_bytes: int, *, seals: bool) -> Work:
    seal, unseal = kind(size_bytes)
    return single(seal if seals else unseal)


def benchmarks() -> Iterator[Benchmark]:
    """All of them."""
    for name, kind in _kinds():
        for size, size_bytes in SIZES.items():
            yield Benchmark(f"seal/{name}/{size}", partial(_work, kind, size_bytes, seals=True))
            yield Benchmark(f"open/{name}/{size}", partial(_work, kind, size_bytes, seals=False))
