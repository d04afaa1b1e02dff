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

    __slots__ = ("_locks", "_first_lock", "_places", "_used", "_without", "_words", "_worker")  # noqa: RUF023

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
        self._without = OwnCounts()  # those that found no place

    @staticmethod
    def size_bytes(capacity: int) -> int:
        """Return the memory that they take."""
        buckets = bucket_count(capacity)
        return Places.size_bytes(buckets) + buckets * (BUCKET_PLACES * _WORD_BYTES + 1)

    def add(self, key: str) -> int:
        """See `Counts`; where no place is left there are more than any limit allows."""
        digest = self._places.digest(key)
        bucket = self._places.bucket(digest)
        lock = self._first_lock + bucket
        self._locks.acquire(lock)
        try:
            total, mine = self._look(bucket, digest)
            if mine < 0:
                mine = self._take_place(bucket, digest)
            if mine >= 0:
                self._words[mine] = self._worker << _COUNT_BITS | (self._words[mine] & _COUNT) + 1
                return total + 1
        finally:
            self._locks.release(lock)
        self._without.add(key)
        return sys.maxsize

    def remove(self, key: str) -> None:
        """See `Counts`."""
        if key in self._without:
            self._without.remove(key)
            return
        digest = self._places.digest(key)
        bucket = self._places.bucket(digest)
        lock = self._first_lock + bucket
        self._locks.acquire(lock)
        try:
            _, mine = self._look(bucket, digest)
            if mine >= 0:
                count = (self._words[mine] & _COUNT) - 1
                self._words[mine] = self._worker << _COUNT_BITS | count if count else 0
        finally:
            self._locks.release(lock)

    def _look(self, bucket: int, digest: bytes) -> tuple[int, int]:
        """Return how many a key has in all workers, and this worker's place for it, -1 without."""
        total, mine = 0, -1
        for place in self._places.find(bucket, digest):
            word = self._words[place]
            total += word & _COUNT
            if word and word >> _COUNT_BITS == self._worker:
                mine = place
        return total, mine

    def _take_place(self, bucket: int, digest: bytes) -> int:
        first = bucket * BUCKET_PLACES
        try:
            place = first + self._words[first : first + BUCKET_PLACES].tolist().index(0)
        except ValueError:
            return -1
        self._used[bucket] = 1
        self._places.enter(place, digest)
        return place

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
