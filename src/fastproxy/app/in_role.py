"""An in proxy of its parts, with one config."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from fastproxy.app.callers import KnownCallers, with_callers
from fastproxy.app.key_dates import KeyDates
from fastproxy.app.links import ReceiverLinks, certificates_of
from fastproxy.app.own_keys import OwnKeys
from fastproxy.app.parts import Parts, Standing, packing_of
from fastproxy.config.snapshot import InSnapshot, Peer
from fastproxy.errors import RATE_LIMITED
from fastproxy.net.link.server import LinkServer
from fastproxy.net.server import Server
from fastproxy.policy.privilege import Privilege, Privileges, compile_privileges
from fastproxy.policy.rate_uses import RateUse, RateUses
from fastproxy.policy.ratelimit import Limiter, Rate
from fastproxy.proxy.fields import CONTROL
from fastproxy.proxy.in_proxy import InProxy, LocalService
from fastproxy.proxy.link_flow import LinkFlow
from fastproxy.proxy.link_receiver import LinkReceiver
from fastproxy.proxy.refusals import Refusals
from fastproxy.proxy.to_service import ToService
from fastproxy.proxy.way_in import WayBack, WayIn
from fastproxy.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from fastproxy.app.certificates import Certificates
    from fastproxy.app.envelopes import EnvelopesIn

RATES_SHOWN = 50
"""Callers on routes whose use of their rate is shown: those that have most of it in use."""

_LOG = logging.getLogger("fastproxy")


class InRole:
    """An in proxy with one config.

    snapshot: that, with the callers whose keys count now. parts: of this proxy. own_keys: of this receiver.
    proxy: handles requests.
    limiter: how often callers may use their routes; goes on with every config. edge: what its listener judges
    by. links: takes links, where they are taken; goes on with every config.

    Args:
        snapshot: the config. standing: what stays when it changes.
        unix_clock: Unix time in seconds, for the dates of keys.
        former: this proxy with the config before; what is the same with both goes on.
    """

    def __init__(
        self,
        snapshot: InSnapshot,
        standing: Standing,
        unix_clock: Callable[[], float],
        former: InRole | None = None,
    ) -> None:
        self.parts: Parts = Parts(snapshot, standing, None if former is None else former.parts)
        self.certificates: Certificates | None = certificates_of(snapshot.tls, former)
        certificates = self.certificates
        parts = self.parts
        own_not_after_unix_s = (lambda: inf) if certificates is None else certificates.not_after_unix_s
        dates = KeyDates("caller", parts.metrics, unix_clock, own_not_after_unix_s)
        self._known = known = KnownCallers(snapshot, dates)
        self._names = tuple(peer.name for peer in known.counting)
        self.snapshot: InSnapshot = replace(snapshot, callers={peer.name: peer for peer in known.counting})
        capacity = snapshot.config.limits.rate_states
        is_same = former is not None and former.snapshot.config.limits.rate_states == capacity
        self.limiter: Limiter = (
            former.limiter
            if former is not None and is_same
            else standing.sharing.rates("rates", capacity, RATE_LIMITED)
        )
        self.own_keys = OwnKeys(snapshot.own_keys, parts.metrics.key_uses, holds_neighbours=True)
        self.proxy, self._envelopes = _in_proxy(
            self.snapshot, parts, self.own_keys, self.limiter, None if former is None else former.envelopes
        )
        parts.taps.cover(self.proxy)
        known.on_change(self._take_callers)
        control = frozenset() if snapshot.compat is None else CONTROL | {_caller_field(snapshot)}
        self.edge = parts.edge(snapshot.config.limits, control, is_plain=False)
        self.links: ReceiverLinks | None = None if former is None else former.links

    @property
    def envelopes(self) -> EnvelopesIn | None:
        """What takes envelopes, where they are taken."""
        return self._envelopes

    @property
    def callers(self) -> Sequence[Peer]:
        """The callers that have an identity, with the keys that count now."""
        return self._known.counting

    @property
    def link_server(self) -> LinkServer | None:
        """What takes links, where they are taken."""
        return None if self.links is None else self.links.server

    def install(self, server: Server) -> None:
        """Have the listener hand its requests over, and links; those who are known no more are cut off."""
        server.change(self.proxy, self.edge)
        if self._envelopes is not None:
            self._envelopes.settle()
        flow = self.proxy.link_flow
        if flow is None:
            return
        if self.links is None:
            links = ReceiverLinks(
                self.snapshot, self.parts, self.own_keys, flow, server.date_line, self.certificates
            )
            self.links, server.links = links, links.server
        else:
            self.links.change(self.snapshot, self.parts, self.own_keys, flow, self.certificates)
        self.links.server.let_in(self.edge.allow_peer)

    def listen(self, sock: socket.socket) -> bool:
        """Take links from a bound socket where it takes nothing else; False where it takes more."""
        return self.links is not None and self.links.listen(sock)

    def housework(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to be done every so often as long as this config is the one."""
        yield self.own_keys.watch()
        yield self._known.watch()
        if self.links is not None:
            yield self.links.watch()

    def keep_house(self) -> None:
        """Do what is to be done every few seconds."""
        if self._envelopes is not None:
            self._envelopes.expire()

    async def retire(self) -> None:
        """Let go of what no later config has: what is under way on it ends in its own time."""
        await self.parts.retire()

    async def close(self) -> None:
        """Cut off what is left."""
        await self.parts.close()

    async def _take_callers(self, callers: Sequence[Peer]) -> None:
        """Callers or keys came or went: those that went are cut off, over every way that proves who calls."""
        names = tuple(peer.name for peer in callers)
        if names != self._names:  # a key that ends needn't wait for privileges: they go by name
            changed = with_callers(self.snapshot, callers)
            self.proxy.take_privileges(await asyncio.to_thread(privileges_of, changed))
            self.parts.metrics.know_callers(changed.caller_names)
            self._names = names
        if self.links is not None:
            self.links.take_callers(callers)
        if self._envelopes is not None:
            self._envelopes.take_callers(callers)


