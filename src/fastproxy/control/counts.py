"""Counts that workers share: how many connections or links there are, by whose they are.

Each worker has a place of its own for each key of which it has any, side by side in the key's bucket; what
they hold is added up. A place is one word, the worker's number and its count, so that nothing is lost or
counted twice when a worker is killed: the supervisor then clears the places that bear its number.
"""

from __future__ import annotations

import sys

from fastproxy.bounds import OwnCounts, Part
from fastproxy.policy.places import BUCKET_PLACES, Places, bucket_count

_WORD_BYTES = 8
_COUNT_BITS = 32
_COUNT = (1 << _COUNT_BITS) - 1


class SharedCounts:
    """One worker's side of the counts; see `bounds.Counts`.

    Args:
        part: `size_bytes(capacity)` of memory; with a lock for each bucket.
        capacity: there is room for at least so many pairs of key and worker.
        worker: this worker's number.
    """

    __slots__ = ("_first_lock", "_locks", "_mine", "_places", "_used", "_without", "_words", "_worker")

    def __init__(self, part: Part, capacity: int, worker: int) -> None:
        buckets = bucket_count(capacity)
        places_end = Places.size_bytes(buckets)
        words_end = places_end + buckets * BUCKET_PLACES * _WORD_BYTES
        self._places = Places(part.memory[:places_end], part.secret)
        self._words = part.memory[places_end:words_end].cast("Q")
        self._used = part.memory[words_end : words_end + buckets]  # 1 for each bucket that was ever used
        self._locks = part.locks
        self._first_lock = part.first_lock
        self._worker = worker
        # What this worker has: the hash and the place of each key; and what found no place.
        self._mine: dict[str, tuple[bytes, int]] = {}
        self._without = OwnCounts()

    @staticmethod
    def size_bytes(capacity: int) -> int:
        """Return the memory that they take."""
        buckets = bucket_count(capacity)
        return Places.size_bytes(buckets) + buckets * (BUCKET_PLACES * _WORD_BYTES + 1)

    def add(self, key: str) -> int:
        """See `Counts`; where no place is left there are more than any limit allows."""
        known = self._mine.get(key)
        digest = self._places.digest(key) if known is None else known[0]
        bucket = self._places.bucket(digest)
        lock = self._first_lock + bucket
        self._locks.acquire(lock)
        try:
            words = self._words
            total = sum(words[place] & _COUNT for place in self._places.find(bucket, digest))
            place = self._free_place(bucket) if known is None else known[1]
            if place >= 0:
                if known is None:
                    self._used[bucket] = 1
                    self._places.enter(place, digest)
                words[place] = self._worker << _COUNT_BITS | (words[place] & _COUNT) + 1
        finally:
            self._locks.release(lock)
        if place < 0:
            self._without.add(key)
            return sys.maxsize
        self._mine[key] = digest, place
        return total + 1

    def remove(self, key: str) -> None:
        """See `Counts`. Takes no lock: as long as a place counts any it is this worker's alone."""
        if key in self._without:
            self._without.remove(key)
            return
        _, place = self._mine[key]
        count = (self._words[place] & _COUNT) - 1
        if not count:
            del self._mine[key]
        self._words[place] = self._worker << _COUNT_BITS | count if count else 0

    def _free_place(self, bucket: int) -> int:
        """Return a place of nobody's, -1 without."""
        first = bucket * BUCKET_PLACES
        words = self._words[first : first + BUCKET_PLACES].tolist()
        return first + words.index(0) if 0 in words else -1

    def forget(self, worker: int) -> None:
        """Clear what a worker has counted that has ended; for the supervisor.

        Takes no lock, since nobody else writes to these places: it must not wait for a worker that hangs.
        """
        for bucket, is_used in enumerate(self._used.tobytes()):
            if is_used:
                first = bucket * BUCKET_PLACES
                words = self._words[first : first + BUCKET_PLACES].tolist()
                for place, word in enumerate(words, first):
                    if word and word >> _COUNT_BITS == worker:
                        self._words[place] = 0
