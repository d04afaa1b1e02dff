"""The caller's side of a connection that leaves HTTP: what it says in the other protocol, as a `Body`.

A request that asks for another protocol has this as its content. It yields nothing until the connection has
left HTTP, then whatever comes until the peer ends its side; when the answer is no 101, it ends empty. The
tunnel is over when both sides have ended, each of which is passed on as it happens, or when one breaks; and
when no byte has passed either way for too long.
Knows nothing of what is said in it.
"""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.errors import CONNECTION_LOST, ProxyError
from fastproxy.model import Headers
from fastproxy.net.drive import Waiter
from fastproxy.net.framing import IncomingBody
from fastproxy.net.timers import Timer


class Tunnel:
    """What one peer says after a 101.

    is_open: whether HTTP is left. ended: set once the peer has ended its side and all that it said was read;
        fails when whoever reads gives up before that.
    length, started, trailers: as every `Body` has.

    Args:
        pause, resume: stop and restart reading from the connection.
        idle: fires when nothing has passed for `idle_timeout_s` seconds.
        clock: monotonic time in seconds.
    """

    __slots__ = (
        "_clock",
        "_idle",
        "_idle_timeout_s",
        "_said",
        "ended",
        "is_open",
        "length",
        "started",
        "trailers",
    )

    def __init__(
        self,
        pause: Callable[[], None],
        resume: Callable[[], None],
        idle: Timer,
        idle_timeout_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._said = IncomingBody(None, None, pause, resume, self._given_up)
        self._idle = idle
        self._idle_timeout_s = idle_timeout_s
        self._clock = clock
        self.ended: Waiter[None] = Waiter()
        self.is_open = False
        self.length: int | None = None
        self.started = False
        self.trailers: Headers = []

    def open(self, said: bytes) -> None:
        """HTTP is left; `said` has come already."""
        self.is_open = True
        self.push(said)

    def push(self, said: bytes) -> None:
        """The peer has said more."""
        self.touch()
        self._said.push(said)

    def touch(self) -> None:
        """Something has passed, whichever way."""
        self._idle.set(self._clock() + self._idle_timeout_s)

    def finish(self) -> None:
        """The peer says nothing more; or HTTP isn't left after all."""
        self._said.finish(b"", [])

    def fail(self) -> None:
        """It is over; safe to call when it has ended well."""
        self._idle.close()
        self._said.fail(ProxyError(CONNECTION_LOST, "the tunnel has ended at its other end", sent=True))

    async def read(self) -> bytes:
        """Return what was said, waiting for it; b"" once the peer has ended its side."""
        self.started = True
        said = await self._said.read()
        if not said:
            self.ended.set(None)
        return said

    def close(self) -> None:
        """Nobody reads any more, not even what has come already."""
        self._said.close()
        self._given_up()

    def _given_up(self) -> None:
        self.ended.fail(ProxyError(CONNECTION_LOST, "the other end of the tunnel is gone", sent=True))
