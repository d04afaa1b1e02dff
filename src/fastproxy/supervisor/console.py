"""The admin address of a proxy: what answers there stands in `admin`, this is its listener."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from fastproxy.admin.access import FIELDS, Access
from fastproxy.admin.server import AdminHandler
from fastproxy.config.snapshot import Snapshot
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.listener import bind
from fastproxy.net.server import Server, ServerLimits
from fastproxy.net.timers import Wheel
from fastproxy.supervisor.tally import Tally
from fastproxy.telemetry.exposition import render

if TYPE_CHECKING:
    from fastproxy.admin.api.api import Api
    from fastproxy.admin.profiles import Profiles

_LIMITS = ServerLimits(
    connections=256,
    newcomers_first=True,
    header_timeout_s=10.0,
    body_timeout_s=10.0,
    write_timeout_s=10.0,
    idle_timeout_s=10.0,
)
"""Probes, scrapers and people are few, and nobody may keep them out by connecting, or by not reading."""
_PATIENCE_S = 2.0
"""How long answers may take that are on their way when another program takes over."""
ADMIN_MODE = 0o600
"""Permissions of its socket file, where it is a Unix socket: they are what proves who asks."""


class Console:
    """The listener for operators, probes and scrapers, where the config has one.

    name: where it listens, "" as long as it doesn't.

    Args:
        snapshot: the config. tally: what the workers count.
        not_ready: says why the proxy should get no traffic now, "" when it may.
        make_profiles: makes what takes profiles, when first asked for.
        make_api: makes what answers below `/api/v1/`, likewise.
        loop: the event loop.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        tally: Tally,
        not_ready: Callable[[], str],
        make_profiles: Callable[[], Profiles],
        make_api: Callable[[], Api],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._admin = admin = snapshot.admin
        self._tally = tally
        self.name = ""
        self._sockets: tuple[socket.socket, ...] = ()
        self._wheel = Wheel(loop)
        access = Access(
            admin.address.host if admin else "",
            is_unix=admin is not None and admin.address.is_unix,
            is_loopback=admin is not None and not admin.address.is_unix and admin.address.is_loopback,
            token=admin.token.reveal() if admin is not None and admin.token is not None else None,
            reader_token=(
                admin.reader_token.reveal() if admin is not None and admin.reader_token is not None else None
            ),
            open_to_all=admin.open_to_all if admin is not None else (),
        )
        name = snapshot.config.name
        handler = AdminHandler(name, self._metrics, not_ready, access, make_profiles, make_api, loop)
        self._server = Server(handler, HeadParser(HeadLimits(), FIELDS), _LIMITS, self._wheel, loop)
        self._loop = loop
        self._scraping = asyncio.Lock()
        self._next_scrape: dict[bytes, asyncio.Task[bytes]] = {}

    async def listen(self, inherited: Sequence[socket.socket] = ()) -> None:
        """Take requests.

        Args:
            inherited: bound sockets to use, if there are any.

        Raises:
            StartError: the address can't be bound.
        """
        if self._admin is None:
            return
        address = self._admin.address
        sockets = self._sockets = tuple(inherited) or (bind(address.host, address.port, ADMIN_MODE),)
        for sock in sockets:
            await self._server.listen(sock)
        name = sockets[0].getsockname()
        self.name = f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"

    async def leave(self) -> tuple[socket.socket, ...]:
        """Take no more requests, and answer those that are here; return the sockets for another console.

        Whoever connects meanwhile waits in their queues.
        """
        left = tuple(sock.dup() for sock in self._sockets)
        self._server.drain()
        await self._server.emptied(_PATIENCE_S)
        self.close()
        return left

    def close(self) -> None:
        """Take no more requests, and answer none."""
        self._server.shut()
        self._server.drain()
        self._server.abort()
        self._wheel.close()

    async def _metrics(self, content_type: bytes) -> bytes:
        """Scrape; there is one scrape at a time, and whoever asks meanwhile shares the next one."""
        scrape = self._next_scrape.get(content_type)
        if scrape is None:
            scrape = self._next_scrape[content_type] = self._loop.create_task(self._scrape(content_type))
        return await asyncio.shield(scrape)

    async def _scrape(self, content_type: bytes) -> bytes:
        async with self._scraping:
            del self._next_scrape[content_type]  # who asks from now on wants to see what happens from now on
            await self._tally.refresh()
            # A thread of its own: 1,000 series take most of a second, and workers need to be looked after.
            return await self._loop.run_in_executor(None, render, self._tally.state(), content_type)
