"""Where a key's numbers stand, in tables that several processes share.

A key is known by a keyed hash of 128 bits, so that nobody who picks keys can pick where they lie. It has its
place among the 64 of one bucket, wherever there is one free. The hashes of a bucket lie in a row, so that one
search in C finds a key, and each bucket has a lock of its own.
Two writers never meet in a bucket, and a hash that is written only in part, because its writer was killed, is
nobody's. Knows nothing of the numbers.
"""

from __future__ import annotations

from hashlib import blake2b

DIGEST_BYTES = 16
BUCKET_PLACES = 64
SECRET_BYTES = 32

_EXPECTED_PLACES = 32
"""Keys in a bucket when there are as many as there should be room for: that more than 64 of them meet in one
is as likely as 1 in 10 million."""
_BUCKET_BYTES = BUCKET_PLACES * DIGEST_BYTES


def bucket_count(capacity: int) -> int:
    """Return how many buckets there are with room for so many keys, and at most twice as many and a few."""
    return -(-capacity // _EXPECTED_PLACES)


class Places:
    """The places of a table.

    buckets: how many there are.

    Args:
        memory: for the hashes, `size_bytes` of it; zeros at first.
        secret: 32 random bytes, the same in all processes, unknown to anybody else.
    """

    __slots__ = ("_memory", "_secret", "buckets")

    def __init__(self, memory: memoryview, secret: bytes) -> None:
        self._memory = memory
        self._secret = secret
        self.buckets = len(memory) // _BUCKET_BYTES

    @staticmethod
    def size_bytes(buckets: int) -> int:
        """Return the memory that the hashes of so many buckets take."""
        return buckets * _BUCKET_BYTES

    def digest(self, key: str) -> bytes:
        """Return what a key is known by."""
        encoded = key.encode("utf-8", "surrogatepass")
        return blake2b(encoded, digest_size=DIGEST_BYTES, key=self._secret).digest()

    def bucket(self, digest: bytes) -> int:
        """Return the bucket that a key belongs in."""
        return int.from_bytes(digest[:8], "little") % self.buckets

    def is_at(self, place: int, digest: bytes) -> bool:
        """Whether a place is this key's."""
        return self._memory[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES] == digest

    def is_blank(self, place: int) -> bool:
        """Whether a place was never anybody's, or was cleared."""
        return self.is_at(place, bytes(DIGEST_BYTES))

    def find(self, bucket: int, digest: bytes) -> list[int]:
        """Return a key's places in its bucket; several where each of the processes has one for itself."""
        row = bytes(self._memory[bucket * _BUCKET_BYTES : (bucket + 1) * _BUCKET_BYTES])
        found = []
        at = row.find(digest)
        while at >= 0:
            if at % DIGEST_BYTES == 0:
                found.append(bucket * BUCKET_PLACES + at // DIGEST_BYTES)
            at = row.find(digest, at + 1)
        return found

    def enter(self, place: int, digest: bytes) -> None:
        """Make a place a key's."""
        self._memory[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES] = digest

    def clear(self, place: int) -> None:
        """Make a place nobody's."""
        self.enter(place, bytes(DIGEST_BYTES))
