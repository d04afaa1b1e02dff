"""Taps of a proxy: what all its workers see of exchanges, for clients of the admin address as it happens.

Each tap asks every worker for its next lines, again and again, those that come later among them, and keeps
what its client hasn't read yet, within bounds: what there is no room for is counted, here and in the workers,
and the client is told how much. So a client that reads slowly loses lines and holds up nobody. One that hangs
up ends its tap in all workers at once; one that never reads is cut off by its connection.
Who taps what is logged, when it begins and when it ends, whatever becomes of it.
Loaded with the first question for the admin API.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count

import msgspec

from fastproxy.admin.access import Asker
from fastproxy.admin.answers import AdminError
from fastproxy.control.channel import ChannelError
from fastproxy.control.messages import TAP, TAP_END, TapAsk, TapShare, decode, encode
from fastproxy.model import Headers
from fastproxy.net.drive import Waiter
from fastproxy.supervisor.process import WorkerProcess
from fastproxy.supervisor.tally import Tally
from fastproxy.telemetry.tapped import TapLine, TapTerms

WAITING_BYTES = 524_288
"""Of one tap, lines that wait for its client."""
_PIECE_BYTES = 65_536
"""How much is asked for, and written, at a time."""
_LOOK_S = 0.25
"""How often it is looked whether there are other workers."""
_BEGIN_S = 2.0
"""How long workers have to begin; one that takes longer follows."""
_FULL_S = 1.0
"""How often workers are asked what was dropped, where the client doesn't read; so they go on with the tap."""
_BEAT_S = 15.0
"""After that time without a line an empty one is written, so that a client that is gone is noticed."""
_UNREAD_S = 10.0
"""How long a tap may go unread after its beginning: who asked for it may have gone at that very moment."""

_LOG = logging.getLogger("fastproxy.tap")
_encode = msgspec.json.Encoder().encode


