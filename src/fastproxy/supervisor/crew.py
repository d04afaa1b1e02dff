"""The workers of one config: made ready, kept up, drained.

A worker that ends unasked is replaced, at first at once and then ever more slowly, in its place: with its
sockets, so that connections which wait in their queues wait for its successor. One whose event loop turns no
more is ended for good and replaced as well.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from msgspec import Struct

from fastproxy.control.board import Board
from fastproxy.control.ledger import Ledger
from fastproxy.control.messages import Begin
from fastproxy.supervisor.inboxes import Inboxes
from fastproxy.supervisor.listeners import Listeners
from fastproxy.supervisor.process import WorkerError, WorkerProcess, how_it_ended, started
from fastproxy.supervisor.slots import Slots

START_LIMIT_S = 60.0
"""How long a worker may take to be ready: 100,000 callers take 10 s."""
CHANGE_LIMIT_S = 30.0
"""How long a worker may take to go on with another config: DNS and the center are asked for what is new."""
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 10.0
_LONG_LIFE_S = 30.0
"""Who lived that long is replaced at once when it ends, as if it were the first time."""
_OWN_PAUSE_S = 5.0
"""Who hasn't looked for that long has stood still itself, as all processes have when the machine did."""
_CUT_S = 5.0
"""How long after its grace period a worker that drains is ended for good."""

_LOG = logging.getLogger("fastproxy.supervisor")


class Terms(Struct, frozen=True):
    """What the workers of a crew are started with.

    snapshot_fd: memory with the config. size: how many there are. hang_s: how long an event loop may stand
    still. grace_s: how long they may drain. listeners: what they take connections from.
    ledger: what they count together.
    """

    snapshot_fd: int
    size: int
    hang_s: float
    grace_s: float
    listeners: Listeners
    ledger: Ledger


class Shared(NamedTuple):
    """What all crews of a proxy share.

    board_fd, board: what workers show. slots: their places on it. inboxes: through which they hand
    connections on.
    began: told of each worker that was started; ended: of each that has ended, with its status.
    """

    board_fd: int
    board: Board
    slots: Slots
    inboxes: Inboxes
    began: Callable[[WorkerProcess], None]
    ended: Callable[[WorkerProcess, int], None]


