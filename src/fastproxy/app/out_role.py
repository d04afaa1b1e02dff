"""An out proxy of its parts."""

from __future__ import annotations

import time

from fastproxy.app.links import CallerLinks, over_link
from fastproxy.app.parts import Parts
from fastproxy.app.receivers import KnownReceivers
from fastproxy.config.schema import OutConfig
from fastproxy.config.snapshot import OutSnapshot
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.out_proxy import CallerRule, OutProxy
from fastproxy.proxy.refusals import Refusals


def out_proxy(snapshot: OutSnapshot, parts: Parts, links: CallerLinks, receivers: KnownReceivers) -> OutProxy:
    """Make the out proxy that a config describes; `links` keeps its links, `receivers` knows their keys."""
    config = snapshot.config
    refusals = Refusals(config.name, "out", parts.recorder, parts.new_id)
    transports = {"link": over_link(snapshot, parts, links, refusals)}
    used = {service.settings.transport for service in snapshot.services.values()}
    if "http" in used:
        from fastproxy.app.envelopes import over_http  # noqa: PLC0415 - loaded only where it is used

        transports["http"] = over_http(snapshot, parts, refusals, receivers)
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
        config.limits.in_flight,
        parts.has_short_way,
        parts.new_id,
        time.monotonic,
        time.time,
    )


def _caller_rule(config: OutConfig, fixed: str) -> CallerRule:
    if config.callers is None:
        return CallerRule(fixed)
    return CallerRule("", config.callers.header.lower().encode(), frozenset(config.callers.names))