class Tap:
    """One tap; the body of the answer that shows it (`model.Body`).

    shown, dropped: lines that were written, and those that there was no room for.

    Args:
        number: no other has it. terms: what it shows. workers: those that there are now.
        on_end: is told once when it is over. lines: those of all taps are counted here. loop: the event loop.
    """

    length: int | None = None

    def __init__(
        self,
        number: int,
        terms: TapTerms,
        workers: Callable[[], Iterable[WorkerProcess]],
        on_end: Callable[[Tap], None],
        lines: Counter[str],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.started = False
        self.trailers: Headers = []
        self.shown = 0
        self.dropped = 0
        self._number = number
        self._encoded_terms = encode(terms)
        self._workers = workers
        self._on_end = on_end
        self._loop = loop
        self._counted = lines
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._untold = 0  # dropped lines that the client doesn't know of
        self._reader: Waiter[None] | None = None
        self._has_room = asyncio.Event()
        self._has_room.set()
        self._asking: dict[WorkerProcess, asyncio.Task[None]] = {}
        self._beginning: set[WorkerProcess] = set()
        self._has_begun = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._is_over = False
        self._timer = loop.call_later(_UNREAD_S, self.close)

    async def begin(self) -> None:
        """Have all workers see exchanges; returns once they do."""
        self._watching = self._loop.create_task(self._watch())
        self._follow_all()
        with suppress(TimeoutError):
            async with asyncio.timeout(_BEGIN_S):
                await self._has_begun.wait()

    async def read(self) -> bytes:
        """Return the next lines; an empty one where nothing has happened for long."""
        self.started = True
        self._timer.cancel()
        if not (self._lines or self._untold or self._is_over):
            self._reader = waiter = Waiter[None]()
            self._timer = self._loop.call_later(_BEAT_S, waiter.set, None)
            try:
                await waiter
            finally:
                self._reader = None
                self._timer.cancel()
        if self._is_over:
            return b""
        return self._taken() or b"\n"

    def close(self) -> None:
        """End it, in all workers; safe to call at any time, more than once."""
        if self._is_over:
            return
        self._is_over = True
        self._timer.cancel()
        if self._watching is not None:
            self._watching.cancel()
        for worker, task in self._asking.items():
            task.cancel()
            worker.tell(TAP_END, encode(self._number))
        self._asking.clear()
        self._on_end(self)
        self._wake()

    def _taken(self) -> bytes:
        pieces: list[bytes] = []
        size_bytes = 0
        while self._lines and size_bytes < _PIECE_BYTES:
            pieces.append(self._lines.popleft())
            size_bytes += len(pieces[-1])
        self._bytes -= size_bytes
        self.shown += len(pieces)
        self._counted["shown"] += len(pieces)
        if self._bytes < WAITING_BYTES:
            self._has_room.set()
        if self._untold:
            pieces.append(_encode(TapLine(self._untold)) + b"\n")
            self._untold = 0
        return b"".join(pieces)

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.set(None)

    async def _watch(self) -> None:
        """Follow those workers as well that come later."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for worker, task in list(self._asking.items()):
                if task.done():
                    del self._asking[worker]
            self._follow_all()

    def _follow_all(self) -> None:
        for worker in self._workers():
            if worker.is_ready and worker not in self._asking:
                self._beginning.add(worker)
                self._asking[worker] = self._loop.create_task(self._follow(worker))

    async def _follow(self, worker: WorkerProcess) -> None:
        """Ask a worker for as long as it is there."""
        is_there = await self._ask(worker, 0)
        self._beginning.discard(worker)
        if not self._beginning:
            self._has_begun.set()
        while is_there:
            most_bytes = _PIECE_BYTES
            if not self._has_room.is_set():
                try:
                    async with asyncio.timeout(_FULL_S):
                        await self._has_room.wait()
                except TimeoutError:
                    most_bytes = 0
            is_there = await self._ask(worker, most_bytes)

    async def _ask(self, worker: WorkerProcess, most_bytes: int) -> bool:
        """Take the next lines of a worker; False where it has no answer."""
        asked = TapAsk(self._number, self._encoded_terms, most_bytes)
        try:
            share = decode(await worker.ask(TAP, encode(asked)), TapShare)
        except ChannelError:  # it has ended
            return False
        self._lines.extend(share.lines)
        self._bytes += sum(map(len, share.lines))
        if self._bytes >= WAITING_BYTES:
            self._has_room.clear()
        self.dropped += share.dropped
        self._counted["dropped"] += share.dropped
        self._untold += share.dropped
        if share.lines or share.dropped:
            self._wake()
        return True


class Taps:
    """All taps of a proxy.

    Args:
        workers: those that there are now. most: returns how many taps there may be at a time.
        tally: counts them, and their lines. loop: the event loop.
    """

    def __init__(
        self,
        workers: Callable[[], Iterable[WorkerProcess]],
        most: Callable[[], int],
        tally: Tally,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._workers = workers
        self._most = most
        self._tally = tally
        self._loop = loop
        self._numbers = count(1)
        self._taps: set[Tap] = set()

    async def begin(self, terms: TapTerms, asker: Asker) -> Tap:
        """Begin a tap.

        Args:
            asker: who asks for it; logged.

        Raises:
            AdminError: there are as many as there may be.
        """
        most = self._most()
        if len(self._taps) >= most:
            raise AdminError(
                503,
                f"there are {most} taps already, and no more at a time: end one, or raise `admin.taps`",
                b"retry-after: 5\r\n",
            )
        began_s = self._loop.time()
        told = {
            "peer": asker.peer,
            "access": asker.role,
            "filter": msgspec.to_builtins(terms.wanted),
            "redacted": not terms.unredacted,
            "content_bytes": terms.content_bytes,
        }

        def end(tap: Tap) -> None:
            self._taps.discard(tap)
            self._tally.taps = len(self._taps)
            lasted_s = round(self._loop.time() - began_s, 3)
            _LOG.warning(
                "tap ends", extra={**told, "shown": tap.shown, "dropped": tap.dropped, "lasted_s": lasted_s}
            )

        tap = Tap(next(self._numbers), terms, self._workers, end, self._tally.tap_lines, self._loop)
        self._taps.add(tap)
        self._tally.taps = len(self._taps)
        _LOG.warning("tap begins", extra=told)
        try:
            await tap.begin()
        except BaseException:
            tap.close()
            raise
        return tap
