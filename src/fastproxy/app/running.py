"""A proxy as it runs in one process: starting it, keeping it, draining it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

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

    parts: what it is made of. metrics: what it counts. server: where exchanges come in.
    in_flight: says how many there are.

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
        self.in_flight = lambda: proxy.in_flight
        self._watch()

    async def start(self, listeners: Iterable[socket.socket], *, registers: bool = True) -> None:
        """Look endpoints up, and take connections.

        Args:
            listeners: bound sockets to take them from; closed in the end.
            registers: whether this process makes the proxy known at the center, for all that share the work.
        """
        await self.parts.endpoints.look_up()
        for sock in listeners:
            if self._receiver_links is None or not self._receiver_links.listen(sock):
                await self.server.listen(sock)
        self._housekeeping = [self._loop.create_task(work) for work in self._housework()]
        for task in self._housekeeping:
            task.add_done_callback(_tell_if_failed)
        if registers:
            await self.parts.endpoints.register()

    async def drain(self) -> None:
        """Take nothing new, let what is in flight end within the grace period, cut what is left."""
        grace_s = self._snapshot.config.drain.grace_s
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
        self.parts.wheel.close()
        self.parts.access_log.settle()

    @property
    def connections(self) -> int:
        """Connections that are open here, links among them."""
        links = 0 if self._receiver_links is None else self._receiver_links.server.size
        return self.server.size + links

    def not_ready(self) -> str:
        """Say why there should be no traffic now, "" when there may."""
        lost = [hop for hop, source in zip(self._snapshot.services, self.parts.sources, strict=True)
                if not source.endpoints]  # fmt: skip
        return f"no endpoint is known for {', '.join(lost)}" if lost else ""

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
        memory = MemoryKeeper(self.in_flight, resident_bytes, give_back)
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            if self._envelopes is not None:
                self._envelopes.expire()
            memory.look()

    def _watch(self) -> None:
        self.metrics.watch("fastproxy_in_flight", self.in_flight)
        self.metrics.watch("fastproxy_connections_open", lambda: len(self.server.connections))
        self.metrics.watch("fastproxy_connections_accepted", lambda: self.server.accepted)


def _tell_if_failed(task: asyncio.Task[None]) -> None:
    """Housework goes on for as long as the proxy: without it nothing is revoked, and nobody would notice."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _LOG.critical("housework has failed; restart this proxy", exc_info=error)


def _caller_field(snapshot: Snapshot) -> bytes:
    """The field that names the caller over `compat`, b"" without it: only the out proxy may write it."""
    return b"" if snapshot.compat is None else snapshot.compat.caller_header.lower().encode()
