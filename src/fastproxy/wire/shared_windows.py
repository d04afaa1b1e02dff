"""Replay windows in memory that several processes share: what was accepted by one is a replay to all others.

A session has one place there, found by a hash of the header fields that identify it, from the first valid
envelope until the last one that it accepted has expired, and with it all others. The memory outlives the
processes, so that none of them opens a hole by ending, and all have one epoch.
To check a counter and to mark it is one step, under the lock of the place. Places are taken and left under a
lock of their own. A process may be killed between any two writes: what it had begun to mark is refused
from then on, or was never acted upon.
"""

from __future__ import annotations

from hashlib import blake2b

from fastproxy.bounds import Locks, Part
from fastproxy.errors import ENVELOPE_EXPIRED, SESSIONS_EXHAUSTED, ProxyError
from fastproxy.wire.replay import CLOCK_SET_BACK, ReplayWindow, ring_words

_DIGEST_BYTES = 16
_WORD_BYTES = 8
_FLOOR, _USED, _HEADER_WORDS = 0, 1, 2
_NUMBERS = 4
"""Words of a place beside its window."""


class SharedWindows:
    """The places of all sessions, in shared memory.

    width: of each window.
    latest_ms, generations, highest: by place, when the last envelope expires that its session has accepted, 0
    where there is no session; which of all sessions it is that had the place; the highest counter and 1.

    Args:
        part: `size_bytes(capacity, width)` of memory; with a lock for each place, and one for all.
        capacity: how many places. width: as above.
    """

    __slots__ = (
        "_digests", "_entry_lock", "_header", "_locks", "_owners", "_part", "_rings", "capacity",
        "generations", "highest", "latest_ms", "width",
    )  # fmt: skip

    def __init__(self, part: Part, capacity: int, width: int) -> None:
        self.capacity = capacity
        self.width = width
        self._part = part
        self._locks = part.locks
        self._entry_lock = part.first_lock
        words = part.memory.cast("Q")
        self._header = words[:_HEADER_WORDS]
        rows = [words[_HEADER_WORDS + n * capacity : _HEADER_WORDS + (n + 1) * capacity]
                for n in range(_NUMBERS)]  # fmt: skip
        self.latest_ms, self._owners, self.generations, self.highest = rows
        digests_at = _HEADER_WORDS + _NUMBERS * capacity
        rings_at = digests_at + capacity * _DIGEST_BYTES // _WORD_BYTES
        self._digests = words[digests_at:rings_at].cast("B")
        self._rings = words[rings_at : rings_at + capacity * ring_words(width)]

    @staticmethod
    def size_bytes(capacity: int, width: int) -> int:
        """Return the memory that they take; what was never used of it costs nothing."""
        per_place = (_NUMBERS + ring_words(width)) * _WORD_BYTES + _DIGEST_BYTES
        return _HEADER_WORDS * _WORD_BYTES + capacity * per_place

    def __len__(self) -> int:
        """Number of sessions that there are."""
        latest_ms = self.latest_ms[: self._header[_USED]].tolist()
        return len(latest_ms) - latest_ms.count(0)

    def enter(
        self, session_key: bytes, owner: bytes, per_owner: int, expiry_ms: int, at_ms: tuple[int, int]
    ) -> SharedWindow:
        """Give a session a place, or find the one that it has.

        Args:
            session_key: the header fields that identify it. owner: the id of its caller's key.
            per_owner: most sessions of one key.
            expiry_ms: of the envelope that shows it.
            at_ms: the time; and the latest expiry that has passed by then.

        Raises:
            ProxyError: ENVELOPE_EXPIRED, that envelope may have been accepted before; SESSIONS_EXHAUSTED.
        """
        now_ms, expired_ms = at_ms
        digest = blake2b(session_key, digest_size=_DIGEST_BYTES, key=self._part.secret).digest()
        self._locks.acquire(self._entry_lock)
        try:
            # Under the lock: whatever made way before this moment has left its mark there.
            if expiry_ms <= self._header[_FLOOR]:
                raise ProxyError(ENVELOPE_EXPIRED, CLOCK_SET_BACK)
            place = self._find(digest)
            if place < 0:
                place = self._free_place(int.from_bytes(owner, "little"), per_owner, expired_ms)
                self._begin(place, owner, digest, now_ms)
            lock = self._entry_lock + 1 + place
            return SharedWindow(self, place, self.generations[place], self._locks, lock)
        finally:
            self._locks.release(self._entry_lock)

    def _find(self, digest: bytes) -> int:
        used = self._header[_USED]
        row = self._digests[: used * _DIGEST_BYTES].tobytes()
        at = row.find(digest)
        while at >= 0:
            place, offset = divmod(at, _DIGEST_BYTES)
            if not offset and self.latest_ms[place]:
                return place
            at = row.find(digest, at + 1)
        return -1

    def _free_place(self, owner: int, per_owner: int, expired_ms: int) -> int:
        used = self._header[_USED]
        if used == self.capacity or self._count(owner) >= per_owner:
            self.sweep(expired_ms)
            if self._count(owner) >= per_owner:
                raise ProxyError(SESSIONS_EXHAUSTED, numbers={"sessions_per_caller_limit": per_owner})
        used = self._header[_USED]
        latest_ms = self.latest_ms[:used].tolist()
        if 0 in latest_ms:
            return latest_ms.index(0)
        if used == self.capacity:
            raise ProxyError(
                SESSIONS_EXHAUSTED, "those of all callers together", numbers={"sessions_limit": self.capacity}
            )
        self._header[_USED] = used + 1
        return used

    def _count(self, owner: int) -> int:
        return self._owners[: self._header[_USED]].tolist().count(owner)

    def _begin(self, place: int, owner: bytes, digest: bytes, now_ms: int) -> None:
        """Have a session in a free place; last of all it counts as taken."""
        for word in range(place * ring_words(self.width), (place + 1) * ring_words(self.width)):
            self._rings[word] = 0
        self.highest[place] = 0
        self._owners[place] = int.from_bytes(owner, "little")
        self._digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES] = digest
        self.latest_ms[place] = now_ms

    def expire(self, expired_ms: int) -> None:
        """Free the places of which all that was accepted expired at or before that time."""
        self._locks.acquire(self._entry_lock)
        try:
            self.sweep(expired_ms)
        finally:
            self._locks.release(self._entry_lock)

    def sweep(self, expired_ms: int) -> None:
        """See `expire`; for who has the lock of all."""
        used = self._header[_USED]
        for place, latest_ms in enumerate(self.latest_ms[:used].tolist()):
            if latest_ms and latest_ms <= expired_ms:
                self._free(place, expired_ms)
        while used and not self.latest_ms[used - 1]:
            used -= 1
        self._header[_USED] = used

    def _free(self, place: int, expired_ms: int) -> None:
        lock = self._entry_lock + 1 + place
        self._locks.acquire(lock)
        try:
            latest_ms = self.latest_ms[place]
            if latest_ms > expired_ms:  # somebody has just used it
                return
            # First what refuses its envelopes, then what makes way.
            self._header[_FLOOR] = max(self._header[_FLOOR], latest_ms)
            self.generations[place] += 1
            self._owners[place] = 0
            self.latest_ms[place] = 0
        finally:
            self._locks.release(lock)

    @property
    def floor_ms(self) -> int:
        """See `SessionTable`."""
        return self._header[_FLOOR]

    def ring(self, place: int) -> memoryview[int]:
        """Return the words of a place's window."""
        words = ring_words(self.width)
        return self._rings[place * words : (place + 1) * words]


