"""The taps of one worker: what each has seen is kept here, within bounds, until the supervisor fetches it.

The supervisor asks for the next lines of a tap again and again; its first question begins the tap. What comes
while there is no room is counted, and costs nothing more. A tap ends when it is told so, when a question is
dropped, and when nobody has asked for a while: then there is nobody left who could end it.
Loaded with the first tap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress

from fastproxy.control.messages import TapAsk, TapShare, decode, encode
from fastproxy.proxy.seen import Tap, Watch
from fastproxy.proxy.taps import Taps
from fastproxy.telemetry.tapped import TapTerms

WAITING_LINES, WAITING_BYTES = 512, 524_288
"""Of one tap, that wait to be fetched. One line is 140 KiB at most, mostly one or two."""
WAIT_S = 5.0
"""How long a question waits for a line; then it is answered without one."""
LEASE_S = 20.0
"""How long a tap goes on that nobody asks for."""
_GATHER_S = 0.02
"""Lines that come within that time leave together: a message for each would cost both processes more."""


class _Waiting:
    """A tap with the lines that wait."""

    def __init__(self, terms: TapTerms) -> None:
        self.tap = Tap(terms, self._may_put, self._put)
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self.came = asyncio.Event()
        self.lease: asyncio.TimerHandle | None = None
        self.asked = 0  # questions that are open

    def _may_put(self) -> bool:
        has_room = len(self._lines) < WAITING_LINES and self._bytes < WAITING_BYTES
        if not has_room:
            self._dropped += 1
        return has_room

    def _put(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)
        self.came.set()

    def share(self, most_bytes: int) -> TapShare:
        """Take lines out, of about so many bytes."""
        lines: list[bytes] = []
        while self._lines and most_bytes > 0:
            line = self._lines.popleft()
            self._bytes -= len(line)
            most_bytes -= len(line)
            lines.append(line)
        if not self._lines:
            self.came.clear()
        dropped, self._dropped = self._dropped, 0
        return TapShare(lines, dropped)


class Tapping:
    """Answers the supervisor's questions about taps.

    Args:
        taps: of this worker's proxies. hop, role: of this proxy. loop: the event loop.
    """

    def __init__(self, taps: Taps, hop: str, role: str, loop: asyncio.AbstractEventLoop) -> None:
        self._taps = taps
        self._watch = Watch(hop, role)
        self._loop = loop
        self._waiting: dict[int, _Waiting] = {}

    async def answer(self, asked: TapAsk) -> bytes:
        """Return the next lines of a tap, waiting for them; the first question only begins it."""
        waiting = self._waiting.get(asked.number)
        if waiting is None:
            waiting = self._waiting[asked.number] = _Waiting(decode(asked.terms, TapTerms))
            self._see()
        if waiting.lease is not None:
            waiting.lease.cancel()
        waiting.asked += 1
        try:
            if asked.most_bytes and not waiting.came.is_set():
                with suppress(TimeoutError):
                    async with asyncio.timeout(WAIT_S):
                        await waiting.came.wait()
                        await asyncio.sleep(_GATHER_S)
        except asyncio.CancelledError:  # who asked has gone
            self.end(asked.number)
            raise
        finally:
            waiting.asked -= 1
        if asked.number in self._waiting and not waiting.asked:
            waiting.lease = self._loop.call_later(LEASE_S, self.end, asked.number)
        return encode(waiting.share(asked.most_bytes))

    def end(self, number: int) -> None:
        """End a tap, if it is there."""
        waiting = self._waiting.pop(number, None)
        if waiting is not None:
            if waiting.lease is not None:
                waiting.lease.cancel()
            self._see()

    def _see(self) -> None:
        self._watch.taps = tuple(waiting.tap for waiting in self._waiting.values())
        self._taps.change(self._watch if self._waiting else None)
