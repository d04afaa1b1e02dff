"""One worker process, as its supervisor sees it: started, told, asked, and seen to end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

from msgspec import Struct

from fastproxy.control import handover
from fastproxy.control.board import Slot
from fastproxy.control.channel import Channel, ChannelError, GoneError, Rest
from fastproxy.control.messages import (
    BEGIN,
    CHANGE,
    DRAIN,
    FAILED,
    FAILURES,
    METRICS,
    NARROW,
    READY,
    Begin,
    Drain,
    decode,
    encode,
)
from fastproxy.control.signals import held_back
from fastproxy.telemetry.state import State

_LOG = logging.getLogger("fastproxy.supervisor")


class WorkerError(Exception):
    """A worker didn't become ready; the message says why."""


_UNKNOWN = -1
"""In place of a config, where it can't be told which one a worker has."""


class Inherited(Struct, frozen=True):
    """A worker that another program has started.

    pid, number, is_leaving, state: as `WorkerProcess` has them.
    rest: of its channel; None where that is closed.
    status: how its process has ended; None while it hasn't.
    """

    pid: int
    number: int
    is_leaving: bool
    rest: Rest | None
    state: State | None
    status: int | None


class WorkerProcess:
    """A worker, from its start to its end.

    pid: its process. number: its slot's. slot: what it shows. started_s: when, by the loop's clock.
    ended: is done with its exit status (negative: the signal) when the process is gone, and all that it said
    is heard.
    is_leaving: it was told to end. state: what it had counted when it was asked last.
    failures: what it had kept of them when it ended, as `messages.FAILURES` has it; b"" before.
    left: exchanges that were under way when it ended, as it showed last.

    Args:
        number, slot: as above.
        popen: what runs it, or its process id where another program has started it.
        end: this side of its channel; None where that is closed.
        begin: what it is to do; None where it has been told. rest: where its channel rests, likewise.
        status: how its process has ended; None while there is the process.
        loop: the event loop.
    """

    def __init__(
        self,
        number: int,
        slot: Slot,
        popen: subprocess.Popen[bytes] | int,
        end: socket.socket | None,
        loop: asyncio.AbstractEventLoop,
        *,
        begin: Begin | None = None,
        rest: Rest | None = None,
        status: int | None = None,
    ) -> None:
        self.number = number
        self.slot = slot
        self.started_s = loop.time()
        self._ready: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self.is_leaving = False
        self.state: State | None = None
        self.failures = b""
        self.left = 0
        self._words = ""
        self._status = status
        self._rest: Rest | None = None
        if begin is None:
            self._ready.set_result(None)
        self._loop = loop
        self._channel = Channel(self._hear, _answer_nothing, self._end_if_over, loop, rest)
        self._socket = end
        self._popen = popen
        self.pid = popen if isinstance(popen, int) else popen.pid
        self._begin = begin
        self._config = _UNKNOWN if begin is None else _config_in(begin.snapshot)

    async def begin(self) -> None:
        """Tell it what to do, and wait until it takes connections.

        Raises:
            WorkerError: it can't. OSError: as for `connect`.
        """
        assert self._begin is not None
        await self.connect()
        self._channel.tell(BEGIN, encode(self._begin))
        await asyncio.shield(self._ready)

    async def connect(self) -> None:
        """Talk with it from now on.

        Raises:
            OSError: no descriptor is left for that.
        """
        if self._socket is not None:
            self._socket.setblocking(False)
            try:
                await self._loop.create_unix_connection(lambda: self._channel, sock=self._socket)
            except OSError:
                self._socket.close()
                raise
        self._end_if_over()

    @property
    def is_ready(self) -> bool:
        """Whether it takes connections."""
        return self._ready.done() and self._ready.exception() is None and not self.ended.done()

    @property
    def state_name(self) -> str:
        """Whether it is starting, ready or draining."""
        return "draining" if self.is_leaving else "ready" if self.is_ready else "starting"

    async def ask(self, topic: str, content: bytes = b"") -> bytes:
        """Ask it something.

        Raises:
            ChannelError: it has no answer, or is gone.
        """
        return await self._channel.ask(topic, content)

    async def count(self) -> None:
        """Learn what it has counted, where it can be asked."""
        with suppress(ChannelError):  # it is only beginning, or has ended: what it told last stays
            self.state = decode(await self.ask(METRICS), State)

    async def change(self, snapshot_fd: int) -> None:
        """Have it go on with another config, if that isn't the one that it has.

        Raises:
            WorkerError: it can't. One that has ended needn't: its successor begins with the config.
        """
        config = _config_in(snapshot_fd)
        if self._config == config:
            return
        self._config = _UNKNOWN  # until it says so; who fails, or isn't waited for, may have taken some of it
        try:
            await self.ask(CHANGE, handover.content(snapshot_fd))
        except ChannelError as error:
            if self.ended.done() or not self._channel.is_open:
                return
            raise WorkerError(f"worker {self.number} can't take the config: {error}") from error
        self._config = config

    async def narrow(self, snapshot: bytes) -> None:
        """Have it trust nobody whom another config doesn't trust; see `handover.content`.

        Raises:
            WorkerError: it can't. One that has ended needn't.
        """
        try:
            await self.ask(NARROW, snapshot)
        except GoneError:
            return
        except ChannelError as error:
            raise WorkerError(f"worker {self.number} can't give up trust: {error}") from error

    def tell(self, topic: str, content: bytes = b"") -> None:
        """Tell it something."""
        self._channel.tell(topic, content)

    def drain(self, *, is_last: bool) -> None:
        """Have it end, with what is under way; at once where it has taken nothing yet.

        Args:
            is_last: nobody takes from its sockets after it.
        """
        if not self.is_ready:
            self.kill()
            return
        self.is_leaving = True
        self._channel.tell(DRAIN, encode(Drain(is_last)))

    def kill(self, *, is_expected: bool = True) -> None:
        """End it at once."""
        self.is_leaving = is_expected
        if self._status is None:
            os.kill(self.pid, signal.SIGKILL)

    async def rest(self) -> None:
        """Neither tell nor ask it anything until `go_on`, nor hear it: another program may go on with it."""
        try:
            self._rest = await self._channel.rest()
        except ChannelError:
            self._rest = None  # it has closed its side, and ends

    def go_on(self) -> None:
        """Talk with it again."""
        self._channel.go_on()

    @property
    def inherited(self) -> Inherited:
        """What another program needs to go on with it, now that it rests."""
        return Inherited(self.pid, self.number, self.is_leaving, self._rest, self.state, self._status)

    def reaped(self, status: int) -> None:
        """Its process is gone, with this exit status; called by who reaps."""
        self._status = status
        if not isinstance(self._popen, int):
            self._popen.returncode = status
        self._end_if_over()

    def _end_if_over(self) -> None:
        """End with the process, but not before all that it has said is read: the kernel still holds it."""
        status = self._status
        if status is None or self._channel.is_open or self.ended.done():
            return
        if not self._ready.done():
            self._ready.set_exception(
                WorkerError(self._words or f"a worker {how_it_ended(status)} at its start")
            )
            self._ready.exception()  # nobody may wait any more
        self.left = self.slot.in_flight  # now: the slot goes to another
        self.ended.set_result(status)

    def _hear(self, topic: str, content: bytes) -> None:
        if topic == READY and not self._ready.done():
            self._ready.set_result(None)
        elif topic == FAILED:
            self._words = content.decode()
        elif topic == METRICS:
            self.state = decode(content, State)
        elif topic == FAILURES:
            self.failures = content


