"""The receivers that an out proxy knows, while it runs: whose keys pass their date are known by the others.

Knows nothing of what is done about a key that has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fastproxy.app.key_dates import KeyDates
from fastproxy.config.snapshot import OutSnapshot, Peer


class KnownReceivers:
    """The keys by which receivers prove who they are now.

    Args:
        snapshot: the config. dates: knows which keys count, and tells of those that end.
    """

    def __init__(self, snapshot: OutSnapshot, dates: KeyDates) -> None:
        found = {one.receiver.name: one.receiver for one in snapshot.services.values() if one.receiver}
        self._peers = tuple(found.values())
        self._dates = dates
        self._takers: list[Callable[[], None]] = []
        self._counting = dates.counting(self._peers)
        self._keys = {peer.name: peer.public_keys for peer in self._counting}

    @property
    def is_lasting(self) -> bool:
        """Whether nothing will ever change."""
        return not any(peer.key_dates for peer in self._peers)

    @property
    def counting(self) -> Sequence[Peer]:
        """All receivers, with the keys that count now."""
        return self._counting

    def knows(self, name: str) -> bool:
        """Return whether there is such a receiver."""
        return name in self._keys

    def keys(self, name: str) -> tuple[bytes, ...]:
        """Return the keys of a receiver that count now, in the order of the config."""
        return self._keys[name]

    def on_change(self, take: Callable[[], None]) -> None:
        """Have somebody told whenever `keys` returns others than before."""
        self._takers.append(take)

    def look(self) -> None:
        """Look at the dates; called every so often unless all is lasting."""
        counting = self._dates.counting(self._peers)
        if counting is not self._counting:
            self._counting = counting
            self._keys = {peer.name: peer.public_keys for peer in counting}
            for take in self._takers:
                take()
