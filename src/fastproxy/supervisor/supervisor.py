"""A proxy from its start to its end, as seen by the process that owns it.

    start    load the config, bind, have the workers take connections, say so
    reload   at SIGHUP, at a command, or when the file has changed (`reloads`)
    upgrade  at a command: become another program, which goes on with all that there is (`succession`)
    end      at SIGTERM or SIGINT: be not ready, let the workers drain, say so; at the second, cut them off;
             with a command, the signal is its, and its end is what drains

One thing at a time: what is asked for during a change is done after it. What fails leaves all as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from fastproxy import __version__
from fastproxy.config.snapshot import Snapshot
from fastproxy.net.listener import StartError
from fastproxy.supervisor.door import NOBODY, Asked
from fastproxy.supervisor.legacy import Legacy, particulars_of, release_signals
from fastproxy.supervisor.owned import Owned
from fastproxy.supervisor.process import WorkerError
from fastproxy.supervisor.reloads import Reloads
from fastproxy.supervisor.succession import Succession
from fastproxy.supervisor.surroundings import Surroundings
from fastproxy.supervisor.terms import inherited_listeners, terms_for
from fastproxy.supervisor.watch import FileWatch

if TYPE_CHECKING:
    from fastproxy.admin.api.api import Api
    from fastproxy.supervisor.overview import Overview

LOOK_EVERY_S = 1.0
"""How often workers are looked at, and asked what they have counted."""

_HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

_LOG = logging.getLogger("fastproxy")


class Supervisor:
    """A proxy with its workers.

    Args:
        snapshot: the config that it begins with. load: loads it anew; raises ConfigError.
        surroundings: those outside who depend on it. loop: the event loop.
        legacy: what a former program has left; None for a proxy that begins.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        load: Callable[[], Snapshot],
        surroundings: Surroundings,
        loop: asyncio.AbstractEventLoop,
        legacy: Legacy | None = None,
    ) -> None:
        known = None if legacy is None else particulars_of(legacy)
        self._legacy = legacy
        self._owned = owned = Owned(snapshot, surroundings, loop, known)
        self._reloads = Reloads(owned, load)
        asker = NOBODY if legacy is None else legacy.asker
        self._succession = Succession(owned, self._reloads, known, asker, self._reap)
        owned.make_api = self._make_api
        owned.door.register("exchange", self._tell_of_exchange)
        self._file = FileWatch(snapshot.file)
        self._stop = asyncio.Event()
        self._cut = asyncio.Event()

    async def run(self) -> None:
        """Start the proxy, keep it, and drain it when a signal says so.

        Raises:
            StartError: it can't start.
        """
        owned = self._owned
        for signum, do in (
            (signal.SIGTERM, partial(self._stop_or_cut, signal.SIGTERM)),
            (signal.SIGINT, partial(self._stop_or_cut, signal.SIGINT)),
            (signal.SIGHUP, lambda: owned.soon(self._reloads.reload_quietly())),
            (signal.SIGCHLD, self._reap),
        ):
            owned.loop.add_signal_handler(signum, do)
        if owned.surroundings.companion is not None:
            owned.surroundings.companion.on_end(self._stop.set)
        await owned.changing.acquire()  # whoever wants a change waits until there is something to change
        if self._legacy is not None:
            await self._succession.take_over(self._legacy)
            release_signals()  # now there is a proxy to reload or end, and who has ended is known
        elif not await self._has_started():
            return
        owned.changing.release()
        tasks = [owned.loop.create_task(self._watch())]
        if self._legacy is not None:
            tasks.append(owned.loop.create_task(self._succession.replace_former(self._legacy)))
        living = owned.loop.create_task(owned.surroundings.manager.keep_alive(self._is_fine))
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await owned.door.close()
        await asyncio.wait(tasks)
        self._succession.tell_asker({"ok": False, "error": "the proxy ends"})
        await self._drain()
        living.cancel()
        # The loop is about to close, and a signal would write to what is closed by then.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)

    async def _has_started(self) -> bool:
        """Start; return False where a signal to end came before that was done."""
        owned = self._owned
        starting = owned.loop.create_task(self._start())
        stopping = owned.loop.create_task(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
            return False
        starting.result()
        return True

    async def _start(self) -> None:
        owned = self._owned
        snapshot = owned.snapshot
        owned.console = owned.made_console(snapshot)
        listeners = inherited_listeners(snapshot, *owned.surroundings.inherited)
        terms = terms_for(snapshot, owned.shared.inboxes, listeners, None)
        await owned.console.listen(owned.surroundings.inherited.admin)
        try:
            owned.crew = await owned.started(terms)
        except WorkerError as error:
            raise StartError(str(error)) from error
        await owned.tally.refresh()  # so that nobody is told that it may get traffic before that is known
        owned.tell_surroundings(terms.listeners)
        await owned.door.open()
        _LOG.info(
            "ready",
            extra={
                "role": owned.tally.role,
                "proxy": snapshot.config.name,
                "listen": terms.listeners.name,
                "admin": owned.console.name,
                "workers": terms.size,
                "version": __version__,
            },
        )

    # --- the end ----------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        owned = self._owned
        owned.is_draining = True
        async with owned.changing:
            crew = owned.crew
            assert crew is not None  # there was a start
            delay_s = owned.snapshot.config.drain.delay_s
            _LOG.info(
                "draining",
                extra={
                    "connections": sum(worker.slot.connections for worker in owned.workers.values()),
                    "delay_s": delay_s,
                    "grace_s": crew.terms.grace_s,
                },
            )
            owned.surroundings.draining()
            # Who sends traffic here needs that long to see that it is over.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cut.wait(), delay_s)
            crew.terms.listeners.close()  # the workers have them still: who came last is theirs to answer
            await crew.drain(is_last=True)
        while owned.tasks:
            await asyncio.wait(owned.tasks)
        owned.console.close()
        _LOG.info("stopped")

    def _stop_or_cut(self, signum: int) -> None:
        owned = self._owned
        if not owned.is_told_to_end:
            owned.is_told_to_end = True
            if not owned.surroundings.pass_on(signum):
                self._stop.set()
            return
        _LOG.warning("told twice to end; what is under way is cut off")
        self._cut.set()
        owned.surroundings.pass_on(signal.SIGKILL)
        if owned.crew is not None:
            owned.crew.leave()
        for worker in owned.workers.values():
            worker.kill()

    def _end_if_not_told(self) -> bool:
        """End as at SIGTERM; returns whether it was told so before, and then does nothing."""
        was_told = self._owned.is_told_to_end
        if not was_told:
            self._stop_or_cut(signal.SIGTERM)
        return was_told

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:  # whatever it is: workers that nobody looks after could hang unseen
                _LOG.exception("looking after the workers has failed; it is tried again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        owned = self._owned
        assert owned.crew is not None  # there was a start
        owned.crew.look()
        if self._file.has_changed() and owned.snapshot.config.watch:
            owned.soon(self._reloads.reload_quietly())
        owned.tell_if_alone()
        await owned.levels.look()
        await owned.tally.look()
        owned.surroundings.look(owned.not_ready())

    def _is_fine(self) -> bool:
        owned = self._owned
        return owned.is_draining or (owned.crew is not None and owned.crew.is_fine)

    # --- the API of the admin address -------------------------------------------------------------------

    def _make_api(self) -> Api:
        from fastproxy.supervisor.overview import api_of  # noqa: PLC0415 - for those who ask

        return api_of(self._overview())

    async def _tell_of_exchange(self, asked: Asked) -> dict[str, Any]:
        from fastproxy.supervisor.overview import at_the_door as exchange_of  # noqa: PLC0415 - as above

        return await exchange_of(self._overview(), asked)

    def _overview(self) -> Overview:
        from fastproxy.supervisor.overview import Overview, Standing  # noqa: PLC0415 - as above

        owned = self._owned
        standing = Standing(
            owned.workers.values,
            owned.gone,
            owned.tally,
            owned.levels,
            lambda: owned.snapshot,
            owned.not_ready,
            self._reloads.reload,
            self._reloads.preview,
            self._end_if_not_told,
        )
        return Overview(standing)

    # --- processes --------------------------------------------------------------------------------------

    def _reap(self) -> None:
        """See which processes have ended; as the first process of a container, those of strangers as well."""
        owned = self._owned
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                exit_status = os.waitstatus_to_exitcode(status)
                worker = owned.workers.get(pid)
                companion = owned.surroundings.companion
                if worker is not None:
                    worker.reaped(exit_status)
                elif companion is not None and companion.pid == pid:
                    companion.reaped(exit_status)
                else:
                    owned.errands.reaped(pid, exit_status)
