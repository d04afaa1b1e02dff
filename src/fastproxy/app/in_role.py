"""An in proxy of its parts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastproxy.app.parts import Parts, packing_of
from fastproxy.config.snapshot import InSnapshot
from fastproxy.policy.privilege import Privilege, Privileges, compile_privileges
from fastproxy.policy.ratelimit import Rate, RateLimiter
from fastproxy.proxy.in_proxy import InProxy, LocalService
from fastproxy.proxy.link_flow import LinkFlow
from fastproxy.proxy.link_receiver import LinkReceiver
from fastproxy.proxy.refusals import Refusals
from fastproxy.proxy.to_service import ToService
from fastproxy.proxy.way_in import WayBack, WayIn

if TYPE_CHECKING:
    from fastproxy.app.envelopes import EnvelopesIn


def in_proxy(snapshot: InSnapshot, parts: Parts) -> tuple[InProxy, EnvelopesIn | None]:
    """Make the in proxy that a config describes, and what takes its envelopes, if anything does."""
    config = snapshot.config
    limits = config.limits
    limiter = RateLimiter(limits.rate_states)
    parts.metrics.watch("fastproxy_rate_keys", lambda: len(limiter))
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

        envelopes = over_http.EnvelopesIn(snapshot, parts, refusals)
        ways.append((envelopes.target, envelopes.way))
    if snapshot.compat is not None:
        from fastproxy.app import compat  # noqa: PLC0415

        refusals = Refusals(config.name, "in", parts.recorder, parts.new_id, for_original=True)
        compat_way = compat.way_in(snapshot.compat, services, limits.body_bytes, parts.metrics)
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
        limits.in_flight,
        parts.new_id,
        time.monotonic,
        time.time,
    )
    if envelopes is not None and parts.has_short_way:
        proxy.flow = envelopes.short_way(proxy, limiter, parts, limits.in_flight)
    if "link" in config.listen.accept:
        link_receiver = LinkReceiver(
            parts.sealed_parser, limits.body_bytes or None, limits.tunnel_idle_timeout_s
        )
        proxy.link_way = WayBack(link_receiver, refusals_over_link, both_ways=True)
        proxy.link_flow = LinkFlow(
            proxy, link_receiver, limiter, parts.recorder, limits.in_flight, time.monotonic
        )
    return proxy, envelopes


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
