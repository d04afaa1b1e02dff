"""A proxy from its start to its end, as seen by the process that owns it.

    start    load the config, bind, have the workers take connections, say so
    reload   at SIGHUP, at a command, or when the file has changed: load the config anew; where the workers
             can, have them go on with it, else have new ones take connections and let the former ones drain
    upgrade  at a command: become another program, which goes on with all that there is (`upgrade`)
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
import socket
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fastproxy import __version__
from fastproxy.admin.server import Act
from fastproxy.config.changes import changes
from fastproxy.config.problem import ConfigError
from fastproxy.config.snapshot import InSnapshot, Snapshot
from fastproxy.control import board, handover
from fastproxy.control.board import Board
from fastproxy.control.ledger import Ledger
from fastproxy.control.messages import ACCOMPANIED, ALONE
from fastproxy.net.listener import StartError
from fastproxy.supervisor.console import Console
from fastproxy.supervisor.crew import Crew, Shared, Terms
from fastproxy.supervisor.door import NOBODY, Asked, Door, RefusedError, answer
from fastproxy.supervisor.errands import Errands
from fastproxy.supervisor.inboxes import Inboxes
from fastproxy.supervisor.legacy import Legacy, close_all, particulars_of, release_signals
from fastproxy.supervisor.listeners import Listeners
from fastproxy.supervisor.process import WorkerError, WorkerProcess
from fastproxy.supervisor.rehearsal import tried_by
from fastproxy.supervisor.reloading import Reloaded, ReloadError, at_the_door, over_http, way_to
from fastproxy.supervisor.slots import Slots
from fastproxy.supervisor.surroundings import Place, Surroundings
from fastproxy.supervisor.tally import Tally
from fastproxy.supervisor.terms import close_new, inherited_listeners, terms_for
from fastproxy.supervisor.upgrade import Belongings, become, former_crews, interpreter
from fastproxy.supervisor.watch import FileWatch
from fastproxy.telemetry import log

if TYPE_CHECKING:
    from fastproxy.admin.profiles import Profiles

LOOK_EVERY_S = 1.0
"""How often workers are looked at, and asked what they have counted."""

_FIRST_PAUSE_S = 1.0
_HEEDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_LONGEST_PAUSE_S = 60.0
"""Between two attempts of a new program to have workers of its own."""
_SHOWN = 50
"""Changes that the log names at most."""

_LOG = logging.getLogger("fastproxy")

_Done = TypeVar("_Done")


async def _close(console: Console) -> None:
    """Have a console answer those that are here, the one who asked for this among them, and close it."""
    for sock in await console.leave():
        sock.close()


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
        self._load = load
        self._legacy = legacy
        self._asker = NOBODY if legacy is None else legacy.asker
        self._surroundings = surroundings
        self._loop = loop
        self._snapshot = snapshot
        self._file = FileWatch(snapshot.file)
        self._workers: dict[int, WorkerProcess] = {}  # by the ids of their processes
        known = self._known = None if legacy is None else particulars_of(legacy)
        self._tally = Tally(
            "in" if isinstance(snapshot, InSnapshot) else "out",
            self._workers.values,
            None if known is None else known.tally,
        )
        board_fd = board.make() if known is None else known.board
        inboxes = Inboxes(() if known is None else known.inboxes)
        self._shared = Shared(board_fd, Board(board_fd), Slots(), inboxes, self._began, self._ended)
        self._errands = Errands(loop)
        self._crew: Crew | None = None
        self._leaving: set[Crew] = set()  # those of former configs, as long as they drain
        self._changing = asyncio.Lock()
        self._reloads_due = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_draining = False
        self._is_told_to_end = False
        self._unknown: tuple[int, ...] = ()  # what holds former workers whose format nobody here knows
        self._door = Door()
        self._door.register("upgrade", self._upgrade)
        self._door.register("reload", partial(at_the_door, self.reload))
        self._door.register("diff", partial(at_the_door, self.preview))
        self._stop = asyncio.Event()
        self._cut = asyncio.Event()

    async def run(self) -> None:
        """Start the proxy, keep it, and drain it when a signal says so.

        Raises:
            StartError: it can't start.
        """
        for signum, do in (
            (signal.SIGTERM, partial(self._stop_or_cut, signal.SIGTERM)),
            (signal.SIGINT, partial(self._stop_or_cut, signal.SIGINT)),
            (signal.SIGHUP, lambda: self._soon(self._reload_quietly())),
            (signal.SIGCHLD, self._reap),
        ):
            self._loop.add_signal_handler(signum, do)
        if self._surroundings.companion is not None:
            self._surroundings.companion.on_end(self._stop.set)
        await self._changing.acquire()  # whoever wants a change waits until there is something to change
        if self._legacy is not None:
            await self._take_over(self._legacy)
            release_signals()  # now there is a proxy to reload or end, and who has ended is known
        elif not await self._has_started():
            return
        self._changing.release()
        tasks = [self._loop.create_task(self._watch())]
        if self._legacy is not None:
            tasks.append(self._loop.create_task(self._replace_former(self._legacy)))
        living = self._loop.create_task(self._surroundings.manager.keep_alive(self._is_fine))
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await self._door.close()
        await asyncio.wait(tasks)
        self._tell_asker({"ok": False, "error": "the proxy ends"})
        await self._drain()
        living.cancel()
        # The loop is about to close, and a signal would write to what is closed by then.
        signal.pthread_sigmask(signal.SIG_BLOCK, _HEEDED)

    async def _has_started(self) -> bool:
        """Start; return False where a signal to end came before that was done."""
        starting = self._loop.create_task(self._start())
        stopping = self._loop.create_task(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
            await asyncio.wait((starting,))
            return False
        starting.result()
        return True

    async def _start(self) -> None:
        snapshot = self._snapshot
        self._console = self._made_console(snapshot)
        terms = self._terms(snapshot, inherited_listeners(snapshot, *self._surroundings.inherited), None)
        await self._console.listen(self._surroundings.inherited.admin)
        try:
            self._crew = await self._started(terms)
        except WorkerError as error:
            raise StartError(str(error)) from error
        await self._tally.refresh()  # so that nobody is told that it may get traffic before that is known
        self._tell_surroundings(terms.listeners)
        await self._door.open()
        _LOG.info(
            "ready",
            extra={
                "role": self._tally.role,
                "proxy": snapshot.config.name,
                "listen": terms.listeners.name,
                "admin": self._console.name,
                "workers": terms.size,
                "version": __version__,
            },
        )

    def _tell_surroundings(self, listeners: Listeners) -> None:
        name = self._snapshot.config.name
        self._surroundings.serving(Place(name, self._tally.role, listeners.name, self._console.name))

    def _terms(self, snapshot: Snapshot, former: Listeners | None, ledger: Ledger | None) -> Terms:
        return terms_for(snapshot, self._shared.inboxes, former, ledger)

    async def _started(self, terms: Terms) -> Crew:
        crew = Crew(terms, self._shared, self._loop)
        await crew.start()
        return crew

    # --- another config ---------------------------------------------------------------------------------

    async def reload(self) -> Reloaded:
        """Load the config anew and go on with it; once begun it isn't given up, whoever waits for it no more.

        Raises:
            ReloadError: it can't be used; all is as it was.
        """
        return await asyncio.shield(self._soon(self._reload_in_turn()))

    async def _reload_in_turn(self) -> Reloaded:
        self._reloads_due += 1
        async with self._changing:
            self._reloads_due -= 1
            if self._is_draining:
                raise ReloadError(["the proxy ends"])
            self._surroundings.manager.reloading()
            try:
                reloaded = await self._reload()
            except ReloadError as error:
                self._surroundings.manager.ready("a new config is refused; the former one serves on")
                self._tally.reloads["refused"] += 1
                words = "the new config is refused; the former one serves on"
                _LOG.error(words, extra={"problems": error.problems})
                raise
            self._surroundings.manager.ready("serves by the new config")
            self._tally.note_reload()
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
        return await asyncio.shield(self._soon(self._preview_in_turn()))

    async def _preview_in_turn(self) -> Reloaded:
        async with self._changing:
            if self._is_draining:
                raise ReloadError(["the proxy ends"])
            snapshot = await self._loaded()
            found = await asyncio.to_thread(changes, self._snapshot, snapshot)
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
        found = await asyncio.to_thread(changes, self._snapshot, snapshot)
        assert self._crew is not None  # there was a start
        way = "new workers" if self._crew.is_former else way_to(snapshot, found)
        if way == "nothing":
            return Reloaded(way, found)
        console = self._console
        try:
            if snapshot.admin != self._snapshot.admin:
                console = self._made_console(snapshot)
                await console.listen()
            await self._change(snapshot, way)
        except (StartError, WorkerError, OSError) as error:
            if console is not self._console:
                console.close()
            raise ReloadError([str(error)]) from error
        if console is not self._console:
            console, self._console = self._console, console
            self._soon(_close(console))
        self._snapshot = snapshot
        newer = handover.content(self._crew.terms.snapshot_fd)
        await asyncio.gather(*(crew.narrow(newer) for crew in self._leaving))
        log.setup(snapshot.config.log.level, snapshot.config.log.format)
        for warning in (*snapshot.warnings, *snapshot.lapsed):
            _LOG.warning(str(warning))
        return Reloaded(way, found)

    async def _change(self, snapshot: Snapshot, way: str) -> None:
        crew = self._crew
        assert crew is not None  # there was a start
        terms = self._terms(snapshot, crew.terms.listeners, crew.terms.ledger)
        former_fd = crew.terms.snapshot_fd
        try:
            if way == "in place":
                await crew.change(terms)
                os.close(former_fd)
            else:
                self._crew = await self._started(terms)
                self._soon(self._retire(crew))
        except BaseException:
            close_new(terms, crew.terms)
            raise

    async def _retire(self, crew: Crew) -> None:
        """Let the workers of a former config drain."""
        assert self._crew is not None  # another is there
        is_last = crew.terms.listeners is not self._crew.terms.listeners
        if is_last:
            crew.terms.listeners.close()  # the workers have them still
        await self._let_go(crew, self._crew.terms.snapshot_fd, is_last=is_last)
        os.close(crew.terms.snapshot_fd)
        if crew.terms.ledger is not self._crew.terms.ledger:
            crew.terms.ledger.close()

    async def _let_go(self, crew: Crew, newer_fd: int, *, is_last: bool = False) -> None:
        """Let workers drain, by whom a newer config trusts, which lies in this memory, and those after it."""
        crew.leave()
        self._leaving.add(crew)
        await crew.narrow(handover.content(newer_fd))
        await crew.drain(is_last=is_last)
        self._leaving.discard(crew)

    async def _reload_quietly(self) -> None:
        with contextlib.suppress(ReloadError):  # the log has it
            await self.reload()

    def _soon(self, work: Coroutine[Any, Any, _Done]) -> asyncio.Task[_Done]:
        """Have something done to its end, whoever waits for it."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- another program --------------------------------------------------------------------------------

    async def _upgrade(self, asked: Asked) -> dict[str, Any]:
        """Become another program, which answers in the end; returns only by refusing."""
        python = interpreter(asked)
        if self._changing.locked():
            raise RefusedError("a reload, a diff or an upgrade is under way; ask again when it is over")
        async with self._changing:
            _LOG.info("an upgrade begins: the new program is tried", extra={"python": python})
            try:
                snapshot_fd = await tried_by(python, self._snapshot.file, self._errands)
                try:
                    await self._become(python, snapshot_fd, asked.fd)
                finally:
                    os.close(snapshot_fd)
            except RefusedError as refusal:
                _LOG.warning("the upgrade is refused; all is as it was", extra={"reason": str(refusal)})
                self._tally.upgrades["refused"] += 1
                raise
        raise AssertionError("this is the former program")

    async def _become(self, python: str, snapshot_fd: int, asker: int) -> None:
        await self._tally.refresh()
        assert self._crew is not None  # there was a start
        left = await self._console.leave()
        try:
            admin, companion = self._snapshot.admin, self._surroundings.companion
            what = Belongings(
                list(self._workers.values()), self._crew, self._shared, self._tally,
                (left, admin.address.text) if left and admin is not None else None,
                self._door, self._unknown,
                reload_is_due=self._reloads_due > 0,
                command_pid=companion.pid or 0 if companion is not None else 0,
            )  # fmt: skip
            await become(python, sys.argv[1:], snapshot_fd, what, asker, lambda: self._is_told_to_end)
        finally:
            self._console = self._made_console(self._snapshot)
            await self._console.listen(left)

    async def _take_over(self, legacy: Legacy) -> None:
        """Go on with what a former program has left. Nothing is opened or started here that could fail."""
        self._crew, leaving = former_crews(legacy, self._known, self._snapshot, self._shared, self._loop)
        self._unknown = legacy.others if self._known is None else ()
        await self._crew.connect()
        await leaving.connect()
        self._soon(self._let_go(leaving, legacy.snapshot))
        self._reap()  # those that ended in between
        self._console = self._made_console(self._snapshot)
        if legacy.admin is not None:
            admin = self._snapshot.admin
            if admin is not None and admin.address.text == legacy.admin.address:
                await self._console.listen([socket.socket(fileno=fd) for fd in legacy.admin.fds])
            else:
                close_all(legacy.admin.fds)
        if legacy.door is not None:
            await self._door.adopt(legacy.door.fds[0], legacy.door.address)
        self._tell_surroundings(self._crew.terms.listeners)
        _LOG.info("taken over", extra={"version": __version__, "from_version": legacy.version})

    async def _replace_former(self, legacy: Legacy) -> None:
        """Have workers of this program take the place of the former ones; try until they or a reload do."""
        former, pause_s = self._crew, _FIRST_PAUSE_S
        while self._crew is former:
            try:
                async with self._changing:
                    if self._snapshot.admin is not None and not self._console.name:
                        await self._console.listen()
                    await self._change(self._snapshot, "new workers")
            except Exception as error:  # whatever it is, the former ones serve on
                words = "the new program's workers don't start; the former ones serve on"
                trace = None if isinstance(error, StartError | WorkerError | OSError) else error
                _LOG.error(words, extra={"error": str(error), "pause_s": pause_s}, exc_info=trace)
                self._tell_asker({"ok": False, "error": f"{words}, and it is tried again: {error}"})
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        close_all(self._unknown)
        self._unknown = ()
        assert self._crew is not None  # there is another
        said = {"version": __version__, "from_version": legacy.version, "workers": self._crew.terms.size}
        self._tally.upgrades["done"] += 1
        _LOG.info("upgraded", extra=said)
        self._tell_asker({"ok": True} | said)
        if legacy.reload_is_due:
            self._soon(self._reload_quietly())

    def _tell_asker(self, said: dict[str, Any]) -> None:
        """Answer whoever waits for the upgrade that has brought this program."""
        asker, self._asker = self._asker, NOBODY
        if asker != NOBODY:
            answer(asker, said)

    # --- the end ----------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        self._is_draining = True
        async with self._changing:
            crew = self._crew
            assert crew is not None  # there was a start
            delay_s = self._snapshot.config.drain.delay_s
            _LOG.info(
                "draining",
                extra={
                    "connections": sum(worker.slot.connections for worker in self._workers.values()),
                    "delay_s": delay_s,
                    "grace_s": crew.terms.grace_s,
                },
            )
            self._surroundings.draining()
            # Who sends traffic here needs that long to see that it is over.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._cut.wait(), delay_s)
            crew.terms.listeners.close()  # the workers have them still: who came last is theirs to answer
            await crew.drain(is_last=True)
        while self._tasks:
            await asyncio.wait(self._tasks)
        self._console.close()
        _LOG.info("stopped")

    def _stop_or_cut(self, signum: int) -> None:
        if not self._is_told_to_end:
            self._is_told_to_end = True
            if not self._surroundings.pass_on(signum):
                self._stop.set()
            return
        _LOG.warning("told twice to end; what is under way is cut off")
        self._cut.set()
        self._surroundings.pass_on(signal.SIGKILL)
        if self._crew is not None:
            self._crew.leave()
        for worker in self._workers.values():
            worker.kill()

    async def _watch(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:  # whatever it is: workers that nobody looks after could hang unseen
                _LOG.exception("looking after the workers has failed; it is tried again")
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self) -> None:
        assert self._crew is not None  # there was a start
        self._crew.look()
        if self._file.has_changed() and self._snapshot.config.watch:
            self._soon(self._reload_quietly())
        self._tell_if_alone()
        await self._tally.look()
        self._surroundings.look(self._not_ready())

    def _is_fine(self) -> bool:
        return self._is_draining or (self._crew is not None and self._crew.is_fine)

    def _not_ready(self) -> str:
        if self._is_draining:
            return "draining"
        if self._crew is None or not (self._crew.is_ready or self._unknown):
            return "no worker is ready"
        return self._tally.not_ready

    def _made_console(self, snapshot: Snapshot) -> Console:
        acts: dict[tuple[bytes, bytes], Act] = {
            (b"POST", b"/api/v1/reload"): partial(over_http, self.reload),
            (b"GET", b"/api/v1/diff"): partial(over_http, self.preview),
        }
        return Console(snapshot, self._tally, self._not_ready, self._make_profiles, acts, self._loop)

    def _make_profiles(self) -> Profiles:
        from fastproxy.supervisor.profiling import profiles_of  # noqa: PLC0415 - for those who ask

        return profiles_of(self._workers.values, self._errands, self._loop)

    # --- processes --------------------------------------------------------------------------------------

    def _tell_if_alone(self) -> None:
        """A worker that is alone needn't mind others when it counts; see `FileLocks`."""
        if len(self._workers) == 1:
            for worker in self._workers.values():
                worker.tell(ALONE)

    def _began(self, worker: WorkerProcess) -> None:
        for other in self._workers.values():
            other.tell(ACCOMPANIED)
        self._workers[worker.pid] = worker

    def _ended(self, worker: WorkerProcess, status: int) -> None:
        if self._workers.get(worker.pid) is worker:
            del self._workers[worker.pid]
        self._tally.keep(worker, status)  # at once, so that no scrape finds less than the one before

    def _reap(self) -> None:
        """See which processes have ended; as the first process of a container, those of strangers as well."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                exit_status = os.waitstatus_to_exitcode(status)
                worker = self._workers.get(pid)
                companion = self._surroundings.companion
                if worker is not None:
                    worker.reaped(exit_status)
                elif companion is not None and companion.pid == pid:
                    companion.reaped(exit_status)
                else:
                    self._errands.reaped(pid, exit_status)
