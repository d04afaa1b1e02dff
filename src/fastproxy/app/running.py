"""A proxy as it runs in one process: started, given another config, drained."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from fastproxy.app.in_role import InRole
from fastproxy.app.memory import MemoryKeeper, give_back
from fastproxy.app.out_role import OutRole
from fastproxy.app.parts import Parts, Standing
from fastproxy.app.sharing import Alone, Sharing
from fastproxy.app.spreading import Spreading
from fastproxy.config.snapshot import OutSnapshot, Snapshot
from fastproxy.net.link.server import LinkServer
from fastproxy.net.server import Server
from fastproxy.telemetry.process import resident_bytes

_LOG = logging.getLogger("fastproxy")
_HOUSEKEEPING_S = 5.0
_LOOK_S = 0.05
"""How often it is looked whether all exchanges of a former config are over."""
_SETTLE_S = 1.0
"""For how long new connections are taken at the end, should they never cease to come."""

Role = OutRole | InRole


class Proxy:
    """A proxy that can be started, given another config, and drained.

    metrics: what it counts. failures: the last ones. taps: see exchanges. server: where exchanges come in.

    Args:
        snapshot: the config that it begins with.
        loop: the event loop.
        unix_clock: Unix time in seconds, for the dates of keys.
        sharing: what it has in common with the other processes of a proxy that is several.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        loop: asyncio.AbstractEventLoop,
        unix_clock: Callable[[], float] = time.time,
        sharing: Sharing | None = None,
    ) -> None:
        self._loop = loop
        self._unix_clock = unix_clock
        self._sharing = sharing = Alone() if sharing is None else sharing
        self._standing = standing = Standing(
            "out" if isinstance(snapshot, OutSnapshot) else "in", loop, sharing, self._in_flight_before
        )
        self.metrics = standing.metrics
        self.failures = standing.failures
        self.taps = standing.taps
        self._former: set[Role] = set()  # with exchanges under way
        self._retiring: set[asyncio.Task[None]] = set()
        self._housekeeping: list[asyncio.Task[None]] = []
        self._role = role = self._made(snapshot, None)
        edge = role.edge
        self.server = Server(
            role.proxy,
            edge.parser,
            edge.limits,
            standing.wheel,
            loop,
            edge.allow_peer,
            sharing.room("connections", snapshot.config.limits.connections, lambda: 0),
            sharing.counts("peers"),
            standing.outbox,
        )
        role.install(self.server)
        self._spreading: Spreading | None = None
        self._watch()

    def _made(self, snapshot: Snapshot, former: Role | None) -> Role:
        """Make this proxy with a config, on the base of what it was with the one before."""
        if isinstance(snapshot, OutSnapshot):
            assert former is None or isinstance(former, OutRole)  # `changes` has the role keep
            return OutRole(snapshot, self._standing, self._unix_clock, former)
        assert former is None or isinstance(former, InRole)
        return InRole(snapshot, self._standing, self._unix_clock, former)

    async def start(
        self,
        listeners: Iterable[socket.socket],
        *,
        registers: bool = True,
        spreading: Spreading | None = None,
    ) -> None:
        """Look endpoints up, and take connections.

        Args:
            listeners: bound sockets to take them from; closed in the end.
            registers: whether this process makes the proxy known at the center, for all that share the work.
            spreading: hands connections on between those that share the work; None where nobody does.
        """
        role = self._role
        await role.parts.endpoints.look_up()
        self.server.descriptors = self._standing.descriptors
        if role.link_server is not None:
            role.link_server.descriptors = self._standing.descriptors
        for sock in listeners:
            if not role.listen(sock):
                await self.server.listen(sock)
        self._housekeeping = [self._work(self._keep_house()), self._work(self._sharing.keep(self._trim))]
        self._begin_housework()
        if spreading is not None:
            self._spreading = spreading
            # An out proxy with a certificate makes links inside TLS, and takes plain HTTP.
            is_inside_tls = role.link_server is not None and role.snapshot.tls is not None
            spreading.begin(self.server, role.link_server, is_inside_tls=is_inside_tls)
        if registers:
            await role.parts.endpoints.register()

    async def change(self, snapshot: Snapshot) -> None:
        """Go on with another config, which differs in nothing that takes a new process (`changes`).

        Exchanges that are under way end with the config that they began with, on connections and links that
        stay. Whoever the new config doesn't know any more is cut off.

        Whatever it raises, all goes on with the former config.
        """
        former = self._role
        role = self._made(snapshot, former)
        try:
            await role.parts.endpoints.look_up()
            role.install(self.server)
        except BaseException:
            former.install(self.server)
            await role.parts.endpoints.give_up()
            raise
        role.parts.settle()
        self._role = role
        self._watch()
        self._begin_housework()
        self._former.add(former)
        task = self._loop.create_task(self._retire(former))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, former: Role) -> None:
        """Let go of what was made for a former config, once nothing is under way with it, or in time."""
        give_up_s = self._loop.time() + former.snapshot.config.drain.grace_s
        while former.proxy.in_flight and self._loop.time() < give_up_s:  # noqa: ASYNC110 - no cost per exchange
            await asyncio.sleep(_LOOK_S)
        await former.retire()
        while former.proxy.in_flight:  # noqa: ASYNC110 - a tunnel may last for days
            await asyncio.sleep(_HOUSEKEEPING_S)
        self._former.discard(former)
        del former
        gc.collect()  # a proxy is full of cycles, and nothing else would have them looked for

    async def drain(self, *, is_last: bool = True) -> None:
        """Take nothing new, let what is in flight end within the grace period, cut what is left.

        Args:
            is_last: nobody takes connections from these listeners afterwards, so that whoever waits there is
                answered here.
        """
        role, drain = self._role, self._role.snapshot.config.drain
        if is_last:
            await role.parts.endpoints.deregister()  # else whoever takes over is registered there by now
        until_s = self._loop.time() + drain.grace_s
        idle_s = min(drain.idle_s, drain.grace_s / 2)  # so that who comes last has some time as well
        if self._spreading is not None:
            self._spreading.rest()
        links = role.link_server
        if links is not None:
            links.drain()
        self.server.drain(idle_s)
        if is_last and idle_s:
            await self.server.emptied(idle_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE_S):
                    await self.server.settle()
        self.server.shut()
        await self.server.settle()  # who was taken a moment ago may not be counted yet
        if self._spreading is not None:
            await self._spreading.end(is_last=is_last)
        grace_s = max(0.0, until_s - self._loop.time())
        ending = (self.server,) if links is None else (self.server, links)
        await asyncio.gather(*(_end(server, grace_s) for server in ending))
        for task in (*self._housekeeping, *self._retiring):
            task.cancel()
        for each in (self._role, *self._former):  # it may be another by now, which trusts less
            await each.close()
        self._standing.wheel.close()
        self._role.parts.access_log.settle()

    @property
    def snapshot(self) -> Snapshot:
        """Its present config."""
        return self._role.snapshot

    @property
    def role(self) -> Role:
        """It with its present config."""
        return self._role

    @property
    def parts(self) -> Parts:
        """What it is made of with its present config."""
        return self._role.parts

    @property
    def in_flight(self) -> int:
        """Exchanges that are under way."""
        return self._role.proxy.in_flight + self._in_flight_before()

    def _in_flight_before(self) -> int:
        """Exchanges that are under way with former configs."""
        return sum(former.proxy.in_flight for former in self._former)

    def _trim(self) -> None:
        """Give back what isn't needed of limits that others share."""
        self._role.proxy.trim()
        self.server.trim()

    def not_ready(self) -> str:
        """Say why there should be no traffic now, "" when there may."""
        role = self._role
        lost = [hop for hop, source in zip(role.snapshot.services, role.parts.sources, strict=True)
                if not source.endpoints]  # fmt: skip
        return f"no endpoint is known for {', '.join(lost)}" if lost else ""

    def _begin_housework(self) -> None:
        """Do from now on what this config asks for to be done again and again, no more what another did."""
        for task in self._housekeeping[2:]:
            task.cancel()
        self._housekeeping[2:] = [self._work(work) for work in self._role.housework()]

    def _work(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        task.add_done_callback(_tell_if_failed)
        return task

    async def _keep_house(self) -> None:
        memory = MemoryKeeper(lambda: self.in_flight, resident_bytes, give_back)
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            self._role.keep_house()
            memory.look()

    def _watch(self) -> None:
        metrics = self.metrics
        metrics.watch("fastproxy_in_flight", lambda: self.in_flight)
        metrics.watch("fastproxy_tasks", lambda: len(asyncio.all_tasks(self._loop)))
        metrics.watch("fastproxy_connections_open", lambda: len(self.server.connections))
        metrics.watch("fastproxy_connections_accepted", lambda: self.server.accepted)
        metrics.watch("fastproxy_connections_handed_on", self._handed_on)
        metrics.watch("fastproxy_descriptor_shortages", lambda: self._standing.descriptors.refused)

    def _handed_on(self) -> int:
        return 0 if self._spreading is None else self._spreading.handed_on


async def _end(server: Server | LinkServer, grace_s: float) -> None:
    """Let what is in flight end within so many seconds, cut what is left."""
    if not await server.emptied(grace_s):
        _LOG.warning("grace period over", extra={"cut": server.size})
        server.abort()


def _tell_if_failed(task: asyncio.Task[None]) -> None:
    """Housework goes on for as long as the proxy: without it nothing is revoked, and nobody would notice."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.critical("housework has failed; restart this proxy", exc_info=error)
