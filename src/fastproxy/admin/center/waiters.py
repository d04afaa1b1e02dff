"""Who waits for a change of a name: bounded in all and per peer, each woken once.

Looking up needs no token, so a single peer must not be able to take all places.
Knows nothing of the event loop: what wakes a waiter is handed in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from fastproxy.admin.center.names import Key
from fastproxy.admin.center.refusals import TOO_MANY_WATCHERS, CenterError


class Wait(NamedTuple):
    """A look-up that is answered when the name's version is another one, or when the time is up.

    after: the version that the asker knows. wait_s: the longest wait, in seconds.
    """

    key: Key
    after: int
    wait_s: int


class _Waiter:
    """One that waits; told apart by identity, since one asker may wait twice for the same."""

    __slots__ = ("peer", "wait", "wake")

    def __init__(self, wait: Wait, peer: str, wake: Callable[[], None]) -> None:
        self.wait = wait
        self.peer = peer
        self.wake = wake


class Waiters:
    """All that wait.

    Args:
        limit: so many at once. limit_per_peer: so many of one peer.

    count: how many wait now.
    """

    __slots__ = ("_by_key", "_limit", "_limit_per_peer", "_peers", "count")

    def __init__(self, *, limit: int = 8192, limit_per_peer: int = 1024) -> None:
        self._limit = limit
        self._limit_per_peer = limit_per_peer
        self._by_key: dict[Key, set[_Waiter]] = {}
        self._peers: Counter[str] = Counter()
        self.count = 0

    def require_room(self, peer: str) -> None:
        """Check that one more may wait.

        Raises:
            CenterError: none may.
        """
        if self.count >= self._limit:
            raise CenterError(TOO_MANY_WATCHERS, f"watchers is {self._limit}")
        if self._peers[peer] >= self._limit_per_peer:
            raise CenterError(TOO_MANY_WATCHERS, f"watchers_per_peer is {self._limit_per_peer}")

    def add(self, wait: Wait, peer: str, wake: Callable[[], None]) -> Callable[[], None]:
        """Have someone woken when the version changes.

        Args:
            wake: called once at most; must not raise.

        Returns:
            What ends the waiting; safe to call at any time, more than once.
        """
        waiter = _Waiter(wait, peer, wake)
        self._by_key.setdefault(wait.key, set()).add(waiter)
        self._peers[peer] += 1
        self.count += 1
        return lambda: self._drop(waiter)

    def on_change(self, key: Key, version: int) -> None:
        """Wake whoever knows another version; what `Registry.subscribe` is handed."""
        for waiter in list(self._by_key.get(key, ())):
            if waiter.wait.after != version:
                self._drop(waiter)
                waiter.wake()

    def wake_all(self) -> None:
        """Wake everybody: the center is about to stop, and whoever asks again finds its successor."""
        for waiter in [waiter for waiters in self._by_key.values() for waiter in waiters]:
            self._drop(waiter)
            waiter.wake()

    def _drop(self, waiter: _Waiter) -> None:
        waiters = self._by_key.get(waiter.wait.key, set())
        if waiter not in waiters:
            return
        waiters.remove(waiter)
        if not waiters:
            del self._by_key[waiter.wait.key]
        self.count -= 1
        self._peers[waiter.peer] -= 1
        if not self._peers[waiter.peer]:
            del self._peers[waiter.peer]
