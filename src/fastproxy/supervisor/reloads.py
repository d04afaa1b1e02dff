"""Another config in place of the one that a proxy runs by, or a look at what that would change.

Loaded anew; where the workers can, they go on with it, else new ones take connections and the former ones
drain. One at a time, and never in the middle of an upgrade; what fails leaves all as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial

from fastproxy.config.changes import changes
from fastproxy.config.problem import ConfigError
from fastproxy.config.snapshot import Snapshot
from fastproxy.control import handover
from fastproxy.net.listener import StartError
from fastproxy.supervisor.console import Console
from fastproxy.supervisor.owned import Owned
from fastproxy.supervisor.process import WorkerError
from fastproxy.supervisor.reloading import Reloaded, ReloadError, at_the_door, way_to
from fastproxy.telemetry import log

_SHOWN = 50
"""Changes that the log names at most."""

_LOG = logging.getLogger("fastproxy")


class Reloads:
    """Reloads a proxy; at the door as well.

    due: how many wait for their turn.

    Args:
        owned: the proxy. load: loads its config anew; raises ConfigError.
    """

    def __init__(self, owned: Owned, load: Callable[[], Snapshot]) -> None:
        self._owned = owned
        self._load = load
        self.due = 0
        owned.door.register("reload", partial(at_the_door, self.reload))
        owned.door.register("diff", partial(at_the_door, self.preview))

    async def reload(self) -> Reloaded:
        """Load the config anew and go on with it; once begun it isn't given up, whoever waits for it no more.

        Raises:
            ReloadError: it can't be used; all is as it was.
        """
        return await asyncio.shield(self._owned.soon(self._reload_in_turn()))

    async def _reload_in_turn(self) -> Reloaded:
        self.due += 1
        async with self._owned.changing:
            self.due -= 1
            if self._owned.is_draining:
                raise ReloadError(["the proxy ends"])
            self._owned.surroundings.manager.reloading()
            try:
                reloaded = await self._reload()
            except ReloadError as error:
                self._owned.surroundings.manager.ready("a new config is refused; the former one serves on")
                self._owned.tally.reloads["refused"] += 1
                words = "the new config is refused; the former one serves on"
                _LOG.error(words, extra={"problems": error.problems})
                raise
            self._owned.surroundings.manager.ready("serves by the new config")
            self._owned.tally.note_reload()
            _LOG.info(
                "reloaded",
                extra={"how": reloaded.how, "changes": [change.path for change in reloaded.changes][:_SHOWN]},
            )
            return reloaded

    async def preview(self) -> Reloaded:
        """Return what a reload would do, against the config that is there when those before it are through.

        Raises:
            ReloadError: it would refuse the config.
        """
        return await asyncio.shield(self._owned.soon(self._preview_in_turn()))

    async def _preview_in_turn(self) -> Reloaded:
        async with self._owned.changing:
            if self._owned.is_draining:
                raise ReloadError(["the proxy ends"])
            snapshot = await self._loaded()
            found = await asyncio.to_thread(changes, self._owned.snapshot, snapshot)
            return Reloaded(way_to(snapshot, found), found)

    async def _loaded(self) -> Snapshot:
        try:
            return await asyncio.to_thread(self._load)
        except ConfigError as error:
            raise ReloadError([str(problem) for problem in error.problems]) from error
        except OSError as error:
            raise ReloadError([f"the config can't be read: {error}; raise the limit that says so"]) from error

    async def _reload(self) -> Reloaded:
        snapshot = await self._loaded()
        found = await asyncio.to_thread(changes, self._owned.snapshot, snapshot)
        assert self._owned.crew is not None  # there was a start
        way = "new workers" if self._owned.crew.is_former else way_to(snapshot, found)
        if way == "nothing":
            return Reloaded(way, found)
        console = self._owned.console
        try:
            if snapshot.admin != self._owned.snapshot.admin:
                console = self._owned.made_console(snapshot)
                await console.listen()
            await self._owned.change(snapshot, way)
        except (StartError, WorkerError, OSError) as error:
            if console is not self._owned.console:
                console.close()
            raise ReloadError([str(error)]) from error
        if console is not self._owned.console:
            console, self._owned.console = self._owned.console, console
            self._owned.soon(_close(console))
        self._owned.snapshot = snapshot
        newer = handover.content(self._owned.crew.terms.snapshot_fd)
        await asyncio.gather(*(crew.narrow(newer) for crew in self._owned.leaving))
        log.setup(snapshot.config.log.level, snapshot.config.log.format)
        self._owned.levels.forget()
        for warning in (*snapshot.warnings, *snapshot.lapsed):
            _LOG.warning(str(warning))
        return Reloaded(way, found)

    async def reload_quietly(self) -> None:
        """Reload where nobody waits for the outcome."""
        with contextlib.suppress(ReloadError):  # the log has it
            await self.reload()


async def _close(console: Console) -> None:
    """Have a console answer those that are here, the one who asked for this among them, and close it."""
    for sock in await console.leave():
        sock.close()
