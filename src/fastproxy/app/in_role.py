"""An in proxy of its parts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from fastproxy.app import compat
from fastproxy.app.parts import Parts, newcomers, packing_of, reveal
from fastproxy.config.snapshot import InSnapshot, Peer
from fastproxy.policy.privilege import Privilege, Privileges, compile_privileges
from fastproxy.policy.ratelimit import Rate, RateLimiter
from fastproxy.proxy.http_receiver import HttpReceiver
from fastproxy.proxy.in_flow import InFlow
from fastproxy.proxy.in_proxy import InProxy, LocalService
from fastproxy.proxy.link_flow import LinkFlow
from fastproxy.proxy.link_receiver import LinkReceiver
from fastproxy.proxy.over_http import LIFETIME_MS, TARGET
from fastproxy.proxy.refusals import Refusals
from fastproxy.proxy.to_service import ToService
from fastproxy.proxy.way_in import WayBack, WayIn
from fastproxy.wire.envelope import RESPONSE_NONCE_BYTES
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.receiver import Receiver, ReceiverLimits
from fastproxy.wire.sessions import CallerKey


def in_proxy(snapshot: InSnapshot, parts: Parts) -> tuple[InProxy, Receiver | None]:
    """Make the in proxy that a config describes; the receiver wants `expire` called every few seconds."""
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
    receiver = None
    refusals = refusals_over_link = Refusals(config.name, "in", parts.recorder, parts.new_id)
    http_receiver = None
    if "http" in config.listen.accept:
        receiver = _receiver(snapshot, parts)
        http_receiver = _http_receiver(snapshot, parts, receiver)
        back = WayBack(http_receiver, refusals, challenge=http_receiver.challenge)
        ways.append((TARGET, WayIn(http_receiver, back, limits.header_timeout_s)))
    if snapshot.compat is not None:
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
    if receiver is not None and http_receiver is not None and parts.has_short_way:
        proxy.flow = InFlow(
            proxy,
            receiver,
            http_receiver,
            limiter,
            parts.recorder,
            limits.in_flight,
            _nonces(),
            time.monotonic,
            time.time,
        )
    if "link" in config.listen.accept:
        link_receiver = LinkReceiver(parts.sealed_parser, limits.body_bytes or None)
        proxy.link_way = WayBack(link_receiver, refusals_over_link, both_ways=True)
        proxy.link_flow = LinkFlow(
            proxy, link_receiver, limiter, parts.recorder, limits.in_flight, time.monotonic
        )
    return proxy, receiver


def caller_keys(callers: Iterable[Peer]) -> list[CallerKey]:
    """Return the keys by which envelopes prove callers."""
    return [CallerKey(peer.name, key, reveal(peer.psk)) for peer in callers for key in peer.public_keys]


def _receiver(snapshot: InSnapshot, parts: Parts) -> Receiver:
    config = snapshot.config
    receiver = Receiver(
        [PrivateKey(secret.reveal()) for secret in snapshot.private_keys],
        config.name,
        os.urandom(16),
        caller_keys(snapshot.callers.values()),
        ReceiverLimits(
            max_age_ms=LIFETIME_MS,
            max_clock_skew_ms=int(config.max_clock_skew_s * 1000),
            sessions_per_caller=config.limits.sessions_per_caller,
        ),
    )
    parts.metrics.watch("fastproxy_sessions", lambda: receiver.session_count)
    return receiver


def _http_receiver(snapshot: InSnapshot, parts: Parts, receiver: Receiver) -> HttpReceiver:
    limits = snapshot.config.limits
    return HttpReceiver(
        receiver,
        parts.sealed_parser,
        limits.body_bytes or None,
        newcomers(limits.new_sessions_per_peer_per_s, limits.rate_states),
        time.time,
        os.urandom,
    )


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


def _nonces() -> Iterator[bytes]:
    """Random nonces for answers, drawn many at a time: a system call for each would take 0.5 µs."""
    while True:
        drawn = os.urandom(RESPONSE_NONCE_BYTES * 256)
        for at in range(0, len(drawn), RESPONSE_NONCE_BYTES):
            yield drawn[at : at + RESPONSE_NONCE_BYTES]
