"""Running a proxy: starting it, keeping it, draining it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fastproxy import __version__
from fastproxy.app.admin import admin_server
from fastproxy.app.callers import KnownCallers, with_callers
from fastproxy.app.in_role import in_proxy, privileges_of
from fastproxy.app.key_dates import KeyDates
from fastproxy.app.links import CallerLinks, ReceiverLinks, certificates_of
from fastproxy.app.memory import MemoryKeeper, give_back
from fastproxy.app.out_role import out_proxy
from fastproxy.app.parts import Parts
from fastproxy.app.receivers import KnownReceivers
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Peer, Snapshot
from fastproxy.net.link.server import LinkServer
from fastproxy.net.listener import bind
from fastproxy.net.server import Server
from fastproxy.proxy.fields import CONTROL
from fastproxy.proxy.in_proxy import InProxy
from fastproxy.proxy.out_proxy import OutProxy
from fastproxy.telemetry.process import resident_bytes

if TYPE_CHECKING:
    from fastproxy.app.envelopes import EnvelopesIn

_LOG = logging.getLogger("fastproxy")
_HOUSEKEEPING_S = 5.0


class Proxy:
    """A proxy that can be started and drained.

    Args:
        snapshot: the config that it runs.
        loop: the event loop.
        unix_clock: Unix time in seconds, for the dates of keys.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        loop: asyncio.AbstractEventLoop,
        unix_clock: Callable[[], float] = time.time,
    ) -> None:
        config = snapshot.config
        self._snapshot = snapshot
        self._loop = loop
        self._draining = False
        self._envelopes: EnvelopesIn | None = None
        self._caller_links: CallerLinks | None = None
        self._receiver_links: ReceiverLinks | None = None
        self._known_callers: KnownCallers | None = None
        self._caller_names: tuple[str, ...] = ()  # whom the privileges are compiled for
        certificates = certificates_of(snapshot.tls)
        own_not_after_unix_s = (lambda: inf) if certificates is None else certificates.not_after_unix_s
        proxy: OutProxy | InProxy
        if isinstance(snapshot, OutSnapshot):
            self.parts = parts = Parts(snapshot, "out", snapshot.caller_names, loop)
            dates = KeyDates("receiver", parts.metrics, unix_clock, own_not_after_unix_s)
            receivers = KnownReceivers(snapshot, dates)
            self._caller_links = CallerLinks(snapshot, parts, receivers, certificates)
            proxy = out_proxy(snapshot, parts, self._caller_links, receivers)
            control = CONTROL | {proxy.caller_rule.header, _caller_field(snapshot)} - {b""}
        else:
            self.parts = parts = Parts(snapshot, "in", snapshot.caller_names, loop)
            dates = KeyDates("caller", parts.metrics, unix_clock, own_not_after_unix_s)
            known = self._known_callers = KnownCallers(snapshot, dates)
            self._caller_names = tuple(peer.name for peer in known.counting)
            snapshot = replace(snapshot, callers={peer.name: peer for peer in known.counting})
            proxy, self._envelopes = in_proxy(snapshot, parts)
            known.on_change(partial(self._take_callers, snapshot, proxy))
            control = frozenset() if snapshot.compat is None else CONTROL | {_caller_field(snapshot)}
        self.metrics = parts.metrics
        self.server = parts.server(
            proxy,
            config.limits,
            control,
            config.listen.allowed_uids,
            is_plain=isinstance(proxy, OutProxy),
        )
        if isinstance(snapshot, InSnapshot) and isinstance(proxy, InProxy) and proxy.link_flow is not None:
            self._receiver_links = ReceiverLinks(
                snapshot, parts, proxy.link_flow, self.server.date_line, certificates
            )
            self.server.links = self._receiver_links.server
        links = None if self._receiver_links is None else self._receiver_links.server
        self._admin = admin_server(snapshot, parts, self._not_ready, self.server, links)
        self._in_flight = lambda: proxy.in_flight
        self._watch()

    async def start(self) -> None:
        """Bind, look endpoints up, and take connections.

        Raises:
            StartError: an address can't be bound; the message says why and what to do.
        """
        snapshot = self._snapshot
        mode = int(snapshot.config.listen.socket_mode, 8)
        sockets = [(self.server, bind(snapshot.listen.host, snapshot.listen.port, mode))]
        if snapshot.admin is not None:
            admin = snapshot.admin.address
            sockets.append((self._admin, bind(admin.host, admin.port, 0o600)))
        await self.parts.endpoints.look_up()
        addresses = []
        for server, sock in sockets:
            links = self._receiver_links if server is self.server else None
            if links is None or not links.listen(sock):
                await server.listen(sock)
            name = sock.getsockname()
            addresses.append(f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}")
        self._housekeeping = [self._loop.create_task(work) for work in self._housework()]
        for task in self._housekeeping:
            task.add_done_callback(_tell_if_failed)
        _LOG.info(
            "ready",
            extra={
                "role": self.metrics.role,
                "proxy": snapshot.config.name,
                "listen": addresses[0],
                "admin": addresses[1] if len(addresses) > 1 else "",
                "version": __version__,
            },
        )
        await self.parts.endpoints.register()

    async def drain(self) -> None:
        """Take nothing new, let what is in flight end within the grace period, cut what is left."""
        grace_s = self._snapshot.config.drain.grace_s
        self._draining = True
        _LOG.info("draining", extra={"connections": self.server.size, "grace_s": grace_s})
        await self.parts.endpoints.deregister()
        self.server.drain()
        ending: list[Server | LinkServer] = [self.server]
        if self._receiver_links is not None:
            self._receiver_links.server.drain()
            ending.append(self._receiver_links.server)
        for server, is_empty in zip(
            ending, await asyncio.gather(*(server.emptied(grace_s) for server in ending)), strict=True
        ):
            if not is_empty:
                _LOG.warning("grace period over", extra={"cut": server.size})
                server.abort()
        for task in self._housekeeping:
            task.cancel()
        if self._caller_links is not None:
            self._caller_links.drain()
            self._caller_links.abort()
        await self.parts.endpoints.close()
        for pools in self.parts.pools:
            pools.abort()
        self._admin.drain()
        self._admin.abort()
        self.parts.wheel.close()
        self.parts.access_log.settle()
        _LOG.info("stopped")

    def _housework(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to be done every so often while the proxy runs."""
        yield self._keep_house()
        if self._caller_links is not None:
            yield self._caller_links.watch()
        if self._receiver_links is not None:
            yield self._receiver_links.watch()
        if self._known_callers is not None:
            yield self._known_callers.watch()

    async def _take_callers(self, snapshot: InSnapshot, proxy: InProxy, callers: Sequence[Peer]) -> None:
        """Callers or keys came or went: those that went are cut off, over every way that proves who calls."""
        names = tuple(peer.name for peer in callers)
        if names != self._caller_names:  # a key that ends needn't wait for privileges: they go by name
            changed = with_callers(snapshot, callers)
            proxy.take_privileges(await asyncio.to_thread(privileges_of, changed))
            self.metrics.know_callers(changed.caller_names)
            self._caller_names = names
        if self._receiver_links is not None:
            self._receiver_links.take_callers(callers)
        if self._envelopes is not None:
            self._envelopes.take_callers(callers)

    async def _keep_house(self) -> None:
        memory = MemoryKeeper(self._in_flight, resident_bytes, give_back)
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            if self._envelopes is not None:
                self._envelopes.expire()
            memory.look()

    def _not_ready(self) -> str:
        if self._draining:
            return "draining"
        lost = [hop for hop, source in zip(self._snapshot.services, self.parts.sources, strict=True)
                if not source.endpoints]  # fmt: skip
        return f"no endpoint is known for {', '.join(lost)}" if lost else ""

    def _watch(self) -> None:
        self.metrics.watch("fastproxy_in_flight", self._in_flight)
        self.metrics.watch("fastproxy_connections_open", lambda: len(self.server.connections))
        self.metrics.watch("fastproxy_connections_accepted", lambda: self.server.accepted)


def _tell_if_failed(task: asyncio.Task[None]) -> None:
    """Housework goes on for as long as the proxy: without it nothing is revoked, and nobody would notice."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.critical("housework has failed; restart this proxy", exc_info=error)


def _caller_field(snapshot: Snapshot) -> bytes:
    """The field that names the caller over `compat`, b"" without it: only the out proxy may write it."""
    return b"" if snapshot.compat is None else snapshot.compat.caller_header.lower().encode()


async def serve(snapshot: Snapshot) -> None:
    """Run a proxy until SIGTERM or SIGINT, then drain it.

    Raises:
        StartError: it can't start.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    proxy = Proxy(snapshot, loop)
    await proxy.start()
    # What exists now stays: the collector needn't look at it again, nor as often as its default, made for
    # programs with many cycles; requests leave none (7 to 12 % of the CPU per hop).
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    await stop.wait()
    await proxy.drain()
