"""An out proxy of its parts, with one config."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Coroutine, Iterator
from math import inf
from typing import TYPE_CHECKING, Any

from fastproxy.app.key_dates import KeyDates
from fastproxy.app.links import CallerLinks, certificates_of, over_link
from fastproxy.app.own_keys import OwnKeys
from fastproxy.app.parts import Parts, Standing
from fastproxy.app.receivers import KnownReceivers
from fastproxy.config.schema import OutConfig
from fastproxy.config.snapshot import OutSnapshot
from fastproxy.net.link.server import LinkServer
from fastproxy.net.server import Server
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.fields import CONTROL
from fastproxy.proxy.out_proxy import CallerRule, OutProxy
from fastproxy.proxy.refusals import Refusals

if TYPE_CHECKING:
    from fastproxy.app.certificates import Certificates


class OutRole:
    """An out proxy with one config.

    snapshot: that. parts: of this proxy. own_keys: of its callers. receivers: knows their keys.
    proxy: handles requests. edge: what its
    listener judges by.
    link_server: what takes links: nothing does here.

    Args:
        snapshot: as above. standing: what stays when it changes.
        unix_clock: Unix time in seconds, for the dates of keys.
        former: this proxy with the config before; what is the same with both goes on.
    """

    link_server: LinkServer | None = None

    def __init__(
        self,
        snapshot: OutSnapshot,
        standing: Standing,
        unix_clock: Callable[[], float],
        former: OutRole | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.parts: Parts = Parts(snapshot, standing, None if former is None else former.parts)
        self.certificates: Certificates | None = certificates_of(snapshot.tls, former)
        certificates = self.certificates
        parts = self.parts
        own_not_after_unix_s = (lambda: inf) if certificates is None else certificates.not_after_unix_s
        dates = KeyDates("receiver", parts.metrics, unix_clock, own_not_after_unix_s)
        self.receivers = receivers = KnownReceivers(snapshot, dates)
        self.own_keys = own_keys = OwnKeys(
            snapshot.own_keys, parts.metrics.key_uses, holds_neighbours=False
        )  # fmt: skip
        self.links: CallerLinks = CallerLinks(
            snapshot, parts, own_keys, receivers, certificates, None if former is None else former.links
        )
        self.proxy = _out_proxy(snapshot, parts, self.links, own_keys, receivers)
        parts.taps.cover(self.proxy)
        control = CONTROL | {self.proxy.caller_rule.header, _caller_field(snapshot)} - {b""}
        self.edge = parts.edge(snapshot.config.limits, control, is_plain=True)

    def install(self, server: Server) -> None:
        """Have the listener hand its requests over."""
        server.change(self.proxy, self.edge)
        self.links.settle()

    def listen(self, sock: socket.socket) -> bool:
        """Take links from a bound socket where it takes nothing else: never here."""
        return False

    def housework(self) -> Iterator[Coroutine[Any, Any, None]]:
        """What is to be done every so often as long as this config is the one."""
        yield self.own_keys.watch()
        yield self.links.watch()

    def keep_house(self) -> None:
        """Do what is to be done every few seconds: nothing."""

    async def retire(self) -> None:
        """Let go of what no later config has: what is under way on it ends in its own time."""
        self.links.drain()
        await self.parts.retire()

    async def close(self) -> None:
        """Cut off what is left."""
        self.links.drain()
        self.links.abort()
        await self.parts.close()


def _out_proxy(
    snapshot: OutSnapshot, parts: Parts, links: CallerLinks, own_keys: OwnKeys, receivers: KnownReceivers
) -> OutProxy:
    """Make the out proxy that a config describes.

    Args:
        links: keeps its links. own_keys: of its callers. receivers: knows their keys.
    """
    config = snapshot.config
    refusals = Refusals(config.name, "out", parts.recorder, parts.new_id)
    transports = {"link": over_link(snapshot, parts, links, refusals)}
    used = {service.settings.transport for service in snapshot.services.values()}
    if "http" in used:
        from fastproxy.app.envelopes import over_http  # noqa: PLC0415 - loaded only where it is used

        transports["http"] = over_http(parts, refusals, own_keys, receivers)
    if snapshot.compat is not None:
        from fastproxy.app.compat import over_compat  # noqa: PLC0415

        transports["compat"] = over_compat(snapshot, snapshot.compat, parts)
    services = {
        name: transports[service.settings.transport](service) for name, service in snapshot.services.items()
    }
    return OutProxy(
        refusals,
        _caller_rule(config, snapshot.caller),
        ServiceChoice(
            config.listen.service_from, services, config.listen.service or config.listen.default_service
        ),
        services,
        parts.fields,
        parts.recorder,
        parts.room_in_flight(),
        parts.has_short_way,
        parts.new_id,
        time.monotonic,
        time.time,
    )


def _caller_rule(config: OutConfig, fixed: str) -> CallerRule:
    if config.callers is None:
        return CallerRule(fixed)
    return CallerRule("", config.callers.header.lower().encode(), frozenset(config.callers.names))


def _caller_field(snapshot: OutSnapshot) -> bytes:
    """The field that names the caller over `compat`, b"" without it: only the out proxy may write it."""
    return b"" if snapshot.compat is None else snapshot.compat.caller_header.lower().encode()
