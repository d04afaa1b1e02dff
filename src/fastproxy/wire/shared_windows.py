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

from fastproxy.bounds import Part
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

    Args:
        part: `size_bytes(capacity, width)` of memory; with a lock for each place, and one for all.
        capacity: how many places. width: as above.
    """

    __slots__ = (
        "_digests", "_entry_lock", "_generations", "_header", "_highest", "_latest_ms", "_locks", "_owners",
        "_part", "_rings", "capacity", "width",
    )  # fmt: skip

    def __init__(self, part: Part, capacity: int, width: int) -> None:
        self.capacity = capacity
        self.width = width
        self._part = part
        self._locks = part.locks
        self._entry_lock = part.first_lock
        words = part.memory.cast("Q")
        self._header = words[:_HEADER_WORDS]
        rows = [words[_HEADER_WORDS + n * capacity : _HEADER_WORDS + (n + 1) * capacity] for n in range(4)]
        # When the last envelope expires that a place's session has accepted, 0 where there is no session;
        # whose key it is; which of all sessions that had this place; the highest counter and 1.
        self._latest_ms, self._owners, self._generations, self._highest = rows
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
        latest_ms = self._latest_ms[: self._header[_USED]].tolist()
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
            return SharedWindow(self, place, self._generations[place])
        finally:
            self._locks.release(self._entry_lock)

    def _find(self, digest: bytes) -> int:
        used = self._header[_USED]
        row = self._digests[: used * _DIGEST_BYTES].tobytes()
        at = row.find(digest)
        while at >= 0:
            place, offset = divmod(at, _DIGEST_BYTES)
            if not offset and self._latest_ms[place]:
                return place
            at = row.find(digest, at + 1)
        return -1

    def _free_place(self, owner: int, per_owner: int, expired_ms: int) -> int:
        used = self._header[_USED]
        if used == self.capacity or self._count(owner) >= per_owner:
            self.sweep(expired_ms)
            if self._count(owner) >= per_owner:
                raise ProxyError(SESSIONS_EXHAUSTED)
        used = self._header[_USED]
        latest_ms = self._latest_ms[:used].tolist()
        if 0 in latest_ms:
            return latest_ms.index(0)
        if used == self.capacity:
            raise ProxyError(SESSIONS_EXHAUSTED, "those of all callers together")
        self._header[_USED] = used + 1
        return used

    def _count(self, owner: int) -> int:
        return self._owners[: self._header[_USED]].tolist().count(owner)

    def _begin(self, place: int, owner: bytes, digest: bytes, now_ms: int) -> None:
        """Have a session in a free place; last of all it counts as taken."""
        for word in range(place * ring_words(self.width), (place + 1) * ring_words(self.width)):
            self._rings[word] = 0
        self._highest[place] = 0
        self._owners[place] = int.from_bytes(owner, "little")
        self._digests[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES] = digest
        self._latest_ms[place] = now_ms

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
        for place, latest_ms in enumerate(self._latest_ms[:used].tolist()):
            if latest_ms and latest_ms <= expired_ms:
                self._free(place, expired_ms)
        while used and not self._latest_ms[used - 1]:
            used -= 1
        self._header[_USED] = used

    def _free(self, place: int, expired_ms: int) -> None:
        lock = self._entry_lock + 1 + place
        self._locks.acquire(lock)
        try:
            latest_ms = self._latest_ms[place]
            if latest_ms > expired_ms:  # somebody has just used it
                return
            # First what refuses its envelopes, then what makes way.
            self._header[_FLOOR] = max(self._header[_FLOOR], latest_ms)
            self._generations[place] += 1
            self._owners[place] = 0
            self._latest_ms[place] = 0
        finally:
            self._locks.release(lock)

    @property
    def floor_ms(self) -> int:
        """See `SessionTable`."""
        return self._header[_FLOOR]

    # --- one window ---------------------------------------------------------------------------------------

    def ring(self, place: int) -> memoryview[int]:
        """Return the words of a place's window."""
        words = ring_words(self.width)
        return self._rings[place * words : (place + 1) * words]

    def highest(self, place: int) -> int:
        """Return the highest counter in a place's window, -1 before the first."""
        return self._highest[place] - 1

    def is_of(self, place: int, generation: int) -> bool:
        """Whether a place is still that session's."""
        return self._generations[place] == generation

    def mark(self, place: int, generation: int, window: ReplayWindow, counter: int, expiry_ms: int) -> bool:
        """Enter an authentic counter into the window of a place; see `SharedWindow.mark`."""
        lock = self._entry_lock + 1 + place
        self._locks.acquire(lock)
        try:
            if self._generations[place] != generation:
                return False
            self._latest_ms[place] = max(self._latest_ms[place], expiry_ms)
            window.highest = highest = self._highest[place] - 1
            if counter > highest:
                # Before words are cleared that were in the window until now: who is killed in between leaves
                # a window that refuses too much, not one that has forgotten something.
                self._highest[place] = counter + 1
            return window.mark(counter)
        finally:
            self._locks.release(lock)


class SharedWindow:
    """The replay window of one session, as one process knows it; see `ReplayWindow`.

    latest_expiry_ms: the latest expiry of what this process has accepted, or is about to.

    Args:
        windows: all of them. place, generation: of this one.
    """

    __slots__ = ("_generation", "_place", "_window", "_windows", "latest_expiry_ms")

    def __init__(self, windows: SharedWindows, place: int, generation: int) -> None:
        self._windows = windows
        self._place = place
        self._generation = generation
        self._window = ReplayWindow(windows.width, windows.ring(place))
        self.latest_expiry_ms = 0

    @property
    def is_lost(self) -> bool:
        """Whether the session has expired in the eyes of all: it must be entered anew."""
        return not self._windows.is_of(self._place, self._generation)

    def check(self, counter: int) -> bool:
        """Return whether this counter is new, as far as can be told without a lock."""
        self._window.highest = self._windows.highest(self._place)
        return self._window.check(counter)

    def mark(self, counter: int) -> bool:
        """Enter an authentic counter; return False when it isn't new, or the window is lost."""
        return self._windows.mark(self._place, self._generation, self._window, counter, self.latest_expiry_ms)
