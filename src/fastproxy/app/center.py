"""The center as a running program: registry, store, API and listener, put together, started and drained."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from fastproxy import __version__
from fastproxy.admin.center.access import Access
from fastproxy.admin.center.api import CenterApi
from fastproxy.admin.center.handler import FIELDS, CenterHandler
from fastproxy.admin.center.registry import EXPIRE_EVERY_S, Bounds, Registry
from fastproxy.admin.center.store import Store
from fastproxy.admin.center.waiters import Waiters
from fastproxy.admin.center.writer import StoreWriter
from fastproxy.config.address import Address
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.listener import bind
from fastproxy.net.server import Server, ServerLimits
from fastproxy.net.timers import Wheel

_HEAD_LIMITS = HeadLimits(header_bytes=16_384, header_count=64, target_bytes=2048)
_SERVER_LIMITS = ServerLimits(
    head=_HEAD_LIMITS,
    body_timeout_s=10.0,
    # A watcher holds a connection, and there may be 8192 of them, 1024 from one address.
    connections=10_000,
    connections_per_peer=2048,
)
_GRACE_S = 5.0
"""Time for answers to leave when the center stops; nothing that it does takes longer."""

_LOG = logging.getLogger("fastproxy.center")


@dataclass(frozen=True, slots=True)
class CenterSettings:
    """What the command line says.

    listen: where to take connections. store: path of the SQLite file.
    digests: of the tokens that may register a name, by name; empty where registering needs none.
    names: host names under which the center is reached, beside IP addresses.
    """

    listen: Address
    store: str
    digests: Mapping[str, Sequence[bytes]]
    names: tuple[str, ...]


class CenterServer:
    """A center that can be started and drained.

    Args:
        settings: of the command line. store: what it remembers. loop: the event loop.
    """

    def __init__(self, settings: CenterSettings, store: Store, loop: asyncio.AbstractEventLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._registry = Registry(
            Bounds(), first_version=store.first_version, restored=store.restored, now_s=loop.time()
        )
        self._writer = StoreWriter(store, self._registry)
        self._waiters = Waiters()
        self._registry.subscribe(self._waiters.on_change)
        access = Access(settings.digests, is_open=not settings.digests)
        self._wheel = Wheel(loop)
        handler = CenterHandler(
            CenterApi(self._registry, access, self._waiters),
            self._waiters,
            (*settings.names, settings.listen.host),
            self._wheel,
            loop,
        )
        self._server = Server(handler, HeadParser(_HEAD_LIMITS, FIELDS), _SERVER_LIMITS, self._wheel, loop)

    async def start(self) -> None:
        """Bind and take connections.

        Raises:
            StartError: the address can't be bound; the message says why and what to do.
        """
        listen = self._settings.listen
        sock = bind(listen.host, listen.port, 0o600)
        self._writer.start()
        await self._server.listen(sock)
        self._housekeeping = self._loop.create_task(self._keep_house())
        name = sock.getsockname()
        _LOG.info(
            "ready",
            extra={
                "listen": f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}",
                "store": self._settings.store,
                "names": len(self._registry.registered_keys()),
                "open": not self._settings.digests,
                "version": __version__,
            },
        )

    async def drain(self) -> None:
        """Take nothing new, answer whoever waits, write what is registered."""
        _LOG.info("draining", extra={"connections": len(self._server.connections)})
        self._server.shut()
        self._server.drain()
        self._waiters.wake_all()
        if not await self._server.emptied(_GRACE_S):
            self._server.abort()
        self._housekeeping.cancel()
        await self._writer.close()
        self._wheel.close()
        _LOG.info("stopped")

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(EXPIRE_EVERY_S)
            self._registry.expire(self._loop.time())


async def serve_center(settings: CenterSettings) -> None:
    """Run a center until SIGTERM or SIGINT, then drain it.

    Raises:
        StoreError: its file can't be used. StartError: its address can't be bound.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    with closing(Store(settings.store)) as store:
        center = CenterServer(settings, store, loop)
        await center.start()
        await stop.wait()
        await center.drain()
