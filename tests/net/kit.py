"""A transport and a loop that do only what a test tells them, so that every interleaving can be played.

`Wire` stands where the socket would be: it collects what is written, and a test pushes bytes, pauses, ends of
stream and resets into the protocol. `Clock` is the loop as far as timers and servers use it.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, cast

from fastproxy.model import Content, Response
from fastproxy.net.client import ClientConnection
from fastproxy.net.connection import Connection, complete
from fastproxy.net.drive import Drive

READ_BYTES = 262_144
"""What a loop reads at once at most."""


class Wire(asyncio.Transport):
    """One end of a connection; the other end is the test."""

    def __init__(
        self,
        protocol: asyncio.Protocol | asyncio.BufferedProtocol,
        peer: object = ("192.0.2.1", 4711),
    ) -> None:
        super().__init__({"peername": peer})
        self.protocol = protocol
        self.written = b""
        self.writes = 0
        self.reading = True
        self.half_closed = False
        self.closing = False
        self.aborted = False
        self.lost = False
        protocol.connection_made(self)

    # --- what the protocol calls --------------------

    def write(self, data: Any) -> None:
        assert not self.lost
        self.written += data
        self.writes += 1

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self) -> None:
        self.closing = True

    def abort(self) -> None:
        self.closing = self.aborted = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol)
        self.protocol = protocol

    # --- what the test calls --------------------

    def receive(self, *pieces: bytes) -> None:
        """Bytes come in, each piece in a read of its own."""
        for piece in pieces:
            if self.closing and not self.half_closed:
                return
            if isinstance(self.protocol, asyncio.BufferedProtocol):
                _read_into(self.protocol, piece)
            else:
                self.protocol.data_received(piece)

    def lose(self, error: Exception | None = None) -> None:
        """The connection is gone; also what follows a close or an abort."""
        if not self.lost:
            self.closing = self.lost = True
            self.protocol.connection_lost(error)

    def end(self) -> None:
        """The peer sends nothing more."""
        if not self.protocol.eof_received():
            self.lose()

    def take(self) -> bytes:
        """What was written since the last time."""
        written, self.written = self.written, b""
        return written


def _read_into(protocol: asyncio.BufferedProtocol, piece: bytes) -> None:
    """Hand bytes over as an event loop does, and use their place for something else at once."""
    for at in range(0, len(piece), READ_BYTES):
        part = piece[at : at + READ_BYTES]
        place = memoryview(protocol.get_buffer(-1))
        place[: len(part)] = part
        protocol.buffer_updated(len(part))
        place[: len(part)] = bytes(len(part))


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.failures: list[dict[str, Any]] = []
        self._calls: list[tuple[float, int, asyncio.Handle]] = []
        self._order = count()
        self.loop = cast(asyncio.AbstractEventLoop, self)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, **_: Any) -> Any:
        handle = asyncio.TimerHandle(self.now + delay, callback, args, self.loop)
        heapq.heappush(self._calls, (self.now + delay, next(self._order), handle))
        return handle

    def call_soon(self, callback: Callable[..., object], *args: Any, **_: Any) -> Any:
        return self.call_later(0.0, callback, *args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.failures.append(context)

    def get_debug(self) -> bool:
        return False

    def _timer_handle_cancelled(self, handle: object) -> None:
        """Nothing is counted here."""

    def run_until(self, when: float) -> None:
        """Let the time pass, calling what is due at its own time."""
        while self._calls and self._calls[0][0] <= when:
            due, _, handle = heapq.heappop(self._calls)
            self.now = max(self.now, due)
            if not handle.cancelled():
                handle._run()
        self.now = max(self.now, when)

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass."""
        self.run_until(self.now + seconds)

    @property
    def idle(self) -> bool:
        """Whether nothing is left to be called."""
        return all(handle.cancelled() for _, _, handle in self._calls)


class Run:
    """A driven coroutine with what came of it."""

    def __init__(self, coroutine: Coroutine[Any, None, Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self.drive = Drive(self._ended)
        self.drive.start(self._keep(coroutine))

    async def _keep(self, coroutine: Coroutine[Any, None, Any]) -> None:
        self.result = await coroutine

    def _ended(self, error: BaseException | None) -> None:
        self.error = error

    @property
    def done(self) -> bool:
        return self.drive.idle

    def value(self) -> Any:
        """The result; raises what the coroutine raised."""
        assert self.done
        if self.error is not None:
            raise self.error
        return self.result


async def call(
    connection: ClientConnection, method: bytes, head: bytes, content: Content, *, chunked: bool = False
) -> Response:
    """Carry one exchange as the transports do: send, wait, and give up what nobody waits for any more."""
    if isinstance(content, bytes):
        answer = connection.send(method, head + content)
    else:
        answer = connection.send_stream(method, head, content, chunked=chunked)
    try:
        return await answer
    except BaseException:
        connection.abandon(answer)
        raise


async def respond(connection: Connection, response: Response) -> None:
    """Answer, to the end."""
    await complete(connection.respond(response))


def in_bytes(data: bytes) -> list[bytes]:
    """The same bytes, one by one."""
    return [data[at : at + 1] for at in range(len(data))]


def driven(coroutine: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
    """Drive a coroutine without a task, and return what comes of it."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def keep() -> None:
        try:
            future.set_result(await coroutine)
        except Exception as error:
            future.set_exception(error)

    Run(keep())
    return future
