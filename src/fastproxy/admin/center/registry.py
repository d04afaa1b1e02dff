"""The center's memory: who is registered under which name, until when, and in which version.

Rules:
- A registration is a lease: it ends unless it is renewed. Only one that came by the original's API, whose
  services register once and never again, lasts until it is withdrawn.
- A version belongs to the endpoints of a name. It grows whenever they change, and never goes back: not when a
  name is forgotten and comes again, and not over a restart, for which each life of the center begins above
  everything that an earlier one told.
- All is bounded. Who is registered stays so: a newcomer is refused, nobody has to go for it.
- A center that was held up holds that against nobody: the time in which nobody could renew doesn't count.

Time is an argument (monotonic, in seconds). Knows nothing of tokens, HTTP, files and the event loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from heapq import nsmallest
from math import inf
from typing import NamedTuple

from fastproxy.admin.center.names import Key, Kind
from fastproxy.admin.center.refusals import FULL, QUOTA_USED_UP, CenterError

EXPIRE_EVERY_S = 1.0
"""How often `expire` wants to be called, at least."""

_HELD_UP_S = 3 * EXPIRE_EVERY_S

Changed = Callable[[Key, int], None]
"""Is told that what is registered under a key is no longer what it was, and the version now."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be registered.

    names: names of both kinds. registrations: endpoints of all names.
    endpoints_per_name: of one name of one kind; watchers take no more than 256.
    registrations_per_owner: with one token, or, at an open center, from one address.
    """

    names: int = 4096
    registrations: int = 16_384
    endpoints_per_name: int = 256
    registrations_per_owner: int = 2048


class Registered(NamedTuple):
    """One registration.

    address: in its canonical spelling. ttl_s: how long it lasts without renewal; inf: until withdrawn.
    owner: on whose account it goes; no secret.
    """

    key: Key
    address: str
    ttl_s: float
    owner: str


class Known(NamedTuple):
    """What is known of a name: the version, and the addresses in a steady order."""

    version: int
    addresses: tuple[str, ...]


class Page(NamedTuple):
    """Some of the names: (name, number of endpoints, version), and where the next page begins."""

    names: tuple[tuple[str, int, int], ...]
    next: str | None


class _Lease:
    __slots__ = ("expires_s", "owner", "ttl_s")

    def __init__(self, ttl_s: float, owner: str, now_s: float) -> None:
        self.ttl_s = ttl_s
        self.owner = owner
        self.expires_s = now_s + ttl_s


class _Entry:
    """One name: leases by address, in the order in which they came."""

    __slots__ = ("known", "leases")

    def __init__(self) -> None:
        self.leases: dict[str, _Lease] = {}
        self.known = Known(0, ())


class Registry:
    """All names; see the module's docstring.

    Args:
        bounds: how much may be registered.
        first_version: above every version of the center's earlier lives.
        restored: what was registered when the last life ended. Each gets its full time anew, so that a
            restart cuts nobody off; more than the bounds allow is kept, and only newcomers are refused.
        now_s: monotonic time, seconds.
    """

    __slots__ = (
        "_bounds",
        "_entries",
        "_forgotten_version",
        "_next_expiry_s",
        "_owners",
        "_seen_s",
        "_total",
        "_version",
        "_watchers",
    )

    def __init__(
        self, bounds: Bounds, *, first_version: int, restored: Iterable[Registered] = (), now_s: float
    ) -> None:
        self._bounds = bounds
        self._version = first_version
        # The version of every name that isn't there. The latest at which any name went serves them all: it
        # is above all that was told of each, so that nothing has to be remembered of names that are gone.
        self._forgotten_version = first_version
        self._entries: dict[Key, _Entry] = {}
        self._owners: Counter[str] = Counter()
        self._total = 0
        self._next_expiry_s = inf  # no lease ends before
        self._seen_s = now_s
        self._watchers: list[Changed] = []
        for registered in restored:
            self._add(registered, now_s)

    def subscribe(self, changed: Changed) -> None:
        """Have changes told, from within the call that makes them."""
        self._watchers.append(changed)

    def register(self, registered: Registered, now_s: float) -> None:
        """Register an endpoint, or renew its lease.

        Raises:
            CenterError: it is new, and there is no room for it.
        """
        key, address, ttl_s, owner = registered
        entry = self._entries.get(key)
        lease = entry.leases.get(address) if entry else None
        if entry is None or lease is None:
            self._require_room(entry, owner)
            self._add(registered, now_s)
            return
        lease.expires_s = now_s + ttl_s
        self._next_expiry_s = min(self._next_expiry_s, lease.expires_s)
        if (lease.ttl_s, lease.owner) != (ttl_s, owner):
            self._settle_account(lease.owner)
            self._owners[owner] += 1
            lease.ttl_s, lease.owner = ttl_s, owner
            self._tell(key, entry.known.version)

    def deregister(self, key: Key, address: str) -> bool:
        """Withdraw a registration; return whether there was one."""
        entry = self._entries.get(key)
        if entry is None or address not in entry.leases:
            return False
        self._remove(key, entry, [address])
        return True

    def expire(self, now_s: float) -> None:
        """Let go of leases that have run out. Wants to be called every `EXPIRE_EVERY_S`."""
        held_up_s = now_s - self._seen_s
        self._seen_s = now_s
        if held_up_s > _HELD_UP_S:
            self._prolong(held_up_s)
        if now_s < self._next_expiry_s:
            return
        for key, entry in list(self._entries.items()):
            over = [address for address, lease in entry.leases.items() if lease.expires_s <= now_s]
            if over:
                self._remove(key, entry, over)
        self._next_expiry_s = min(
            (lease.expires_s for entry in self._entries.values() for lease in entry.leases.values()),
            default=inf,
        )

    def look_up(self, key: Key) -> Known:
        """Return what is known of a name; of one that isn't there, that it has no endpoints."""
        entry = self._entries.get(key)
        return entry.known if entry else Known(self._forgotten_version, ())

    def addresses_as_they_came(self, key: Key) -> tuple[str, ...]:
        """Return the addresses of a name, the first to register first."""
        entry = self._entries.get(key)
        return tuple(entry.leases) if entry else ()

    def registrations(self, key: Key) -> tuple[Registered, ...]:
        """Return all that is registered under a key."""
        entry = self._entries.get(key)
        if entry is None:
            return ()
        return tuple(
            Registered(key, address, lease.ttl_s, lease.owner) for address, lease in entry.leases.items()
        )

    def registered_keys(self) -> tuple[Key, ...]:
        """Return the keys under which something is registered."""
        return tuple(self._entries)

    def page(self, kind: Kind, *, start: str, limit: int) -> Page:
        """Return some of the names of a kind, sorted.

        Args:
            start: the least name to return, "" to begin.
            limit: at most so many.
        """
        names = nsmallest(
            limit + 1, (key.name for key in self._entries if key.kind == kind and key.name >= start)
        )
        shown = names[:limit]
        known = [self._entries[Key(kind, name)].known for name in shown]
        lines = tuple((name, len(k.addresses), k.version) for name, k in zip(shown, known, strict=True))
        return Page(lines, names[limit] if len(names) > limit else None)

    def _require_room(self, entry: _Entry | None, owner: str) -> None:
        bounds = self._bounds
        if self._owners[owner] >= bounds.registrations_per_owner:
            raise CenterError(QUOTA_USED_UP, f"registrations_per_owner is {bounds.registrations_per_owner}")
        if entry is not None and len(entry.leases) >= bounds.endpoints_per_name:
            raise CenterError(QUOTA_USED_UP, f"endpoints_per_name is {bounds.endpoints_per_name}")
        if entry is None and len(self._entries) >= bounds.names:
            raise CenterError(FULL, f"names is {bounds.names}")
        if self._total >= bounds.registrations:
            raise CenterError(FULL, f"registrations is {bounds.registrations}")

    def _add(self, registered: Registered, now_s: float) -> None:
        key, address, ttl_s, owner = registered
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry()
        lease = entry.leases[address] = _Lease(ttl_s, owner, now_s)
        self._owners[owner] += 1
        self._total += 1
        self._next_expiry_s = min(self._next_expiry_s, lease.expires_s)
        self._note_change(key, entry)

    def _remove(self, key: Key, entry: _Entry, addresses: list[str]) -> None:
        for address in addresses:
            self._settle_account(entry.leases.pop(address).owner)
        self._total -= len(addresses)
        if not entry.leases:
            del self._entries[key]
            self._forgotten_version = self._version + 1
        self._note_change(key, entry)

    def _note_change(self, key: Key, entry: _Entry) -> None:
        self._version += 1
        entry.known = Known(self._version, tuple(sorted(entry.leases)))
        self._tell(key, self._version)

    def _tell(self, key: Key, version: int) -> None:
        for changed in self._watchers:
            changed(key, version)

    def _settle_account(self, owner: str) -> None:
        self._owners[owner] -= 1
        if not self._owners[owner]:
            del self._owners[owner]

    def _prolong(self, by_s: float) -> None:
        for entry in self._entries.values():
            for lease in entry.leases.values():
                lease.expires_s += by_s
        self._next_expiry_s += by_s
