"""What the process that owns a proxy has of it, whatever is done with it: started, reloaded, upgraded, ended.

Whoever changes any of it holds `changing`. Knows nothing of when or why that is.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from fastproxy.config.snapshot import InSnapshot, Snapshot
from fastproxy.control import board, handover
from fastproxy.control.board import Board
from fastproxy.control.messages import ACCOMPANIED, ALONE
from fastproxy.supervisor.console import Console
from fastproxy.supervisor.crew import Crew, Shared, Terms
from fastproxy.supervisor.door import Door
from fastproxy.supervisor.errands import Errands
from fastproxy.supervisor.inboxes import Inboxes
from fastproxy.supervisor.legacy import Particulars
from fastproxy.supervisor.listeners import Listeners
from fastproxy.supervisor.log_level import LogLevels
from fastproxy.supervisor.process import WorkerProcess
from fastproxy.supervisor.slots import Slots
from fastproxy.supervisor.surroundings import Place, Surroundings
from fastproxy.supervisor.tally import Tally
from fastproxy.supervisor.terms import close_new, terms_for

if TYPE_CHECKING:
    from fastproxy.admin.api.api import Api
    from fastproxy.admin.profiles import Profiles

_GONE = 4
"""Workers that have ended whose failures are kept; of each 256 KiB at most."""

_Done = TypeVar("_Done")


class Owned:
    """A proxy, as its owner has it.

    snapshot: its config now. surroundings: those outside who depend on it. loop: the event loop.
    workers: all that there are, by the ids of their processes. tally: what they have counted.
    crew: the workers that serve, once it has started. leaving: those of former configs, while they drain.
    shared: what all of them share. unknown: what holds former workers whose format nobody here knows.
    console: what listens at the admin address. make_api: makes what answers there below `/api/`, when first
        asked for. door: for commands.
    levels: how much is logged. gone: what workers that have ended kept of failures.
    errands: processes for a while. tasks: what is done to its end. changing: held by who changes any of it.
    is_told_to_end, is_draining: how far its end has come.

    Args:
        snapshot, surroundings, loop: as above. known: what a former program has left, as far as it is known.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        surroundings: Surroundings,
        loop: asyncio.AbstractEventLoop,
        known: Particulars | None,
    ) -> None:
        self.snapshot = snapshot
        self.surroundings = surroundings
        self.loop = loop
        self.workers: dict[int, WorkerProcess] = {}
        self.tally = Tally(
            "in" if isinstance(snapshot, InSnapshot) else "out",
            self.workers.values,
            None if known is None else known.tally,
        )
        board_fd = board.make() if known is None else known.board
        inboxes = Inboxes(() if known is None else known.inboxes)
        self.shared = Shared(board_fd, Board(board_fd), Slots(), inboxes, self._began, self._ended)
        self.crew: Crew | None = None
        self.leaving: set[Crew] = set()
        self.unknown: tuple[int, ...] = ()
        self.console: Console
        self.make_api: Callable[[], Api]
        self.levels = LogLevels(self.workers.values)
        self.gone: deque[bytes] = deque(maxlen=_GONE)
        self.door = Door()
        self.errands = Errands(loop)
        self.tasks: set[asyncio.Task[Any]] = set()
        self.changing = asyncio.Lock()
        self.is_told_to_end = False
        self.is_draining = False

    def tell_surroundings(self, listeners: Listeners) -> None:
        """Say where connections are taken."""
        name = self.snapshot.config.name
        self.surroundings.serving(Place(name, self.tally.role, listeners.name, self.console.name))

    async def started(self, terms: Terms) -> Crew:
        """Start workers.

        Raises:
            WorkerError: they can't begin.
        """
        crew = Crew(terms, self.shared, self.loop)
        await crew.start()
        return crew

    async def change(self, snapshot: Snapshot, way: str) -> None:
        """Have a config served; see `reloading.way_to`.

        Raises:
            StartError, WorkerError, OSError: it can't be; all is as it was.
        """
        crew = self.crew
        assert crew is not None  # there was a start
        terms = terms_for(snapshot, self.shared.inboxes, crew.terms.listeners, crew.terms.ledger)
        former_fd = crew.terms.snapshot_fd
        try:
            if way == "in place":
                await crew.change(terms)
                os.close(former_fd)
            else:
                self.crew = await self.started(terms)
                self.soon(self._retire(crew))
        except BaseException:
            close_new(terms, crew.terms)
            raise

    async def _retire(self, crew: Crew) -> None:
        """Let the workers of a former config drain."""
        assert self.crew is not None  # another is there
        is_last = crew.terms.listeners is not self.crew.terms.listeners
        if is_last:
            crew.terms.listeners.close()  # the workers have them still
        await self.let_go(crew, self.crew.terms.snapshot_fd, is_last=is_last)
        os.close(crew.terms.snapshot_fd)
        if crew.terms.ledger is not self.crew.terms.ledger:
            crew.terms.ledger.close()

    async def let_go(self, crew: Crew, newer_fd: int, *, is_last: bool = False) -> None:
        """Let workers drain, by whom a newer config trusts, which lies in this memory, and those after it."""
        crew.leave()
        self.leaving.add(crew)
        await crew.narrow(handover.content(newer_fd))
        await crew.drain(is_last=is_last)
        self.leaving.discard(crew)

    def soon(self, work: Coroutine[Any, Any, _Done]) -> asyncio.Task[_Done]:
        """Have something done to its end, whoever waits for it."""
        task = self.loop.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def made_console(self, snapshot: Snapshot) -> Console:
        """Return what listens at the admin address of a config; it doesn't yet."""
        make_profiles, make_api = self._make_profiles, self.make_api
        return Console(snapshot, self.tally, self.not_ready, make_profiles, make_api, self.loop)

    def _make_profiles(self) -> Profiles:
        from fastproxy.supervisor.profiling import profiles_of  # noqa: PLC0415 - for those who ask

        return profiles_of(self.workers.values, self.errands, self.loop)

    def not_ready(self) -> str:
        """Say why the proxy should get no traffic now, "" when it may."""
        if self.is_draining:
            return "draining"
        if self.crew is None or not (self.crew.is_ready or self.unknown):
            return "no worker is ready"
        return self.tally.not_ready

    def tell_if_alone(self) -> None:
        """A worker that is alone needn't mind others when it counts; see `FileLocks`."""
        if len(self.workers) == 1:
            for worker in self.workers.values():
                worker.tell(ALONE)

    def _began(self, worker: WorkerProcess) -> None:
        for other in self.workers.values():
            other.tell(ACCOMPANIED)
        self.workers[worker.pid] = worker

    def _ended(self, worker: WorkerProcess, status: int) -> None:
        if self.workers.get(worker.pid) is worker:
            del self.workers[worker.pid]
        if worker.failures:
            self.gone.append(worker.failures)
        self.tally.keep(worker, status)  # at once, so that no scrape finds less than the one before
