"""What all workers have counted, those that are gone included; and what the supervisor counts of them."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable

from msgspec import Struct

from fastproxy import __version__
from fastproxy.control.channel import ChannelError
from fastproxy.control.messages import STATUS, Status, decode
from fastproxy.supervisor.process import WorkerProcess
from fastproxy.telemetry.process import resident_bytes
from fastproxy.telemetry.state import State, counted, total


class Kept(Struct, frozen=True):
    """What stays of a tally when another program goes on with it.

    ended: what workers that are gone have counted. endings: how many of them, by how they ended.
    reloads, upgrades: by outcome. tap_lines: by whether they were shown.
    start_unix_s: since when it is counted.
    """

    ended: State
    endings: dict[str, int]
    reloads: dict[str, int]
    start_unix_s: float
    upgrades: dict[str, int] = {}  # a program that doesn't count them says nothing of them, nor of the next
    tap_lines: dict[str, int] = {}


_ENDINGS = ("drained", "cut", "unasked")
_OUTCOMES = ("done", "refused")
_TOLD = ("shown", "dropped")
_SERIES_A_LOOK = 100
"""To say what it has counted takes a worker 5 ms for every 1,000 series: of many it is asked less often."""
_PATIENCE_S = 2.0
"""How long a worker has to say what it has counted; what it said last counts if it takes longer."""


class Tally:
    """Adds up.

    role: of the proxy. reloads, upgrades: by outcome. not_ready: why it should get no traffic, "" when it
    may, as its workers said last. start_unix_s: since when it is counted.
    loaded_unix_s: when the config in force was taken. taps: those open. tap_lines: what taps have shown, and
    what there was no room for.

    Args:
        role: as above. workers: those that there are now. kept: of the tally to go on with; None for none.
    """

    def __init__(
        self, role: str, workers: Callable[[], Iterable[WorkerProcess]], kept: Kept | None = None
    ) -> None:
        self.role = role
        self.not_ready = ""
        self._workers = workers
        self._ended = State(role, __version__) if kept is None else kept.ended
        self.start_unix_s = time.time() if kept is None else kept.start_unix_s
        self._endings: Counter[str] = Counter({} if kept is None else kept.endings)
        self.reloads: Counter[str] = Counter({} if kept is None else kept.reloads)
        self.upgrades: Counter[str] = Counter({} if kept is None else kept.upgrades)
        self.taps = 0
        self.tap_lines: Counter[str] = Counter({} if kept is None else kept.tap_lines)
        self.loaded_unix_s = time.time()
        self._looks = 0

    @property
    def kept(self) -> Kept:
        """What another program needs to go on."""
        return Kept(
            self._ended,
            dict(self._endings),
            dict(self.reloads),
            self.start_unix_s,
            dict(self.upgrades),
            dict(self.tap_lines),
        )

    async def look(self) -> None:
        """Learn how the workers are and, where that is much not every time, what they have counted."""
        self._looks += 1
        series = sum(len(worker.state.series) for worker in self._workers() if worker.state is not None)
        await self._learn(counts=self._looks % (1 + series // _SERIES_A_LOOK) == 0)

    async def refresh(self) -> None:
        """Learn what the workers have counted until now, and how they are."""
        await self._learn(counts=True)

    async def _learn(self, *, counts: bool) -> None:
        ready = [worker for worker in self._workers() if worker.is_ready]
        if ready:
            asking = [asyncio.create_task(self._ask(worker, counts=counts)) for worker in ready]
            try:
                done, _ = await asyncio.wait(asking, timeout=_PATIENCE_S)
            finally:
                for task in asking:
                    task.cancel()
            self.not_ready = next((reason for task in done if (reason := task.result())), "")

    async def _ask(self, worker: WorkerProcess, *, counts: bool) -> str:
        if counts:
            await worker.count()
        try:
            return decode(await worker.ask(STATUS), Status).not_ready
        except ChannelError:
            return ""

    def note_reload(self) -> None:
        """Another config is in force."""
        self.reloads["done"] += 1
        self.loaded_unix_s = time.time()

    def keep(self, worker: WorkerProcess, status: int) -> None:
        """Keep what a worker has counted that has ended, with this exit status."""
        how = "drained" if worker.is_leaving and status == 0 else "cut" if worker.is_leaving else "unasked"
        self._endings[how] += 1
        gone = State(self.role, __version__) if worker.state is None else counted(worker.state)
        if how != "drained":
            gone.tallies = gone.tallies | {"fastproxy_exchanges_lost": {"": worker.left}}
        self._ended = total((self._ended, gone), self.role, __version__)

    def state(self) -> State:
        """Return what all have counted, as they said last."""
        states = [worker.state for worker in self._workers() if worker.state is not None]
        return total((self._ended, *states, self._own()), self.role, __version__)

    def _own(self) -> State:
        own = State(self.role, __version__, cpu_s=sum(os.times()[:2]))
        found = Counter(worker.state_name for worker in self._workers())
        own.levels["fastproxy_workers"] = {state: found[state] for state in ("starting", "ready", "draining")}
        names = {worker: f"worker {worker.number}" for worker in self._workers() if worker.is_ready}
        own.levels["fastproxy_worker_connections"] = {
            name: worker.slot.connections for worker, name in names.items()
        }
        own.levels["fastproxy_worker_links"] = {name: worker.slot.links for worker, name in names.items()}
        # Zeros as well: what begins with its first one was never seen to rise.
        own.tallies["fastproxy_workers_ended"] = {how: self._endings[how] for how in _ENDINGS}
        own.tallies["fastproxy_reloads"] = {outcome: self.reloads[outcome] for outcome in _OUTCOMES}
        own.tallies["fastproxy_upgrades"] = {outcome: self.upgrades[outcome] for outcome in _OUTCOMES}
        own.tallies["fastproxy_tap_lines"] = {told: self.tap_lines[told] for told in _TOLD}
        own.levels["fastproxy_taps"] = {"": self.taps}
        own.levels["fastproxy_start_timestamp_seconds"] = {"": self.start_unix_s}
        own.levels["fastproxy_config_loaded_timestamp_seconds"] = {"": self.loaded_unix_s}
        if (resident := resident_bytes()) is not None:
            own.resident_bytes["supervisor"] = resident
        return own
