"""A proxy's requests to the center, over the plain edge's connections.

The token goes with registrations only. Answers are read no further than any honest one goes. How long an
answer may take is the asker's to bound: cancelling a request gives its connection up.
"""

from __future__ import annotations

import asyncio

from fastproxy.config.snapshot import Center
from fastproxy.discovery.center_belief import ANSWER_LIMIT_BYTES
from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint, host_field
from fastproxy.net.content import read_beginning
from fastproxy.net.drive import Drive
from fastproxy.net.http1 import HeadLimits, HeadParser, end_of_head
from fastproxy.net.pool import Pool, PoolLimits
from fastproxy.net.timers import Wheel

_FOR_REGISTRATIONS = 4
"""Connections beside those on which watchers wait, so that heartbeats never stand behind them."""

_IDLE_TIMEOUT_S = 30.0
_HEAD_LIMITS = HeadLimits(header_bytes=8192, header_count=50)


class CenterClient:
    """Asks one center.

    Args:
        center: where it is, and the token.
        watchers: how many requests may wait for a change at once.
        registrations: how many names are kept registered.
        wheel: for idle connections. loop: the event loop.
    """

    __slots__ = ("_authorization", "_host", "_loop", "_pool")

    def __init__(
        self,
        center: Center,
        watchers: int,
        registrations: int,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        address = center.address
        endpoint = Endpoint(address.host, address.port, address.text)
        self._host = host_field(endpoint)
        self._authorization = (
            b"" if center.token is None else b"authorization: Bearer %b\r\n" % center.token.reveal()
        )
        self._loop = loop
        self._pool = Pool(
            endpoint,
            HeadParser(_HEAD_LIMITS),
            PoolLimits(
                connections=watchers + _FOR_REGISTRATIONS,
                waiting=watchers + registrations,
                idle_timeout_s=_IDLE_TIMEOUT_S,
            ),
            wheel,
            loop,
        )

    async def fetch(self, path: str) -> tuple[int, bytes]:
        """Get a path; see `discovery.center.Fetch`.

        Returns:
            Status and content, of which there may be a little more than `ANSWER_LIMIT_BYTES`.

        Raises:
            ConnectionError: there is no answer, or none in HTTP; the message says why.
        """
        return await self._request(b"GET", path, b"", b"")

    async def send(self, method: str, path: str, content: bytes) -> tuple[int, bytes]:
        """Send JSON with the token; see `discovery.center_registration.Send`.

        Returns, raises: as `fetch`.
        """
        return await self._request(method.encode(), path, self._authorization, content)

    def close(self) -> None:
        """Cut all connections off."""
        self._pool.abort()

    async def _request(self, method: bytes, path: str, fields: bytes, content: bytes) -> tuple[int, bytes]:
        """Have a task of asyncio wait for an exchange that is driven (`net/drive.py`)."""
        message = b"%b %b HTTP/1.1\r\nhost: %b\r\n%bcontent-type: application/json\r\n%b%b" % (
            method, path.encode(), self._host, fields, end_of_head(len(content)), content,
        )  # fmt: skip
        answered: asyncio.Future[tuple[int, bytes]] = self._loop.create_future()

        async def exchange() -> None:
            answer = await self._exchange(method, message)
            if not answered.done():
                answered.set_result(answer)

        def end(error: BaseException | None) -> None:
            if error is not None and not answered.done():
                answered.set_exception(error)

        drive = Drive(end)
        drive.start(exchange())
        try:
            return await answered
        except ProxyError as error:
            raise ConnectionError(f"{error.cause.title}: {error.detail}") from error
        finally:
            drive.cancel()

    async def _exchange(self, method: bytes, message: bytes) -> tuple[int, bytes]:
        connection = await self._pool.acquire()
        answer = connection.send(method, message)
        try:
            response = await answer
        except BaseException:
            connection.abandon(answer)
            raise
        return response.head.status, await read_beginning(response.content, ANSWER_LIMIT_BYTES)