def _in_proxy(
    snapshot: InSnapshot, parts: Parts, own_keys: OwnKeys, limiter: Limiter, former: EnvelopesIn | None
) -> tuple[InProxy, EnvelopesIn | None]:
    """Make the in proxy that a config describes, and what takes its envelopes, if anything does."""
    config = snapshot.config
    limits = config.limits
    parts.metrics.watch("fastproxy_rate_keys", lambda: len(limiter))
    parts.metrics.watch("fastproxy_limit_allowed", lambda: limits.rate_states, "rate_states")
    services: dict[str, LocalService] = {}
    for name, service in snapshot.services.items():
        settings = service.settings
        way = ToService(parts.connections(service), time.monotonic)
        services[name] = LocalService(parts.next_hop(service, way), packing_of(settings), settings.host)
    # Which one a request took stands in its target: envelopes have one of their own.
    ways: list[tuple[bytes, WayIn]] = []
    envelopes: EnvelopesIn | None = None
    refusals = refusals_over_link = Refusals(config.name, "in", parts.recorder, parts.new_id)
    if "http" in config.listen.accept:
        from fastproxy.app import envelopes as over_http  # noqa: PLC0415 - loaded only where they are taken

        envelopes = over_http.EnvelopesIn(snapshot, parts, own_keys, refusals, former)
        ways.append((envelopes.target, envelopes.way))
    if snapshot.compat is not None:
        from fastproxy.app import compat  # noqa: PLC0415
        from fastproxy.proxy.held_body import HELD_BODIES  # noqa: PLC0415

        refusals = Refusals(config.name, "in", parts.recorder, parts.new_id, for_original=True)
        at_a_time = parts.sharing.part(HELD_BODIES)
        compat_way = compat.way_in(snapshot.compat, services, at_a_time, limits.body_bytes, parts.metrics)
        # All of a message has to be here before it proves anything: that may take what the exchange may.
        timeouts_s = (service.hop.timeout_s for service in services.values())
        timeout_s = max(timeouts_s, default=limits.header_timeout_s)
        back = WayBack(compat_way, refusals, compat_way.hold)
        ways.append((compat_way.prefix, WayIn(compat_way, back, timeout_s)))
    proxy = InProxy(
        ways,
        refusals,
        services,
        privileges_of(snapshot),
        limiter,
        config.enforce == "enforce",
        parts.fields,
        parts.recorder,
        parts.room_in_flight(),
        parts.new_id,
        time.monotonic,
        time.time,
    )
    _show_rates(proxy.rate_uses, parts.metrics)
    if envelopes is not None and parts.has_short_way:
        proxy.flow = envelopes.short_way(proxy, limiter, parts)
    if "link" in config.listen.accept:
        link_receiver = LinkReceiver(
            parts.sealed_parser, limits.body_bytes or None, limits.tunnel_idle_timeout_s
        )
        proxy.link_way = WayBack(link_receiver, refusals_over_link, both_ways=True)
        proxy.link_flow = LinkFlow(
            proxy, link_receiver, limiter, parts.recorder, time.monotonic, parts.make_calls
        )
    return proxy, envelopes


def _show_rates(uses: RateUses, metrics: Metrics) -> None:
    """Show how close callers are to their rates, those that are closest."""

    shown: list[RateUse] = []

    def show_all(read: Callable[[RateUse], float]) -> dict[tuple[str, ...], float]:
        return {(use.caller, use.service, use.route): read(use) for use in shown}

    def look() -> dict[tuple[str, ...], float]:  # before the others: they show the same
        shown[:] = uses.fullest(RATES_SHOWN, time.monotonic())
        return show_all(lambda use: use.used)

    metrics.show("fastproxy_rate_used_ratio", look)
    metrics.show("fastproxy_rate_burst_requests", lambda: show_all(lambda use: use.rate.burst))
    metrics.show("fastproxy_rate_requests_per_second", lambda: show_all(lambda use: use.rate.per_s))


def privileges_of(snapshot: InSnapshot) -> Privileges:
    """Compile the privileges of an in proxy's config; `fastproxy explain` asks the very same ones."""
    return compile_privileges(
        [
            Privilege(
                grant.callers,
                grant.services,
                grant.methods or None,
                grant.paths,
                Rate(grant.rate.per_s, grant.rate.burst) if grant.rate else None,
                grant.allow_ambiguous_paths,
                grant.line,
            )
            for grant in snapshot.grants
        ]
    )


def _caller_field(snapshot: InSnapshot) -> bytes:
    """The field that names the caller over `compat`, b"" without it."""
    return b"" if snapshot.compat is None else snapshot.compat.caller_header.lower().encode()
