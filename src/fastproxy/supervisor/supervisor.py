"""A proxy from its start to its end, as seen by the process that owns it.

    start    load the config, bind, have the workers take connections, say so
    change   at SIGHUP: load the config anew, have new workers take connections, let the old ones drain
    end      at SIGTERM or SIGINT: be not ready, let the workers drain, say so; at the second one, cut them off

One thing at a time: what is asked for during a change is done after it. What fails leaves all as it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Callable

from fastproxy import __version__
from fastproxy.config.snapshot import InSnapshot, Snapshot
from fastproxy.control import board, handover
from fastproxy.control.board import Board
from fastproxy.net.listener import StartError
from fastproxy.supervisor.console import Console
from fastproxy.supervisor.cores import usable_cores
from fastproxy.supervisor.crew import Crew, Shared, Terms
from fastproxy.supervisor.listeners import Listeners
from fastproxy.supervisor.process import WorkerError, WorkerProcess
from fastproxy.supervisor.slots import Slots
from fastproxy.supervisor.tally import Tally

LOOK_EVERY_S = 1.0
"""How often workers are looked at, and asked what they have counted."""

_LOG = logging.getLogger("fastproxy")


class Supervisor:
    """A proxy with its workers.

    Args:
        snapshot: the config that it begins with. load: loads it anew; raises ConfigError.
        loop: the event loop.
    """

    def __init__(
        self, snapshot: Snapshot, load: Callable[[], Snapshot], loop: asyncio.AbstractEventLoop
    ) -> None:
        self._load = load
        self._loop = loop
        self._snapshot = snapshot
        self._workers: dict[int, WorkerProcess] = {}  # by the ids of their processes
        self._tally = Tally("in" if isinstance(snapshot, InSnapshot) else "out", lambda: self._workers.values())
        self._listeners = Listeners(snapshot.listen, int(snapshot.config.listen.socket_mode, 8))
        board_fd = board.make()
        self._shared = Shared(
            board_fd, Board(board_fd), Slots(), self._listeners, self._began, self._ended
        )  # fmt: skip
        self._crew: Crew | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._is_draining = False
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Start the proxy, keep it, and drain it when a signal says so.

        Raises:
            StartError: it can't start.
        """
        for signum, do in (
            (signal.SIGTERM, self._stop_or_cut),
            (signal.SIGINT, self._stop_or_cut),
            (signal.SIGCHLD, self._reap),
        ):
            self._loop.add_signal_handler(signum, do)
        starting = self._loop.create_task(self._start())
        stopping = self._loop.create_task(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            return
        starting.result()
        watching = self._loop.create_task(self._watch())
        await stopping
        watching.cancel()
        await self._drain()

    async def _start(self) -> None:
        snapshot = self._snapshot
        count = snapshot.config.workers or usable_cores()
        self._listeners.open(count)
        self._console = Console(snapshot, self._tally, self._not_ready, self._loop)
        admin = await self._console.listen()
        terms = Terms(handover.put(snapshot), count, snapshot.config.drain.grace_s)
        crew = Crew(terms, self._shared, self._loop)
        try:
            await crew.start()
        except WorkerError as error:
            raise StartError(str(error)) from error
        self._crew = crew
        _LOG.info(
            "ready",
            extra={
                "role": self._tally.role,
                "proxy": snapshot.config.name,
                "listen": self._listeners.name,
                "admin": admin,
                "workers": count,
                "version": __version__,
            },
        )

    async def _drain(self) -> None:
        crew = self._crew
        assert crew is not None  # there was a start
        self._is_draining = True
        _LOG.info(
            "draining",
            extra={
                "connections": sum(worker.slot.connections for worker in self._workers.values()),
                "grace_s": crew.terms.grace_s,
            },
        )
        await crew.drain()
        if self._leaving:
            await asyncio.wait(self._leaving)
        self._listeners.close()
        self._console.close()
        _LOG.info("stopped")

    def _stop_or_cut(self) -> None:
        if not self._stop.is_set():
            self._stop.set()
            return
        _LOG.warning("told twice to end; what is under way is cut off")
        for worker in self._workers.values():
            worker.kill()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            assert self._crew is not None  # there was a start
            self._crew.look()
            await self._tally.refresh()

    def _not_ready(self) -> str:
        if self._is_draining:
            return "draining"
        if self._crew is None or not self._crew.is_ready:
            return "no worker is ready"
        return self._tally.not_ready

    # --- processes --------------------------------------------------------------------------------------

    def _began(self, worker: WorkerProcess) -> None:
        self._workers[worker.pid] = worker

    def _ended(self, worker: WorkerProcess, status: int) -> None:
        self._tally.keep(worker, status)

    def _reap(self) -> None:
        """See which processes have ended; as the first process of a container, those of strangers as well."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                worker = self._workers.pop(pid, None)
                if worker is not None:
                    worker.reaped(os.waitstatus_to_exitcode(status))
