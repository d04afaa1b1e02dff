"""`python -m fastproxy.app.worker CONTROL`: a process that carries exchanges, for who started it.

It gets its config, its listening sockets and its place on the board from the supervisor, over the channel
whose descriptor it is started with, and ends when it is told to, or when the supervisor is gone: in both
cases with what is under way. Signals are the supervisor's matter: a terminal and a service manager send
theirs to all processes of a group.
A program of its own, so that what serves carries nothing of the command line nor of reading configs.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import socket
import sys
import time
from typing import TYPE_CHECKING

import uvloop

from fastproxy.app.running import Proxy
from fastproxy.app.sharing import Alone, Sharing, Together
from fastproxy.app.spreading import Spreading
from fastproxy.config.snapshot import InSnapshot, Snapshot
from fastproxy.control import handover, signals
from fastproxy.control.board import Board, Slot
from fastproxy.control.channel import Channel, ChannelError
from fastproxy.control.messages import (
    ACCOMPANIED,
    ALONE,
    BEGIN,
    CHANGE,
    DRAIN,
    FAILED,
    FAILURES,
    LEVEL,
    METRICS,
    NARROW,
    PROFILE,
    READY,
    SHARE,
    STATUS,
    TAP,
    TAP_END,
    Begin,
    Drain,
    Share,
    Status,
    Take,
    TapAsk,
    decode,
    encode,
)
from fastproxy.net.listener import StartError
from fastproxy.telemetry import log
from fastproxy.telemetry.loop_lag import LoopLag
from fastproxy.telemetry.state import state_of

if TYPE_CHECKING:
    from fastproxy.app.profiling import WorkerProfiles
    from fastproxy.app.tapping import Tapping
    from fastproxy.control.ledger import Ledger

BEAT_S = 0.5
"""How often a worker shows that its event loop turns."""

_LOG = logging.getLogger("fastproxy")


class Worker:
    """One worker, from its first message to its end.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._channel = Channel(self._hear, self._answer, self._lost, loop)
        self._begin: asyncio.Future[Begin] = loop.create_future()
        self._told_to_end = asyncio.Event()
        self._is_alone = asyncio.Event()
        self._changing = asyncio.Lock()
        self._number = 0
        self._name = ""
        self._slot: Slot | None = None
        self._ledger: Ledger | None = None
        self._is_last = True  # unless the supervisor says that others take connections after this worker
        self._spreading: Spreading | None = None
        self._proxy: Proxy | None = None
        self._profiles: WorkerProfiles | None = None
        self._tapping: Tapping | None = None
        self._lag: LoopLag | None = None
        self._due_s = 0.0  # of the next beat; monotonic time

    async def run(self, control: socket.socket) -> int:
        """Carry exchanges until it is time to end; return the exit code."""
        await self._loop.create_unix_connection(lambda: self._channel, sock=control)
        try:
            begin = await self._begin
        except ChannelError:  # the supervisor has ended first
            return 1
        snapshot = handover.unpack(handover.content(begin.snapshot))
        os.close(begin.snapshot)
        settings = snapshot.config.log
        log.setup(settings.level, settings.format)
        self._number, self._name = begin.slot, f"worker {begin.slot}"
        board = Board(begin.board)
        self._slot = board.slot(begin.slot)
        giving, own = [[_socket(fd) for fd in fds] for fds in (begin.giving, begin.inboxes)]
        self._spreading = Spreading(
            board, begin.place, begin.slot, giving, own, self._loop, random.random
        )  # fmt: skip
        # The program stays: the collector needn't look at it again, nor as often as its default, made for
        # programs with many cycles; requests leave none (7 to 12 % of the CPU per hop).
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 20, 50)
        try:
            proxy = Proxy(snapshot, self._loop, sharing=self._sharing(snapshot, begin))
            listeners = map(_socket, begin.listeners)
            await proxy.start(listeners, registers=begin.is_first, spreading=self._spreading)
        except StartError as error:
            await self._say_last(FAILED, str(error).encode())
            return 1
        self._proxy = proxy
        self._beat()
        self._channel.tell(READY)
        await self._told_to_end.wait()
        await proxy.drain(is_last=self._is_last)
        self._channel.tell(FAILURES, encode(proxy.failures.all()))
        await self._say_last(METRICS, encode(state_of(proxy.metrics, self._name)))
        return 0

    async def _say_last(self, topic: str, content: bytes) -> None:
        """Tell the supervisor something, and wait until all of it has left."""
        self._channel.tell(topic, content)
        self._channel.close()
        await self._is_alone.wait()

    def _sharing(self, snapshot: Snapshot, begin: Begin) -> Sharing:
        """Return what this worker has in common with others: those beside it, before it and after it."""
        takes_envelopes = isinstance(snapshot, InSnapshot) and "http" in snapshot.config.listen.accept
        if begin.workers == 1 and not takes_envelopes:
            return Alone()
        from fastproxy.control.ledger import Ledger  # noqa: PLC0415 - loaded only where it is used

        self._ledger = Ledger(begin.ledger)
        return Together(self._ledger, begin.slot, begin.workers)

    def _hear(self, topic: str, content: bytes) -> None:
        if topic == BEGIN:
            self._begin.set_result(decode(content, Begin))
        elif topic == DRAIN:
            self._is_last = decode(content, Drain).is_last
            self._told_to_end.set()
        elif topic == ALONE and self._ledger is not None:
            self._ledger.locks.have_all()
        elif topic == ACCOMPANIED and self._ledger is not None:
            self._ledger.locks.share()
        elif topic == TAP_END and self._tapping is not None:
            self._tapping.end(decode(content, int))

    async def _answer(self, topic: str, content: bytes) -> bytes:
        proxy = self._proxy
        if proxy is None:
            raise ChannelError("it is only beginning")
        if topic == METRICS:
            return encode(state_of(proxy.metrics, self._name))
        if topic == CHANGE:
            await self._change(proxy, handover.unpack(content))
            return b""
        if topic == NARROW:
            await self._narrow(proxy, handover.unpack(content))
            return b""
        if topic == LEVEL:
            logging.getLogger().setLevel(content.decode().upper())
            return b""
        if topic == STATUS:
            return encode(Status(proxy.not_ready()))
        if topic == SHARE:
            from fastproxy.app.shares import share_of  # noqa: PLC0415 - for those who ask

            return share_of(proxy, decode(content, Share), self._number)
        if topic == TAP:
            return await self._tapping_of(proxy).answer(decode(content, TapAsk))
        if topic == PROFILE:
            return await self._profiles_of(proxy).take(decode(content, Take))
        raise ChannelError(f"it knows nothing of {topic}")

    async def _narrow(self, proxy: Proxy, newer: Snapshot) -> None:
        """Go on with the own config, where a newer one trusts all that it does; else with less of it."""
        from fastproxy.app.narrowing import narrowed  # noqa: PLC0415 - for those who drain

        own = proxy.snapshot
        left = await asyncio.to_thread(narrowed, own, newer)
        if left != own:
            await self._change(proxy, left)

    async def _change(self, proxy: Proxy, snapshot: Snapshot) -> None:
        """Go on with another config, or as before."""
        async with self._changing:  # what was asked last is what counts in the end
            try:
                await proxy.change(snapshot)
            except Exception as error:  # whatever is wrong with it, exchanges go on
                _LOG.exception("the new config can't be taken")
                raise ChannelError(f"{type(error).__name__}: {error}") from error
        log.setup(snapshot.config.log.level, snapshot.config.log.format)

    def _profiles_of(self, proxy: Proxy) -> WorkerProfiles:
        if self._profiles is None:
            from fastproxy.app.profiling import WorkerProfiles  # noqa: PLC0415 - for those who ask

            self._profiles = WorkerProfiles(proxy, self._told_to_end, self._loop)
        return self._profiles

    def _tapping_of(self, proxy: Proxy) -> Tapping:
        if self._tapping is None:
            from fastproxy.app.tapping import Tapping  # noqa: PLC0415 - for those who ask

            role = "in" if isinstance(proxy.snapshot, InSnapshot) else "out"
            self._tapping = Tapping(proxy.taps, proxy.snapshot.config.name, role, self._loop)
        return self._tapping

    def _lost(self) -> None:
        self._is_alone.set()
        if not self._begin.done():
            self._begin.set_exception(ChannelError("the supervisor is gone"))
        elif not self._told_to_end.is_set():
            _LOG.error("the supervisor is gone; ending, with what is under way")
            self._told_to_end.set()

    def _beat(self) -> None:
        proxy, slot = self._proxy, self._slot
        assert proxy is not None
        assert slot is not None
        slot.beat_s = self._loop.time()
        now_s = time.monotonic()  # the loop's own clock stands still for as long as a turn takes
        if self._lag is None:
            self._lag = LoopLag(proxy.metrics)
        else:
            self._lag.note(now_s - self._due_s)
        self._due_s = now_s + BEAT_S
        slot.in_flight = proxy.in_flight
        if self._spreading is not None:
            self._spreading.look()
        self._loop.call_later(BEAT_S, self._beat)


def _socket(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.setblocking(False)
    return sock


async def _run(control: socket.socket) -> int:
    return await Worker(asyncio.get_running_loop()).run(control)


def main(control_fd: int) -> int:
    """Run a worker; return its exit code."""
    signals.ignore()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(_socket(control_fd)))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