class Crew:
    """The workers of one config, or of those that followed it in place.

    terms: as below; those of the last config.
    is_former: whether another program has started them, which this one has replaced: they can only drain.

    Args:
        terms: what they are started with. shared: what they have in common with those of other configs.
        loop: the event loop.
    """

    def __init__(self, terms: Terms, shared: Shared, loop: asyncio.AbstractEventLoop) -> None:
        self.terms = terms
        self._shared = shared
        self._loop = loop
        self._places: dict[int, WorkerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []
        self._looked_s = loop.time()
        self.is_former = False

    def __iter__(self) -> Iterator[WorkerProcess]:
        """All workers that there are now."""
        return iter(list(self._places.values()))

    @property
    def is_ready(self) -> bool:
        """Whether any worker takes connections."""
        return any(worker.is_ready for worker in self._places.values())

    @property
    def is_fine(self) -> bool:
        """Whether any worker takes connections, and none hangs."""
        return self.is_ready and not any(self._hanging(self._loop.time()))

    async def start(self) -> None:
        """Have all workers take connections.

        Raises:
            WorkerError: one of them can't; none is left.
        """
        try:
            first = [self._started(place) for place in range(self.terms.size)]
            async with asyncio.timeout(START_LIMIT_S):
                await asyncio.gather(*(worker.begin() for worker in first))
        except TimeoutError:
            await self._cut()
            raise WorkerError(f"the workers were not ready within {START_LIMIT_S:g} s") from None
        except OSError as error:
            await self._cut()
            raise WorkerError(f"no worker can be started: {error}; raise the limit that says so") from error
        except BaseException:
            await self._cut()
            raise
        self._keepers = [
            self._loop.create_task(self._keep(place, worker)) for place, worker in enumerate(first)
        ]

    async def change(self, terms: Terms) -> None:
        """Have all workers go on with another config, or all with the one that they have.

        Raises:
            WorkerError: one of them can't.
        """
        former, self.terms = self.terms, terms
        changing = [worker for worker in self if worker.is_ready]  # the others are told then
        try:
            # When one can't, the others are waited for no more: none takes the config later.
            async with asyncio.timeout(CHANGE_LIMIT_S), asyncio.TaskGroup() as group:
                for worker in changing:
                    group.create_task(worker.change(terms.snapshot_fd))
        except (ExceptionGroup, TimeoutError) as error:
            self.terms = former
            await self._change_back(changing)
            words = str(error.exceptions[0]) if isinstance(error, ExceptionGroup) else ""
            raise WorkerError(words or f"not within {CHANGE_LIMIT_S:g} s") from error
        except BaseException:
            self.terms = former  # the memory of the others is about to be closed
            raise

    async def _change_back(self, workers: Iterable[WorkerProcess]) -> None:
        for worker in workers:
            try:
                async with asyncio.timeout(CHANGE_LIMIT_S):
                    await worker.change(self.terms.snapshot_fd)
            except (WorkerError, TimeoutError):
                _LOG.error("a worker can't go back to its config; it is replaced", extra={"pid": worker.pid})
                worker.kill(is_expected=False)

    def adopt(self, workers: Iterable[WorkerProcess]) -> None:
        """Take in workers that another program has started.

        Nobody replaces one that ends: others, with the sockets that they share, are about to begin.
        """
        self.is_former = True
        for place, worker in enumerate(workers):
            self._take_in(place, worker)

    async def connect(self) -> None:
        """Talk with workers that were adopted."""
        for worker in self:
            await worker.connect()

    def look(self) -> None:
        """End those whose event loop has stood still for too long; called every so often."""
        now_s = self._loop.time()
        pause_s, self._looked_s = now_s - self._looked_s, now_s
        if pause_s > _OWN_PAUSE_S:
            return
        for worker in self._hanging(now_s):
            _LOG.error("a worker hangs; it is replaced", extra={"worker": worker.number, "pid": worker.pid})
            worker.kill(is_expected=False)

    async def narrow(self, snapshot: bytes) -> None:
        """Have all workers, which are about to drain or do, trust nobody whom a newer config doesn't trust.

        One that can't is cut off, unless another program has started it: that may know nothing of this.

        Args:
            snapshot: the newer config (`handover.content`).
        """
        await asyncio.gather(*(self._narrow(worker, snapshot) for worker in self if worker.is_ready))

    async def _narrow(self, worker: WorkerProcess, snapshot: bytes) -> None:
        try:
            async with asyncio.timeout(CHANGE_LIMIT_S):
                await worker.narrow(snapshot)
        except (WorkerError, TimeoutError) as error:
            _LOG.warning(
                "a worker that drains still trusts as its former config says",
                extra={"worker": worker.number, "error": str(error), "cut": not self.is_former},
            )
            if not self.is_former:
                worker.kill()

    async def drain(self, *, is_last: bool = False) -> None:
        """Have all workers end, with what is under way; those that take too long are cut off.

        Args:
            is_last: nobody takes from their sockets after them; what waits there is theirs to answer.
        """
        self.leave()
        for worker in self:
            worker.drain(is_last=is_last)
        if endings := [worker.ended for worker in self]:
            await asyncio.wait(endings, timeout=self.terms.grace_s + _CUT_S)
        for worker in self:
            _LOG.error(
                "a worker doesn't end; it is cut off", extra={"worker": worker.number, "pid": worker.pid}
            )
            worker.kill()
        await asyncio.gather(*(worker.ended for worker in self))

    async def _cut(self) -> None:
        """End all workers at once."""
        for worker in self:
            worker.kill()
        await asyncio.gather(*(worker.ended for worker in self))

    def _hanging(self, now_s: float) -> Iterator[WorkerProcess]:
        return (w for w in self if w.is_ready and now_s - w.slot.beat_s > self.terms.hang_s)

    def leave(self) -> None:
        """Replace nobody any more who ends."""
        for keeper in self._keepers:
            keeper.cancel()

    async def _keep(self, place: int, worker: WorkerProcess) -> None:
        """Have another worker in a place whenever one ends, for as long as the crew works."""
        pause_s = _FIRST_PAUSE_S
        while True:
            status = await asyncio.shield(worker.ended)
            if self._loop.time() - worker.started_s > _LONG_LIFE_S:
                pause_s = _FIRST_PAUSE_S
            _LOG.error(
                "a worker has ended; another takes its place",
                extra={
                    "worker": worker.number,
                    "pid": worker.pid,
                    "how": how_it_ended(status),
                    "in_flight": worker.left,
                    "pause_s": round(pause_s, 3),
                },
            )
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * (1.5 + random.random()), _LONGEST_PAUSE_S)  # noqa: S311 - no secret
            worker = await self._restarted(place, worker)

    async def _restarted(self, place: int, former: WorkerProcess) -> WorkerProcess:
        """Start another worker in a place; return the one that is there in the end, ready or not."""
        try:
            worker = self._started(place)
        except OSError as error:  # no process or descriptor is left: later there may be
            _LOG.error("no worker can be started", extra={"error": str(error)})
            return former
        try:
            async with asyncio.timeout(START_LIMIT_S):
                await worker.begin()
                await worker.change(self.terms.snapshot_fd)
        except TimeoutError:
            _LOG.error("a worker is not ready in time", extra={"worker": worker.number, "pid": worker.pid})
            worker.kill(is_expected=False)
        except (WorkerError, OSError) as error:
            _LOG.error("a worker can't begin", extra={"error": str(error)})
            worker.kill(is_expected=False)  # it may serve, by a config that is the proxy's no more
        return worker

    def _started(self, place: int) -> WorkerProcess:
        shared, terms = self._shared, self.terms
        number = shared.slots.take()
        begin = Begin(
            number,
            place,
            terms.snapshot_fd,
            shared.board_fd,
            terms.ledger.fd,
            terms.size,
            _fds(terms.listeners.share(place, terms.size)),
            _fds(shared.inboxes.share(place, terms.size)),
            _fds(shared.inboxes.giving),
            is_first=place == 0,
        )
        slot = shared.board.slot(number)
        slot.clear()
        try:
            worker = started(begin, slot, self._loop)
        except OSError:
            shared.slots.give_back(number)
            raise
        self._take_in(place, worker)
        return worker

    def _take_in(self, place: int, worker: WorkerProcess) -> None:
        self._places[place] = worker
        self._shared.began(worker)
        worker.ended.add_done_callback(lambda ended: self._ended(place, worker, ended.result()))

    def _ended(self, place: int, worker: WorkerProcess, status: int) -> None:
        if self._places.get(place) is worker:
            del self._places[place]
        self.terms.ledger.forget(worker.number)
        self._shared.ended(worker, status)
        worker.slot.clear()
        self._shared.slots.give_back(worker.number)


def _fds(socks: Iterable[socket.socket]) -> tuple[int, ...]:
    return tuple(sock.fileno() for sock in socks)
