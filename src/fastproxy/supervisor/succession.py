"""How one program follows another in the process that owns a proxy: asked for, gone over to, taken over.

The steps stand in `upgrade`; here they take their turn with whatever else changes the proxy. A new program
that doesn't start leaves all as it was; as long as its workers don't, the former ones serve on.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

from fastproxy import __version__
from fastproxy.net.listener import StartError
from fastproxy.supervisor.door import NOBODY, Asked, RefusedError, answer
from fastproxy.supervisor.legacy import Legacy, Particulars, close_all
from fastproxy.supervisor.owned import Owned
from fastproxy.supervisor.process import WorkerError
from fastproxy.supervisor.rehearsal import tried_by
from fastproxy.supervisor.reloads import Reloads
from fastproxy.supervisor.upgrade import Belongings, become, former_crews, interpreter

_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 60.0
"""Between two attempts of a new program to have workers of its own."""

_LOG = logging.getLogger("fastproxy")


class Succession:
    """Has another program take this one's place when asked at the door, and takes that of a former one.

    Args:
        owned: the proxy. reloads: of it; those that wait are the next program's.
        known: what a former program has left, as far as it is known. asker: the connection on which the
            outcome of that upgrade is awaited.
        reap: sees which processes have ended.
    """

    def __init__(
        self,
        owned: Owned,
        reloads: Reloads,
        known: Particulars | None,
        asker: int,
        reap: Callable[[], None],
    ) -> None:
        self._owned = owned
        self._reloads = reloads
        self._known = known
        self._asker = asker
        self._reap = reap
        owned.door.register("upgrade", self._upgrade)

    async def _upgrade(self, asked: Asked) -> dict[str, Any]:
        """Become another program, which answers in the end; returns only by refusing."""
        owned = self._owned
        python = interpreter(asked)
        if owned.changing.locked():
            raise RefusedError("a reload, a diff or an upgrade is under way; ask again when it is over")
        async with owned.changing:
            _LOG.info("an upgrade begins: the new program is tried", extra={"python": python})
            try:
                snapshot_fd = await tried_by(python, owned.snapshot.file, owned.errands)
                try:
                    await self._become(python, snapshot_fd, asked.fd)
                finally:
                    os.close(snapshot_fd)
            except RefusedError as refusal:
                _LOG.warning("the upgrade is refused; all is as it was", extra={"reason": str(refusal)})
                owned.tally.upgrades["refused"] += 1
                raise
        raise AssertionError("this is the former program")

    async def _become(self, python: str, snapshot_fd: int, asker: int) -> None:
        owned = self._owned
        await owned.tally.refresh()
        assert owned.crew is not None  # there was a start
        left = await owned.console.leave()
        try:
            admin, companion = owned.snapshot.admin, owned.surroundings.companion
            what = Belongings(
                list(owned.workers.values()), owned.crew, owned.shared, owned.tally,
                (left, admin.address.text) if left and admin is not None else None,
                owned.door, owned.unknown,
                reload_is_due=self._reloads.due > 0,
                command_pid=companion.pid or 0 if companion is not None else 0,
            )  # fmt: skip
            await become(python, sys.argv[1:], snapshot_fd, what, asker, lambda: owned.is_told_to_end)
        finally:
            owned.console = owned.made_console(owned.snapshot)
            await owned.console.listen(left)

    async def take_over(self, legacy: Legacy) -> None:
        """Go on with what a former program has left. Nothing is opened or started here that could fail."""
        owned = self._owned
        owned.crew, leaving = former_crews(legacy, self._known, owned.snapshot, owned.shared, owned.loop)
        owned.unknown = legacy.others if self._known is None else ()
        await owned.crew.connect()
        await leaving.connect()
        owned.soon(owned.let_go(leaving, legacy.snapshot))
        self._reap()  # those that ended in between
        owned.console = owned.made_console(owned.snapshot)
        if legacy.admin is not None:
            admin = owned.snapshot.admin
            if admin is not None and admin.address.text == legacy.admin.address:
                await owned.console.listen([socket.socket(fileno=fd) for fd in legacy.admin.fds])
            else:
                close_all(legacy.admin.fds)
        if legacy.door is not None:
            await owned.door.adopt(legacy.door.fds[0], legacy.door.address)
        owned.tell_surroundings(owned.crew.terms.listeners)
        _LOG.info("taken over", extra={"version": __version__, "from_version": legacy.version})

    async def replace_former(self, legacy: Legacy) -> None:
        """Have workers of this program take the place of the former ones; try until they or a reload do."""
        owned = self._owned
        former, pause_s = owned.crew, _FIRST_PAUSE_S
        while owned.crew is former:
            try:
                async with owned.changing:
                    if owned.snapshot.admin is not None and not owned.console.name:
                        await owned.console.listen()
                    await owned.change(owned.snapshot, "new workers")
            except Exception as error:  # whatever it is, the former ones serve on
                words = "the new program's workers don't start; the former ones serve on"
                trace = None if isinstance(error, StartError | WorkerError | OSError) else error
                _LOG.error(words, extra={"error": str(error), "pause_s": pause_s}, exc_info=trace)
                self.tell_asker({"ok": False, "error": f"{words}, and it is tried again: {error}"})
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        close_all(owned.unknown)
        owned.unknown = ()
        assert owned.crew is not None  # there is another
        said = {"version": __version__, "from_version": legacy.version, "workers": owned.crew.terms.size}
        owned.tally.upgrades["done"] += 1
        _LOG.info("upgraded", extra=said)
        self.tell_asker({"ok": True} | said)
        if legacy.reload_is_due:
            owned.soon(self._reloads.reload_quietly())

    def tell_asker(self, said: dict[str, Any]) -> None:
        """Answer whoever waits for the upgrade that has brought this program."""
        asker, self._asker = self._asker, NOBODY
        if asker != NOBODY:
            answer(asker, said)
