"""How fast may it go, when several processes count together? The same limiter as in `ratelimit`, in memory
that they share.

A check takes the lock of the key's bucket, and so happens as a whole before or after any other one. A place
whose time has come is worth nothing any more, since its key stands where a newcomer would: it goes to whoever
needs it next. Each number is one aligned word, so that who is killed leaves the old one or the new.
"""

from __future__ import annotations

from fastproxy.bounds import Part
from fastproxy.errors import RATE_LIMITED, Cause
from fastproxy.policy.places import BUCKET_PLACES, Places, bucket_count
from fastproxy.policy.ratelimit import Key, Rate, over_rate

_WORD_BYTES = 8
_KNOWN_KEYS = 4096
"""Keys whose place this process remembers; bounds memory."""
_SWEEP_EVERY_S = 1.0
_SWEPT_BUCKETS = 64
"""Buckets that are swept at a time: a fraction of a millisecond."""


class SharedRateLimiter:
    """Holds every key to its rate, however many processes it comes to; see `RateLimiter`.

    len: number of keys remembered, by all.

    Args:
        part: `size_bytes(capacity)` of memory; with a lock for each bucket, and one for the crowd.
        capacity: keys that there is room for, at least.
        cause: the row of the error table for what is over its rate.
    """

    __slots__ = (
        "_cause",
        "_crowd",
        "_dues",
        "_first_lock",
        "_known",
        "_locks",
        "_next_swept",
        "_places",
        "_sweep_s",
        "_taken",
    )

    def __init__(self, part: Part, capacity: int, cause: Cause = RATE_LIMITED) -> None:
        memory = part.memory
        buckets = bucket_count(capacity)
        places_end = Places.size_bytes(buckets)
        self._places = Places(memory[:places_end], part.secret)
        self._crowd = buckets * BUCKET_PLACES
        dues_end = places_end + (self._crowd + 1) * _WORD_BYTES
        # The time of the crowd stands behind those of the places.
        self._dues = memory[places_end:dues_end].cast("d")
        self._taken = memory[dues_end : dues_end + buckets]
        self._locks = part.locks
        self._first_lock = part.first_lock
        self._cause = cause
        self._known: dict[Key, tuple[bytes, int]] = {}
        self._sweep_s = float("-inf")
        self._next_swept = 0

    @staticmethod
    def size_bytes(capacity: int) -> int:
        """Return the memory that it takes."""
        buckets = bucket_count(capacity)
        return Places.size_bytes(buckets) + (buckets * BUCKET_PLACES + 1) * _WORD_BYTES + buckets

    def __len__(self) -> int:
        """Number of keys remembered; idle ones are forgotten little by little."""
        return sum(self._taken)

    def check(self, key: Key, rate: Rate, now_s: float) -> None:
        """Count one request; see `RateLimiter.check`.

        Args: as there; the clock is the same in all processes.

        Raises: as there.
        """
        if now_s >= self._sweep_s:
            self._sweep(now_s)
        known = self._known.get(key)
        if known is None:
            digest = self._places.digest(repr(key))
            # It may be anywhere in its bucket: looked for below, under the lock.
            known = (digest, self._places.bucket(digest) * BUCKET_PLACES)
        digest, place = known
        lock = self._first_lock + place // BUCKET_PLACES
        self._locks.acquire(lock)
        try:
            if not self._places.is_at(place, digest):
                place = self._take_place(key, digest, place // BUCKET_PLACES, now_s)
            ahead_s = 0.0 if place == self._crowd else self._count(place, rate, now_s)
        finally:
            self._locks.release(lock)
        if place == self._crowd:
            ahead_s = self._count_crowd(rate, now_s)
        if ahead_s > 0:
            raise over_rate(self._cause, rate, ahead_s)

    def ahead_s(self, key: Key, now_s: float) -> float:
        """See `RateLimiter.ahead_s`. Takes no lock: what changes meanwhile is true a moment later."""
        known = self._known.get(key)
        if known is None or not self._places.is_at(known[1], known[0]):
            digest = self._places.digest(repr(key))
            found = self._places.find(self._places.bucket(digest), digest)
            if not found:
                return 0.0
            place = found[0]
        else:
            place = known[1]
        due_s: float = self._dues[place]
        return max(0.0, due_s - now_s)

    def _count(self, place: int, rate: Rate, now_s: float) -> float:
        """Count one request; return how long it is ahead of its time, and not counted, if above 0."""
        due_s = self._dues[place]
        if due_s < now_s:  # noqa: PLR1730 - see `ratelimit`
            due_s = now_s
        ahead_s = due_s - now_s - rate.tolerance_s
        if ahead_s <= 0:
            self._dues[place] = due_s + rate.interval_s
        return ahead_s

    def _count_crowd(self, rate: Rate, now_s: float) -> float:
        lock = self._first_lock + self._places.buckets
        self._locks.acquire(lock)
        try:
            return self._count(self._crowd, rate, now_s)
        finally:
            self._locks.release(lock)

    def _take_place(self, key: Key, digest: bytes, bucket: int, now_s: float) -> int:
        """Find the place of a key, or give it one; that of the crowd when there is none."""
        found = self._places.find(bucket, digest)
        if found:
            place = found[0]
        else:
            first = bucket * BUCKET_PLACES
            dues = self._dues[first : first + BUCKET_PLACES].tolist()
            soonest_s = min(dues)
            if soonest_s > now_s:
                return self._crowd
            place = first + dues.index(soonest_s)
            if self._places.is_blank(place):
                self._taken[bucket] += 1
            self._places.enter(place, digest)
        if len(self._known) >= _KNOWN_KEYS:
            self._known.clear()
        self._known[key] = (digest, place)
        return place

    def _sweep(self, now_s: float) -> None:
        """Forget, in some of the buckets, who was idle for long enough."""
        self._sweep_s = now_s + _SWEEP_EVERY_S
        first = self._next_swept
        last = min(first + _SWEPT_BUCKETS, self._places.buckets)
        self._next_swept = 0 if last == self._places.buckets else last
        for bucket in range(first, last):
            if self._taken[bucket]:
                self._locks.acquire(self._first_lock + bucket)
                try:
                    self._sweep_bucket(bucket, now_s)
                finally:
                    self._locks.release(self._first_lock + bucket)

    def _sweep_bucket(self, bucket: int, now_s: float) -> None:
        taken, first = 0, bucket * BUCKET_PLACES
        for place, due_s in enumerate(self._dues[first : first + BUCKET_PLACES].tolist(), first):
            if due_s > now_s:
                taken += 1
            elif due_s:
                self._places.clear(place)
                self._dues[place] = 0.0
        self._taken[bucket] = taken
