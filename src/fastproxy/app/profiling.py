"""Profiles of a worker, taken in it when its supervisor asks, over its channel.

Loaded only then. A profile ends when its time is over, when the worker is told to end, or when the question
is dropped. What is bounded: what a profile keeps (`stacks`), a recording of memory, and what looking costs
(`ticks`).
Knows nothing of who may ask, nor of the formats that a profile is shown in.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from fastproxy.app.running import Proxy
from fastproxy.control.channel import ChannelError
from fastproxy.control.messages import Take, encode
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.link.server import LinkServer
from fastproxy.telemetry.profiling.cpu import CpuProfiler
from fastproxy.telemetry.profiling.profile import Profile
from fastproxy.telemetry.profiling.stalls import StallProfiler
from fastproxy.telemetry.profiling.ticks import Ticks
from fastproxy.telemetry.profiling.wall import Waiting, WallProfiler

_LOOK_S = 0.1
"""How often a recording of memory is looked at, whether it is full."""


class Profiler(Protocol):
    """Takes a profile of one kind."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> Profile:
        """End, and return what was seen."""
        ...


class WorkerProfiles:
    """Takes profiles of the process that it runs in, in its main thread.

    Args:
        proxy: whose exchanges are looked at. told_to_end: is set when there is no more time.
        loop: the event loop.
    """

    __slots__ = ("_loop", "_proxy", "_told_to_end", "_turns", "_wall_ticks")

    def __init__(self, proxy: Proxy, told_to_end: asyncio.Event, loop: asyncio.AbstractEventLoop) -> None:
        self._proxy = proxy
        self._told_to_end = told_to_end
        self._loop = loop
        self._wall_ticks = Ticks(signal.ITIMER_REAL, signal.SIGALRM, time.monotonic)
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def take(self, wanted: Take) -> bytes:
        """Return what was seen, as the supervisor is answered.

        Raises:
            ChannelError: this can't be had here; the message says why and what to do.
        """
        # The supervisor asks for one of a kind at a time; one that it has dropped may have yet to stop.
        async with self._turns[wanted.kind]:
            if wanted.file:
                await self._record(Path(wanted.file), wanted.limit_bytes, wanted.seconds)
                return b""
            return encode(await self._sample(self._profiler(wanted.kind), wanted.seconds))

    async def _sample(self, profiler: Profiler, seconds: float) -> Profile:
        profiler.start()
        try:
            await self._pass(seconds)
        finally:
            profile = profiler.stop()
        if self._told_to_end.is_set():
            profile.comments.append(f"it was told to end after {profile.duration_ns / 1e9:.1f} s")
        return profile

    def _profiler(self, kind: str) -> Profiler:
        if kind == "cpu":
            return CpuProfiler()
        if kind == "wall":
            return WallProfiler(self._wall_ticks, self._loop, self._under_way)
        return StallProfiler(self._wall_ticks, self._loop)

    async def _record(self, file: Path, limit_bytes: int, seconds: float) -> None:
        # Its imports are for those who ask.
        from fastproxy.telemetry.profiling.memory import MemoryRecorder, RecordingError  # noqa: PLC0415

        try:
            recorder = MemoryRecorder(file, limit_bytes)
            recorder.start()
        except RecordingError as error:
            raise ChannelError(str(error)) from error
        try:
            end_s = self._loop.time() + seconds
            while (left_s := end_s - self._loop.time()) > 0 and not recorder.is_full:
                if self._told_to_end.is_set():
                    break
                await self._pass(min(left_s, _LOOK_S))
        finally:
            recorder.stop()

    async def _pass(self, seconds: float) -> None:
        """Let time go by, as long as there is any."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._told_to_end.wait()

    def _under_way(self) -> Iterator[Waiting]:
        """Tell which exchanges there are: where each stands, and its coroutine; the short way has none."""
        for connection in self._proxy.server.connections:
            if (under_way := connection.under_way) is not None:
                phase, coroutine = under_way
                yield f"exchange, {phase}", coroutine
        server = self._proxy.server.links
        for link in server.links if isinstance(server, LinkServer) else ():
            for stream in link.streams.values():
                coroutine = stream.coroutine if isinstance(stream, ReceivedStream) else None
                yield f"exchange, {stream.phase}", coroutine
