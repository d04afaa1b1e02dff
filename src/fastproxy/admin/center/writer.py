"""Carries changes of the registry to its file, in batches, off the event loop.

What changed is noted by name, and each name is written as it is when its turn comes: a name that changes a
hundred times between two batches is written once, and a heartbeat that changes nothing not at all. A failure
loses nothing: the batch is tried again, while the registry goes on from memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from fastproxy.admin.center.names import Key
from fastproxy.admin.center.registry import Registry
from fastproxy.admin.center.store import Store, StoreError

_MOST_NOTED = 10_000
"""Names noted while the disk doesn't keep up; beyond, everything is written anew instead."""

_log = logging.getLogger("fastproxy.center")


class StoreWriter:
    """Keeps a file up to date with a registry.

    Args:
        store: the file; closed with the writer.
        registry: what is registered.
        pause_s: from the first change to the batch that writes it, in seconds; also before another try.
    """

    __slots__ = (
        "_all_changed",
        "_changed",
        "_closing",
        "_failed",
        "_keeper",
        "_pause_s",
        "_registry",
        "_store",
        "_woken",
    )

    def __init__(self, store: Store, registry: Registry, *, pause_s: float = 0.5) -> None:
        self._store = store
        self._registry = registry
        self._pause_s = pause_s
        self._changed: set[Key] = set()
        self._all_changed = False
        self._failed = False
        self._woken = asyncio.Event()
        self._closing = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        registry.subscribe(self._note)

    def start(self) -> None:
        """Write changes from now on."""
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Write what is left, and let go of the file."""
        self._closing.set()
        self._woken.set()
        if self._keeper is not None:
            await self._keeper
        await asyncio.to_thread(self._store.close)

    def _note(self, key: Key, version: int) -> None:
        if len(self._changed) < _MOST_NOTED:
            self._changed.add(key)
        else:
            self._all_changed = True
        self._woken.set()

    async def _keep(self) -> None:
        while True:
            await self._woken.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), self._pause_s)
            is_last = self._closing.is_set()
            await self._write()
            if is_last:
                return

    async def _write(self) -> None:
        self._woken.clear()
        changed, self._changed = self._changed, set()
        all_changed, self._all_changed = self._all_changed, False
        keys = self._registry.registered_keys() if all_changed else changed
        batch = {key: self._registry.registrations(key) for key in keys}
        try:
            await asyncio.to_thread(self._store.write, batch, replaces_all=all_changed)
        except StoreError as error:
            self._changed |= changed
            self._all_changed |= all_changed
            self._woken.set()
            if not self._failed:
                _log.error(
                    "what is registered can't be written; it is tried again", extra={"reason": str(error)}
                )
            self._failed = True
            return
        if self._failed:
            _log.info("what is registered is written again")
        self._failed = False
