"""The callers of an in proxy while it runs: who comes to the folder of callers is known, who goes from it or
whose keys pass their date is not; all without a restart.

Dates hold whatever becomes of the folder: while it is being read, and when it can't be.
Knows nothing of what is done about a caller that came or went.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from fnmatch import fnmatchcase

from msgspec.structs import replace

from fastproxy.app.key_dates import KeyDates
from fastproxy.config.callers_dir import CallersReader, FolderCallers
from fastproxy.config.keys import KeyMaterialError
from fastproxy.config.snapshot import InSnapshot, Peer

LOOK_EVERY_S = 0.5
"""How often dates, and files with keys and certificates, are looked at: who is not to be known any more is
cut within a second."""

_LOG = logging.getLogger("fastproxy.callers")

TakeCallers = Callable[[Sequence[Peer]], Awaitable[None]]


class KnownCallers:
    """Keeps up with who proves to be a caller, by which keys.

    counting: all callers with the keys that count now, those of the config first.

    Args:
        snapshot: the config, with the callers that stand in it and those that the folder held then.
        dates: knows which keys count, and tells of those that end.
    """

    def __init__(self, snapshot: InSnapshot, dates: KeyDates) -> None:
        source = snapshot.callers_dir
        self._reader = None if source is None else CallersReader(source)
        self._fixed = [peer for peer in snapshot.callers.values() if peer.line]
        self._peers: Sequence[Peer] = tuple(snapshot.callers.values())
        self._dates = dates
        self._takers: list[TakeCallers] = []
        self._reading: asyncio.Task[FolderCallers] | None = None
        self._found: Mapping[str, Peer] = {}
        self._troubles: tuple[tuple[str, str], ...] = ()
        self.counting = dates.counting(self._peers)

    @property
    def is_lasting(self) -> bool:
        """Whether nothing will ever change."""
        return self._reader is None and not any(peer.key_dates for peer in self._peers)

    def on_change(self, take: TakeCallers) -> None:
        """Have somebody get all callers whenever they have changed."""
        self._takers.append(take)

    async def watch(self) -> None:
        """Look again and again; runs until it is cancelled."""
        while not self.is_lasting:  # at once: the config may be of a time when others stood in the folder
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Look at the folder and the dates once."""
        if self._reader is not None:
            await self._look_into(self._reader)
        await self._take()

    async def _take(self) -> None:
        """Look at the dates, and have whoever wants to know get the callers if they have changed."""
        before, self.counting = self.counting, self._dates.counting(self._peers)
        if self.counting is before:
            return
        keys = {peer.name: peer.public_keys for peer in before}
        names = {peer.name for peer in self.counting}
        extra = {
            "callers": len(names),
            "gone": sorted(keys.keys() - names),
            "came": sorted(names - keys.keys()),
        }
        for take in self._takers:
            await take(self.counting)
        _LOG.info("callers have changed", extra=extra)

    async def _look_into(self, reader: CallersReader) -> None:
        """Read the folder. Meanwhile dates are looked at, however long a file system takes to answer."""
        if self._reading is None:
            self._reading = asyncio.create_task(asyncio.to_thread(reader.read, time.time_ns()))
        while not (await asyncio.wait((self._reading,), timeout=LOOK_EVERY_S))[0]:
            await self._take()
        reading, self._reading = self._reading, None
        try:
            found = reading.result()
        except KeyMaterialError as error:
            self._tell(((error.message, "the callers stay as they were until it can be read"),))
            return
        self._tell(found.troubles)
        if found.callers is not self._found:
            self._found = found.callers
            peers = (*self._fixed, *found.callers.values())
            self._peers = self._peers if peers == self._peers else peers

    def _tell(self, troubles: tuple[tuple[str, str], ...]) -> None:
        """Say what is wrong with files, once for as long as it stays the same."""
        for message, advice in troubles:
            if (message, advice) not in self._troubles:
                _LOG.warning(
                    "a caller of the folder is not known", extra={"detail": message, "advice": advice}
                )
        self._troubles = troubles


def with_callers(snapshot: InSnapshot, callers: Sequence[Peer]) -> InSnapshot:
    """Return a config as it is with these callers; the patterns of its privileges are matched anew."""
    over_compat = () if snapshot.compat is None else tuple(snapshot.compat.callers)
    names = (*(peer.name for peer in callers), *over_compat)
    grants = []
    for grant in snapshot.grants:
        globs = snapshot.config.privileges[grant.index].callers
        granted = tuple(name for name in names if any(fnmatchcase(name, glob) for glob in globs))
        grants.append(replace(grant, callers=granted))
    return replace(
        snapshot, callers={peer.name: peer for peer in callers}, caller_names=names, grants=tuple(grants)
    )
