"""By which keys links and sessions were made, how many there are, and when the last of them was there: what
has to be known before a key can be taken away.

Counted when a link or a session begins and when it ends, never per request.
Bounded: of too many keys those of least recent use are taken together as "other", so that whoever misses a
key here knows until when it may have been used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec import Struct

OTHER = "other"
CALLER, OWN = "caller", "own"
"""Whose key it is: that of the caller named, at an in proxy; or this proxy's own, by or for that caller."""
LIMIT = 4096
"""Keys of names that are told apart; protects memory, and the time of a scrape."""


class Row(NamedTuple):
    """One key with one name.

    kind: CALLER or OWN. name: of the caller. key_id: in hex; both OTHER for those that aren't told apart.
    """

    kind: str
    name: str
    key_id: str


class KeyUse(Struct, array_like=True):
    """How one key was used.

    made: links and sessions until now. open: of these, those that are there.
    last_unix_s: when one was there last, in Unix time. first_unix_s: when the first was made; 0 if unknown.
    """

    row: Row
    made: int = 0
    open: int = 0
    last_unix_s: float = 0.0
    first_unix_s: float = 0.0


class KeyUses:
    """Counts the uses of keys in one process.

    Args:
        clock: Unix time in seconds. limit: how many keys of names are told apart, at least 8.
    """

    __slots__ = ("_clock", "_limit", "_uses")

    def __init__(self, clock: Callable[[], float], limit: int = LIMIT) -> None:
        self._clock = clock
        self._limit = limit
        self._uses: dict[Row, KeyUse] = {}

    def begin(self, kind: str, name: str, key_id: bytes) -> None:
        """A link or a session was made by this key."""
        use = self._find(Row(kind, name, key_id.hex()))
        use.made += 1
        use.open += 1
        use.last_unix_s = self._clock()

    def end(self, kind: str, name: str, key_id: bytes) -> None:
        """A link or a session that was made by this key is gone."""
        use = self._uses.get(Row(kind, name, key_id.hex())) or self._find(Row(kind, OTHER, OTHER))
        use.open = max(0, use.open - 1)
        use.last_unix_s = self._clock()

    def mark(self, kind: str, name: str, key_id: bytes) -> None:
        """Something was made by this key of which nobody says when it is gone."""
        use = self._find(Row(kind, name, key_id.hex()))
        use.made += 1
        use.last_unix_s = self._clock()

    def all(self) -> list[KeyUse]:
        """Return how each key was used; what is there now was there last now."""
        now_unix_s = self._clock()
        for use in self._uses.values():
            if use.open:
                use.last_unix_s = now_unix_s
        return list(self._uses.values())

    def _find(self, row: Row) -> KeyUse:
        use = self._uses.get(row)
        if use is None:
            if len(self._uses) >= self._limit and row.name != OTHER:
                self._uses = {one.row: one for one in _bounded(self.all(), self._limit * 7 // 8)}
                if len(self._uses) >= self._limit:  # all of them are there
                    row = Row(row.kind, OTHER, OTHER)
            use = self._uses.setdefault(row, KeyUse(row, first_unix_s=self._clock()))
        return use


def total_uses(uses: Iterable[KeyUse], limit: int = 2 * LIMIT) -> list[KeyUse]:
    """Add up how processes of one proxy used keys; `limit` as for `KeyUses`."""
    found: dict[Row, KeyUse] = {}
    for use in uses:
        _add(found, use.row, use)
    return _bounded(list(found.values()), limit)


def past_uses(uses: Iterable[KeyUse]) -> list[KeyUse]:
    """Return what stays of a process that has ended: nothing is there any more."""
    return [KeyUse(use.row, use.made, 0, use.last_unix_s, use.first_unix_s) for use in uses]


def _bounded(uses: list[KeyUse], limit: int) -> list[KeyUse]:
    """Take those of least recent use together, but for those that are there, until so many are left."""
    if len(uses) <= limit:
        return uses
    uses.sort(key=lambda use: (use.row.name == OTHER, use.open > 0, use.last_unix_s))
    found = {use.row: use for use in uses}
    for use in uses[: len(uses) - limit]:
        if use.open or use.row.name == OTHER:
            break
        del found[use.row]
        _add(found, Row(use.row.kind, OTHER, OTHER), use)
    return list(found.values())


def _add(found: dict[Row, KeyUse], row: Row, use: KeyUse) -> None:
    known = found.setdefault(row, KeyUse(row))
    known.made += use.made
    known.open += use.open
    known.last_unix_s = max(known.last_unix_s, use.last_unix_s)
    known.first_unix_s = min(known.first_unix_s or use.first_unix_s, use.first_unix_s or known.first_unix_s)