class SharedWindow:
    """The replay window of one session, as one process knows it; see `ReplayWindow`.

    latest_expiry_ms: the latest expiry of what this process has accepted, or is about to.

    Args:
        windows: all of them. place, generation: of this one. locks, lock: the place's.
    """

    __slots__ = (
        "_generation", "_generations", "_highest", "_latest_ms", "_lock", "_locks", "_place", "_window",
        "latest_expiry_ms",
    )  # fmt: skip

    def __init__(self, windows: SharedWindows, place: int, generation: int, locks: Locks, lock: int) -> None:
        self._place = place
        self._generation = generation
        self._generations = windows.generations
        self._latest_ms = windows.latest_ms
        self._highest = windows.highest
        self._window = ReplayWindow(windows.width, windows.ring(place))
        self._locks = locks
        self._lock = lock
        self.latest_expiry_ms = 0

    @property
    def is_lost(self) -> bool:
        """Whether the session has expired in the eyes of all: it must be entered anew."""
        return self._generations[self._place] != self._generation

    def check(self, counter: int) -> bool:
        """Return whether this counter is new, as far as can be told without a lock."""
        self._window.highest = self._highest[self._place] - 1
        return self._window.check(counter)

    def mark(self, counter: int) -> bool:
        """Enter an authentic counter; return False when it isn't new, or the window is lost."""
        place, window = self._place, self._window
        self._locks.acquire(self._lock)
        try:
            if self._generations[place] != self._generation:
                return False
            if self.latest_expiry_ms > self._latest_ms[place]:  # noqa: PLR1730 - mostly it isn't
                self._latest_ms[place] = self.latest_expiry_ms
            window.highest = highest = self._highest[place] - 1
            if counter > highest:
                # Before words are cleared that were in the window until now: who is killed in between leaves
                # a window that refuses too much, not one that has forgotten something.
                self._highest[place] = counter + 1
            return window.mark(counter)
        finally:
            self._locks.release(self._lock)
