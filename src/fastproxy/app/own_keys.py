"""The private keys by which a proxy proves itself, while it runs: a file that has changed is taken, and one
that can't be used changes nothing.

Each process looks by itself, so that a worker that starts later begins with what the files hold by then.
Knows nothing of what is done about a key that came or went.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from fastproxy.app.callers import LOOK_EVERY_S
from fastproxy.config.key_files import FoundKeys, KeyReader
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import OwnKey
from fastproxy.telemetry.key_uses import OWN, KeyUses
from fastproxy.wire.identity import PrivateKey

_LOG = logging.getLogger("fastproxy.keys")

TakeKeys = Callable[[frozenset[str]], None]
"""Is told the names whose keys are others than before."""


class _Source(NamedTuple):
    """A key of the config. reader: of its file; None where there is none to look at again."""

    name: str
    secrets: tuple[Secret, ...]
    reader: KeyReader | None


class OwnKeys:
    """The private keys of one proxy: those of its callers, or of the one receiver that it is.

    have_changed: whether any of them is another one than at the start.

    Args:
        own_keys: as the config names them.
        uses: counts what is proven by them.
        holds_neighbours: whether the keys beside a file prove its name as well, as those of a receiver do.
    """

    def __init__(self, own_keys: Iterable[OwnKey], uses: KeyUses, *, holds_neighbours: bool) -> None:
        self._uses = uses
        self._sources = [
            _Source(
                own.name,
                own.secrets,
                None
                if own.file is None
                else KeyReader(own.file, with_neighbours=holds_neighbours, known=own.secrets),
            )
            for own in own_keys
        ]
        self.have_changed = False
        self._takers: list[TakeKeys] = []
        self._troubles: frozenset[tuple[str, str]] = frozenset()
        self._found: Sequence[FoundKeys] = ()
        self._keys: Mapping[str, tuple[PrivateKey, ...]] = {}
        self._take([FoundKeys(source.secrets, ()) for source in self._sources])
        self._take(self._read(time.time_ns()))  # a few small files, before anything waits for this process

    @property
    def is_lasting(self) -> bool:
        """Whether nothing will ever change."""
        return not any(source.reader for source in self._sources)

    @property
    def names(self) -> frozenset[str]:
        """Whose keys these are."""
        return frozenset(self._keys)

    def all_of(self, name: str) -> tuple[PrivateKey, ...]:
        """Return the keys by which a name is proven now, the one in use first; none where it has none."""
        return self._keys.get(name, ())

    def current(self, name: str) -> PrivateKey:
        """Return the key in use of a name that has one."""
        return self._keys[name][0]

    def use(self, name: str) -> PrivateKey:
        """Return the key in use of a name, to make a session with, and count that."""
        key = self._keys[name][0]
        self._uses.mark(OWN, name, key.key_id)
        return key

    def on_change(self, take: TakeKeys) -> None:
        """Have somebody told whenever keys are others than before."""
        self._takers.append(take)

    async def watch(self) -> None:
        """Look again and again; runs until it is cancelled."""
        while not self.is_lasting:
            await asyncio.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Look at the files once."""
        changed = self._take(await asyncio.to_thread(self._read, time.time_ns()))
        if not changed:
            return
        self.have_changed = True
        for take in self._takers:
            take(changed)
        for name in sorted(changed):
            ids = [key.key_id.hex() for key in self._keys[name]]
            _LOG.info("private keys have changed", extra={"owner": name, "key_id": ids[0], "key_ids": ids})

    def _read(self, now_unix_ns: int) -> Sequence[FoundKeys]:
        return [
            FoundKeys(source.secrets, ()) if source.reader is None else source.reader.read(now_unix_ns)
            for source in self._sources
        ]

    def _take(self, found: Sequence[FoundKeys]) -> frozenset[str]:
        """Know these keys from now on; return whose keys are others than before."""
        if found == self._found:
            return frozenset()
        keys: dict[str, dict[bytes, PrivateKey]] = {}
        for source, one in zip(self._sources, found, strict=True):
            of_name = keys.setdefault(source.name, {})
            for secret in one.secrets:
                key = PrivateKey(secret.reveal())
                of_name.setdefault(key.public_key, key)
        shared = _shared(keys)
        self._tell((*(trouble for one in found for trouble in one.troubles), *shared))
        if shared:  # a name that proved another would be worse than keys that stay as they were
            return frozenset()
        self._found = found
        before, self._keys = self._keys, {name: tuple(of_name.values()) for name, of_name in keys.items()}
        return frozenset(name for name, now in self._keys.items() if _ids(now) != _ids(before.get(name, ())))

    def _tell(self, troubles: Iterable[tuple[str, str]]) -> None:
        """Say what is wrong with files, once for as long as it stays the same."""
        now = frozenset(troubles)
        for message, advice in sorted(now - self._troubles):
            _LOG.warning("a private key stays as it was", extra={"detail": message, "advice": advice})
        self._troubles = now


def _shared(keys: Mapping[str, Mapping[bytes, PrivateKey]]) -> tuple[tuple[str, str], ...]:
    """Say which names have a key in common."""
    owners: dict[bytes, str] = {}
    return tuple(
        (f"{name} and {owners[public_key]} have the same key", "one key belongs to one name: make another")
        for name, of_name in keys.items()
        for public_key in of_name
        if owners.setdefault(public_key, name) != name
    )


def _ids(keys: Iterable[PrivateKey]) -> list[bytes]:
    return [key.key_id for key in keys]
