"""An in proxy of its parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from fastproxy.app.parts import Parts, packing_of, reveal
from fastproxy.config.snapshot import InSnapshot
from fastproxy.errors import PEER_RATE_LIMITED
from fastproxy.net.pool import Pools
from fastproxy.policy.privilege import Privilege, Privileges, compile_privileges
from fastproxy.policy.ratelimit import Rate, RateLimiter, peer_key
from fastproxy.proxy.http_receiver import HttpReceiver
from fastproxy.proxy.in_proxy import InProxy, LocalService
from fastproxy.proxy.over_http import LIFETIME_MS
from fastproxy.proxy.to_service import ToService
from fastproxy.proxy.transport import Transport
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.receiver import Receiver, ReceiverLimits
from fastproxy.wire.sessions import CallerKey


def in_proxy(snapshot: InSnapshot, parts: Parts) -> tuple[InProxy, Receiver]:
    """Make the in proxy that a config describes; the receiver wants `expire` called every few seconds."""
    config = snapshot.config
    limits = config.limits
    receiver = Receiver(
        [PrivateKey(secret.reveal()) for secret in snapshot.private_keys],
        config.name,
        os.urandom(16),
        [
            CallerKey(peer.name, public_key, reveal(peer.psk))
            for peer in snapshot.callers.values()
            for public_key in peer.public_keys
        ],
        ReceiverLimits(
            max_age_ms=LIFETIME_MS,
            max_clock_skew_ms=int(config.max_clock_skew_s * 1000),
            sessions_per_caller=limits.sessions_per_caller,
        ),
    )
    parts.metrics.watch("fastproxy_sessions", lambda: receiver.session_count)
    limiter = RateLimiter(limits.rate_states)
    parts.metrics.watch("fastproxy_rate_keys", lambda: len(limiter))
    services: dict[str, LocalService] = {}
    for name, service in snapshot.services.items():
        settings = service.settings

        def way(pools: Pools) -> Transport:
            return ToService(pools, time.monotonic)

        services[name] = LocalService(
            parts.next_hop(name, service.endpoints, settings, way), packing_of(settings), settings.host
        )
    http_receiver = HttpReceiver(
        receiver,
        parts.sealed_parser,
        limits.body_bytes or None,
        _newcomers(limits.new_sessions_per_peer_per_s, limits.rate_states),
        time.time,
        os.urandom,
    )
    proxy = InProxy(
        config.name,
        http_receiver,
        services,
        privileges_of(snapshot),
        limiter,
        config.enforce == "enforce",
        parts.fields,
        parts.recorder,
        limits.in_flight,
        limits.header_timeout_s,
        parts.new_id,
        time.monotonic,
        time.time,
    )
    return proxy, receiver


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


def _newcomers(per_s: float, capacity: int) -> Callable[[str], None]:
    """Limits, per source address, how often curve arithmetic is spent on what may be a stranger."""
    limiter = RateLimiter(capacity, PEER_RATE_LIMITED)
    rate = Rate(per_s, max(1, int(per_s)))

    def admit(peer: str) -> None:
        limiter.check(peer_key(peer), rate, time.monotonic())

    return admit
