"""How much a proxy logs, changed while it runs: in the supervisor, and in all workers, also those that come
later. It holds until the next config says how much.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import cast

from fastproxy.control.channel import ChannelError
from fastproxy.control.messages import LEVEL
from fastproxy.supervisor.process import WorkerProcess
from fastproxy.telemetry import log

_PATIENCE_S = 2.0
"""How long a worker has to say that it does; one that hangs is told again when it is replaced."""

_LOG = logging.getLogger("fastproxy")


class LogLevels:
    """The level of all processes.

    Args:
        workers: those that there are now.
    """

    def __init__(self, workers: Callable[[], Iterable[WorkerProcess]]) -> None:
        self._workers = workers
        self._is_set = False
        self._told: set[int] = set()  # worker processes

    @property
    def level(self) -> log.Level:
        """The lowest level that is logged."""
        return cast(log.Level, logging.getLevelName(logging.getLogger().level).lower())

    async def set(self, level: log.Level) -> None:
        """Log from this level on; returns once all workers do."""
        if level != self.level:
            _LOG.warning("the log level changes", extra={"from": self.level, "to": level})
        logging.getLogger().setLevel(level.upper())
        self._is_set = True
        self._told = set()
        await self.look()

    async def look(self) -> None:
        """Tell the workers that have come since; called every so often."""
        if not self._is_set:
            return
        new = [worker for worker in self._workers() if worker.is_ready and worker.pid not in self._told]
        self._told.update(worker.pid for worker in new)
        await asyncio.gather(*(self._tell(worker) for worker in new))

    async def _tell(self, worker: WorkerProcess) -> None:
        with suppress(ChannelError, TimeoutError):  # it has ended, or its successor is told
            async with asyncio.timeout(_PATIENCE_S):
                await worker.ask(LEVEL, self.level.encode())

    def forget(self) -> None:
        """A config has said how much, to all."""
        self._is_set = False
