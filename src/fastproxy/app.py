"""The composition root: from a config snapshot to a running proxy.

The only place that wires objects together. What the parts need comes through their constructors; clocks and
randomness enter here. Reads top to bottom: what both proxies share, the out proxy, the in proxy, running one.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count

from fastproxy import __version__
from fastproxy.admin.server import AdminHandler
from fastproxy.config.address import Address
from fastproxy.config.schema import OutConfig, OutServiceSettings
from fastproxy.config.schema_parts import Limits, ServiceSettings
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot
from fastproxy.discovery.source import Source, source_of
from fastproxy.errors import PEER_RATE_LIMITED
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.listener import bind, peer_check
from fastproxy.net.pool import PoolLimits, Pools
from fastproxy.net.server import Handler, Server, ServerLimits
from fastproxy.net.timers import Wheel
from fastproxy.policy.balance import Balancer
from fastproxy.policy.privilege import Privilege, Privileges, compile_privileges
from fastproxy.policy.ratelimit import Rate, RateLimiter, peer_key
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.fields import CONTROL, HopFields
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.http_receiver import HttpReceiver
from fastproxy.proxy.in_proxy import InProxy, LocalService
from fastproxy.proxy.out_proxy import CallerRule, OutProxy
from fastproxy.proxy.over_http import LIFETIME_MS, OverHttp, ReceiverIdentity
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.to_service import ToService
from fastproxy.proxy.transport import Transport
from fastproxy.telemetry.access_log import AccessLog
from fastproxy.telemetry.metrics import Metrics
from fastproxy.wire.ciphers import CIPHERS
from fastproxy.wire.compressors import COMPRESSORS
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.receiver import Receiver, ReceiverLimits
from fastproxy.wire.records import PLAIN, Packing
from fastproxy.wire.sessions import CallerKey

_LOG = logging.getLogger("fastproxy")
_HOUSEKEEPING_S = 5.0


class Proxy:
    """A proxy that can be started and drained.

    Args:
        snapshot: the config that it runs.
        loop: the event loop.
    """

    def __init__(self, snapshot: Snapshot, loop: asyncio.AbstractEventLoop) -> None:
        config = snapshot.config
        self._snapshot = snapshot
        self._loop = loop
        self._wheel = Wheel(loop)
        self._sources: list[Source] = []
        self._pools: list[Pools] = []
        self._draining = False
        callers: Iterable[str]
        if isinstance(snapshot, OutSnapshot):
            role, callers = "out", snapshot.caller_keys
        else:
            role, callers = "in", snapshot.callers
        self.metrics = Metrics(role, __version__, callers, snapshot.services)
        access = {"on": 1.0, "off": 0.0}.get(str(config.log.access))
        fraction = float(config.log.access) if access is None else access
        access_log = AccessLog(config.name, fraction, sys.stdout.fileno() if fraction else None)
        self._recorder = Recorder(self.metrics, access_log, time.monotonic, time.time)
        self._fields = HopFields(config.name)
        self._new_id = _exchange_ids()
        self._head_limits = HeadLimits(
            config.limits.header_bytes,
            config.limits.header_count,
            config.limits.target_bytes,
            config.limits.body_bytes or None,
        )
        # One for all services, since each remembers what it parsed.
        self._answer_parser = HeadParser(self._head_limits)
        self._sealed_parser = HeadParser(
            self._head_limits, CONTROL if role == "in" else frozenset(), sealed=True
        )
        proxy: OutProxy | InProxy
        if isinstance(snapshot, OutSnapshot):
            proxy = self._out_proxy(snapshot)
            control = CONTROL | {proxy.caller_rule.header} - {b""}
        else:
            proxy = self._in_proxy(snapshot)
            control = frozenset()
        self._server = self._make_server(proxy, config.limits, control, config.listen.allowed_uids)
        self._admin = Server(
            AdminHandler(config.name, self.metrics, self._not_ready),
            HeadParser(HeadLimits()),
            ServerLimits(connections=256),
            self._wheel,
            loop,
        )
        self._watch(proxy)

    # --- what both proxies share --------------------

    def _make_server(
        self, proxy: Handler, limits: Limits, control: frozenset[bytes], allowed_uids: list[int]
    ) -> Server:
        # An envelope is larger than what it carries: the in proxy bounds what comes out of it.
        head = (
            self._head_limits if isinstance(proxy, OutProxy) else replace(self._head_limits, body_bytes=None)
        )
        return Server(
            proxy,
            HeadParser(head, control),
            ServerLimits(
                head=head,
                header_timeout_s=limits.header_timeout_s,
                body_timeout_s=limits.body_timeout_s,
                write_timeout_s=limits.write_timeout_s,
                idle_timeout_s=limits.idle_timeout_s,
                connections=limits.connections,
                connections_per_peer=limits.connections_per_peer,
                requests_per_connection=limits.requests_per_connection,
            ),
            self._wheel,
            self._loop,
            peer_check(allowed_uids),
        )

    def _next_hop(
        self,
        name: str,
        addresses: tuple[Address, ...],
        settings: ServiceSettings,
        way: Callable[[Pools], Transport],
    ) -> NextHop:
        """The way to a service or its receiver: endpoints, connections, transport."""
        config = self._snapshot.config
        limits, discovery = config.limits, config.discovery
        source = source_of(addresses, refresh_s=discovery.dns_refresh_s, timeout_s=discovery.dns_timeout_s)
        pools = Pools(
            self._answer_parser,
            PoolLimits(
                connections=limits.connections_per_endpoint,
                waiting=limits.waiting_per_endpoint,
                idle_timeout_s=limits.endpoint_idle_timeout_s,
                connect_timeout_s=settings.connect_timeout_s,
            ),
            self._wheel,
            self._loop,
        )
        self._sources.append(source)
        self._pools.append(pools)
        self.metrics.watch("fastproxy_endpoints", lambda: len(source.endpoints), name)
        self.metrics.watch("fastproxy_discovery_age_seconds", lambda: source.age_s(self._loop.time()), name)
        self.metrics.watch("fastproxy_upstream_connections_open", lambda: pools.size, name)
        self.metrics.watch("fastproxy_upstream_connections_opened", lambda: pools.opened, name)
        return NextHop(
            name,
            source,
            Balancer(discovery.failing_s),
            way(pools),
            settings.timeout_s,
            settings.repeat_idempotent,
            time.monotonic,
        )

    # --- the out proxy --------------------

    def _out_proxy(self, snapshot: OutSnapshot) -> OutProxy:
        config = snapshot.config
        keys = {name: PrivateKey(secret.reveal()) for name, secret in snapshot.caller_keys.items()}
        ciphers = {cipher.name: cipher for cipher in CIPHERS.values()}
        services: dict[str, NextHop] = {}
        for name, service in snapshot.services.items():
            settings, receiver = service.settings, service.receiver
            assert receiver is not None
            identity = ReceiverIdentity(receiver.name, receiver.public_keys[0], _reveal(receiver.psk))

            def way(
                pools: Pools,
                name: str = name,
                settings: OutServiceSettings = settings,
                identity: ReceiverIdentity = identity,
            ) -> Transport:
                return OverHttp(
                    name, keys, identity, ciphers[settings.cipher], _packing(settings), pools,
                    self._sealed_parser,
                    time.monotonic, time.time, os.urandom,
                )  # fmt: skip

            services[name] = self._next_hop(name, service.endpoints, settings, way)
        return OutProxy(
            config.name,
            _caller_rule(config, snapshot.caller),
            ServiceChoice(
                config.listen.service_from, services, config.listen.service or config.listen.default_service
            ),
            services,
            self._fields,
            self._recorder,
            config.limits.in_flight,
            self._new_id,
            time.monotonic,
            time.time,
        )

    # --- the in proxy --------------------

    def _in_proxy(self, snapshot: InSnapshot) -> InProxy:
        config = snapshot.config
        limits = config.limits
        self._receiver = receiver = Receiver(
            [PrivateKey(secret.reveal()) for secret in snapshot.private_keys],
            config.name,
            os.urandom(16),
            [
                CallerKey(peer.name, public_key, _reveal(peer.psk))
                for peer in snapshot.callers.values()
                for public_key in peer.public_keys
            ],
            ReceiverLimits(
                max_age_ms=LIFETIME_MS,
                max_clock_skew_ms=int(config.max_clock_skew_s * 1000),
                sessions_per_caller=limits.sessions_per_caller,
            ),
        )
        self.metrics.watch("fastproxy_sessions", lambda: receiver.session_count)
        limiter = RateLimiter(limits.rate_states)
        self.metrics.watch("fastproxy_rate_keys", lambda: len(limiter))
        services: dict[str, LocalService] = {}
        for name, service in snapshot.services.items():
            settings = service.settings

            def way(pools: Pools) -> Transport:
                return ToService(pools, time.monotonic)

            services[name] = LocalService(
                self._next_hop(name, service.endpoints, settings, way), _packing(settings), settings.host
            )
        http_receiver = HttpReceiver(
            receiver,
            self._sealed_parser,
            limits.body_bytes or None,
            _newcomers(limits.new_sessions_per_peer_per_s, limits.rate_states),
            time.time,
            os.urandom,
        )
        return InProxy(
            config.name,
            http_receiver,
            services,
            privileges_of(snapshot),
            limiter,
            config.enforce == "enforce",
            self._fields,
            self._recorder,
            limits.in_flight,
            limits.header_timeout_s,
            self._new_id,
            time.monotonic,
            time.time,
        )

    # --- running --------------------

    async def start(self) -> None:
        """Bind, look endpoints up, and take connections.

        Raises:
            StartError: an address can't be bound; the message says why and what to do.
        """
        snapshot = self._snapshot
        mode = int(snapshot.config.listen.socket_mode, 8)
        sockets = [(self._server, bind(snapshot.listen.host, snapshot.listen.port, mode))]
        if snapshot.admin is not None:
            sockets.append((self._admin, bind(snapshot.admin.host, snapshot.admin.port, 0o600)))
        await asyncio.gather(*(source.start() for source in self._sources))
        addresses = []
        for server, sock in sockets:
            await server.listen(sock)
            name = sock.getsockname()
            addresses.append(f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}")
        self._housekeeping = self._loop.create_task(self._keep_house())
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

    async def drain(self) -> None:
        """Take nothing new, let what is in flight end within the grace period, cut what is left."""
        grace_s = self._snapshot.config.drain.grace_s
        self._draining = True
        _LOG.info("draining", extra={"connections": len(self._server.connections), "grace_s": grace_s})
        self._server.drain()
        if not await self._server.emptied(grace_s):
            _LOG.warning("grace period over", extra={"cut": len(self._server.connections)})
            self._server.abort()
        self._housekeeping.cancel()
        await asyncio.gather(*(source.close() for source in self._sources))
        for pools in self._pools:
            pools.abort()
        self._admin.drain()
        self._admin.abort()
        self._wheel.close()
        _LOG.info("stopped")

    async def _keep_house(self) -> None:
        while True:
            await asyncio.sleep(_HOUSEKEEPING_S)
            if self.metrics.role == "in":
                self._receiver.expire(int(time.time() * 1000))

    def _not_ready(self) -> str:
        if self._draining:
            return "draining"
        lost = [hop for hop, source in zip(self._snapshot.services, self._sources, strict=True)
                if not source.endpoints]  # fmt: skip
        return f"no endpoint is known for {', '.join(lost)}" if lost else ""

    def _watch(self, proxy: OutProxy | InProxy) -> None:
        self.metrics.watch("fastproxy_in_flight", lambda: proxy.in_flight)
        self.metrics.watch("fastproxy_connections_open", lambda: len(self._server.connections))
        self.metrics.watch("fastproxy_connections_accepted", lambda: self._server.accepted)


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


def _caller_rule(config: OutConfig, fixed: str) -> CallerRule:
    if config.callers is None:
        return CallerRule(fixed)
    return CallerRule("", config.callers.header.lower().encode(), frozenset(config.callers.names))


def _packing(settings: ServiceSettings) -> Packing:
    if settings.compress == "none" and not settings.pad_to_bytes:
        return PLAIN
    compressors = {compressor.name: compressor for compressor in COMPRESSORS.values()}
    return Packing(
        compressors.get(settings.compress), settings.compress_min_bytes, settings.pad_to_bytes or 1
    )


def _reveal(secret: Secret | None) -> bytes | None:
    return None if secret is None else secret.reveal()


def _newcomers(per_s: float, capacity: int) -> Callable[[str], None]:
    """Limits, per source address, how often curve arithmetic is spent on what may be a stranger."""
    limiter = RateLimiter(capacity, PEER_RATE_LIMITED)
    rate = Rate(per_s, max(1, int(per_s)))

    def admit(peer: str) -> None:
        limiter.check(peer_key(peer), rate, time.monotonic())

    return admit


def _exchange_ids() -> Callable[[], str]:
    """Ids that are unique among all processes: random bits of this one, and a count."""
    prefix = os.urandom(8).hex()
    return map(f"{prefix}-{{:x}}".format, count(1)).__next__


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