def started(begin: Begin, slot: Slot, loop: asyncio.AbstractEventLoop) -> WorkerProcess:
    """Start a worker.

    Args:
        begin: what it is to do; its descriptors are inherited. slot: its own, empty.
        loop: the event loop.

    Raises:
        OSError: no process or descriptor is left.
    """
    end, control = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with control:
        try:
            popen = _popen(control, begin)
        except OSError:
            end.close()
            raise
    return WorkerProcess(begin.slot, slot, popen, end, loop, begin=begin)


def adopted(inherited: Inherited, slot: Slot, loop: asyncio.AbstractEventLoop) -> WorkerProcess:
    """Go on with a worker that another program has started, which this one has replaced."""
    rest = inherited.rest
    end = None if rest is None else socket.socket(fileno=rest.fd)
    worker = WorkerProcess(
        inherited.number, slot, inherited.pid, end, loop, rest=rest, status=inherited.status
    )
    worker.is_leaving = inherited.is_leaving
    worker.state = inherited.state
    return worker


def _popen(control: socket.socket, begin: Begin) -> subprocess.Popen[bytes]:
    with held_back():  # until the worker ignores them
        return subprocess.Popen(  # noqa: S603 - this program
            # Where in a line something failed isn't kept: 0.1 to 0.2 MiB for each worker.
            [
                sys.executable,
                "-P",
                "-X",
                "no_debug_ranges",
                "-m",
                "fastproxy.app.worker",
                str(control.fileno()),
            ],
            pass_fds=(
                control.fileno(),
                begin.snapshot,
                begin.board,
                begin.ledger,
                *begin.listeners,
                *begin.inboxes,
                *begin.giving,
            ),
            stdin=subprocess.DEVNULL,
        )


def _config_in(snapshot_fd: int) -> int:
    """Return what tells configs apart: the number of their memory. That of a descriptor soon comes again."""
    return os.fstat(snapshot_fd).st_ino


def how_it_ended(status: int) -> str:
    """Say how a process ended, by its exit status."""
    if status >= 0:
        return f"ended with exit code {status}"
    return f"was ended by {signal.Signals(-status).name}"


async def _answer_nothing(topic: str, content: bytes) -> bytes:
    raise ChannelError(f"the supervisor knows nothing of {topic}")
