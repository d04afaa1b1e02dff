"""The callers of `callers_dir` while an in proxy runs: who comes to the folder is known, who goes from it
is not, both without a restart.

Knows nothing of what is done about a caller that came or went.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from fastproxy.config.callers_dir import CallersReader
from fastproxy.config.keys import KeyMaterialError
from fastproxy.config.snapshot import CallersDir, InSnapshot, Peer

LOOK_EVERY_S = 0.5
"""How often files with keys and certificates are looked at: what is revoked there is cut within a second."""

_LOG = logging.getLogger("fastproxy.callers")

TakeCallers = Callable[[Sequence[Peer]], Awaitable[None]]


class CallersFolder:
    """Keeps up with a folder of callers.

    Args:
        snapshot: the config, with the callers that stand in it and those that the folder held then.
        source: the folder.
        take: gets all callers whenever they have changed, those of the config first.
    """

    def __init__(self, snapshot: InSnapshot, source: CallersDir, take: TakeCallers) -> None:
        self._reader = CallersReader(source)
        self._fixed = [peer for name, peer in snapshot.callers.items() if name in snapshot.config.callers]
        self._take = take
        self._keys = {name: peer.public_keys for name, peer in snapshot.callers.items()}
        self._troubles: tuple[tuple[str, str], ...] = ()

    async def watch(self) -> None:
        """Look at it again and again; runs until it is cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await self._look()

    async def _look(self) -> None:
        try:
            found = await asyncio.to_thread(self._reader.read, time.time_ns())
        except KeyMaterialError as error:
            self._tell(((error.message, "the callers stay as they were until it can be read"),))
            return
        self._tell(found.troubles)
        peers = [*self._fixed, *(Peer(name, keys, "", None, 0) for name, keys in found.public_keys.items())]
        keys = {peer.name: peer.public_keys for peer in peers}
        if keys != self._keys:
            gone = sorted(self._keys.keys() - keys.keys())
            came = sorted(keys.keys() - self._keys.keys())
            self._keys = keys
            await self._take(peers)
            _LOG.info("callers have changed", extra={"callers": len(keys), "gone": gone, "came": came})

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
