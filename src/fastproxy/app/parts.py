"""What both proxies are made of, and how a part of it is made."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Literal

from fastproxy import __version__
from fastproxy.app.descriptors import descriptors
from fastproxy.app.endpoints import Endpoints
from fastproxy.app.sharing import Sharing
from fastproxy.bounds import Room
from fastproxy.config import snapshot as configured
from fastproxy.config.schema_parts import Limits, ServiceSettings
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, LocalService, Snapshot
from fastproxy.discovery.source import Source
from fastproxy.errors import PEER_RATE_LIMITED
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.listener import peer_check
from fastproxy.net.outbox import Outbox
from fastproxy.net.pool import PoolLimits, Pools
from fastproxy.net.server import Edge, ServerLimits
from fastproxy.net.timers import Wheel
from fastproxy.policy.balance import Balancer
from fastproxy.policy.ratelimit import Rate, peer_key
from fastproxy.proxy.fields import CONTROL, HopFields
from fastproxy.proxy.forward import NextHop, Recover
from fastproxy.proxy.known_call import KnownCalls
from fastproxy.proxy.lanes import LaneRoom
from fastproxy.proxy.out_proxy import RemoteService
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.taps import Taps
from fastproxy.proxy.transport import Transport
from fastproxy.telemetry.access_log import AccessLog
from fastproxy.telemetry.failures import Failures
from fastproxy.telemetry.log import current_output, output_for
from fastproxy.telemetry.metrics import Metrics
from fastproxy.wire.compressors import COMPRESSORS
from fastproxy.wire.records import PLAIN, Packing

if TYPE_CHECKING:
    from fastproxy.app.tracing import Tracing

MakeService = Callable[[configured.RemoteService], RemoteService]
"""Makes a service of an out proxy, as one way between the proxies reaches it."""


class Standing:
    """What a proxy keeps for as long as its process runs, whatever its config becomes.

    wheel: for timeouts. outbox: has what a turn has made leave together. metrics: what it counts.
    failures: the last ones. taps: see exchanges. new_id: makes exchange ids.
    loop: the event loop. descriptors: knows when they run out.
    sharing: what it has in common with other processes. in_flight_before: how many exchanges are under way
    with former configs.

    Args:
        role: "out" or "in". loop, sharing, in_flight_before: as above.
    """

    def __init__(
        self,
        role: str,
        loop: asyncio.AbstractEventLoop,
        sharing: Sharing,
        in_flight_before: Callable[[], int],
    ) -> None:
        self.loop = loop
        self.sharing = sharing
        self.in_flight_before = in_flight_before
        self.wheel = Wheel(loop)
        self.outbox = Outbox(loop.call_soon)
        self.metrics = Metrics(role, __version__)
        self.failures = Failures(role)
        self.taps = Taps()
        self.new_id = _exchange_ids()
        self.descriptors = descriptors(loop.time)


class Parts:
    """The parts of one proxy with one config.

    sharing: makes what holds rates and limits. access_log: has a line for each exchange.
    failures: has the last of those that failed. taps: see exchanges.
    endpoints: finds them, and registers this proxy's own. sources: where those of each service, or of its
    receiver, come from. hops: the ways there. pools: connections to them.
    tracing: traces exchanges; None where that is off.
    has_short_way: whether ordinary calls may take it (`proxy.out_flow`).
    head_limits: for every head. sealed_parser: judges those inside sealed messages.

    Args:
        snapshot: the config that it runs. standing: what stays when that changes.
        former: the parts with the config before, of which those go on that are the same with this one.
    """

    def __init__(self, snapshot: Snapshot, standing: Standing, former: Parts | None = None) -> None:
        config = snapshot.config
        self._snapshot = snapshot
        self._former = former
        self._former_pools = {} if former is None else former.pools
        self.loop = standing.loop
        self.sharing = standing.sharing
        self._in_flight_before = standing.in_flight_before
        self.wheel = standing.wheel
        self._outbox = standing.outbox
        self.metrics = standing.metrics
        self.new_id = standing.new_id
        self.taps = standing.taps
        self._descriptors = standing.descriptors
        self.endpoints: Endpoints = Endpoints(
            snapshot, self.wheel, self.loop, None if former is None else former.endpoints
        )
        self.sources: list[Source] = []
        self.hops: list[NextHop] = []
        self._lane_room = LaneRoom()
        self.pools: dict[tuple[str, PoolLimits], Pools] = {}
        self.metrics.begin(snapshot.caller_names, snapshot.services)
        for limit in ("connections", "in_flight"):
            allowed = getattr(config.limits, limit)
            self.metrics.watch("fastproxy_limit_allowed", partial(float, allowed), limit)
        self.access_log = self._make_access_log()
        # There, every connection is as good as another.
        self.has_short_way = not config.limits.requests_per_connection
        self.tracing: Tracing | None = self._make_tracing(former)
        tracer = None if self.tracing is None else self.tracing.tracer
        self.failures = standing.failures
        self.failures.begin(config.name, config.failures.kept_per_cause)
        self.recorder = Recorder(
            self.metrics, self.access_log, self.failures, time.monotonic, time.time, tracer
        )
        self.fields = HopFields(config.name)
        self.head_limits = HeadLimits(
            config.limits.header_bytes,
            config.limits.header_count,
            config.limits.target_bytes,
            config.limits.body_bytes or None,
        )
        # One for all services, since each remembers what it parsed.
        is_same = former is not None and former.head_limits == self.head_limits
        self._answer_parser: HeadParser = (
            former._answer_parser if former is not None and is_same else HeadParser(self.head_limits)
        )
        self.sealed_parser = HeadParser(
            self.head_limits, CONTROL if isinstance(snapshot, InSnapshot) else frozenset(), sealed=True
        )

    def _make_access_log(self) -> AccessLog:
        config = self._snapshot.config
        access = {"on": 1.0, "off": 0.0}.get(str(config.log.access))
        fraction = float(config.log.access) if access is None else access
        output = output_for(sys.stdout.fileno()) if fraction else None
        if output is not None:
            output.gather(self.loop)
        outputs = [each for each in {output, current_output()} if each is not None]
        self.metrics.watch("fastproxy_log_lines_dropped", lambda: sum(each.dropped for each in outputs))
        return AccessLog(config.name, fraction, output)

    def edge(self, limits: Limits, control: frozenset[bytes], *, is_plain: bool) -> Edge:
        """Make what the listener of a proxy judges by.

        Args:
            limits: of the config.
            control: names of the fields that the proxy consumes, in lower case.
            is_plain: what comes in here is plain HTTP. An envelope is larger than what it carries, so that
                `limits.body_bytes` holds for what comes out of it; and it leads to no other protocol.
        """
        head = self.head_limits if is_plain else replace(self.head_limits, body_bytes=None)
        return Edge(
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
                tunnel_idle_timeout_s=limits.tunnel_idle_timeout_s if is_plain else 0,
            ),
            peer_check(self._snapshot.config.listen.allowed_uids),
        )

    def make_calls(self, parser: HeadParser) -> KnownCalls:
        """Make what is known of requests that take the in proxy's short ways: none that is recorded does."""
        tracer = self.recorder.tracer
        if tracer is None:
            return KnownCalls(parser)
        from fastproxy.proxy.untraced import UntracedCalls  # noqa: PLC0415 - loaded only where traces are on

        return UntracedCalls(parser, tracer)

    def _make_tracing(self, former: Parts | None) -> Tracing | None:
        if self._snapshot.tracing is None:
            return None
        from fastproxy.app.tracing import tracing_of  # noqa: PLC0415 - loaded only where traces are on

        return tracing_of(self._snapshot, self.metrics, None if former is None else former.tracing)

    def room_in_flight(self) -> Room:
        """Make the limit of exchanges at a time."""
        return self.sharing.room("in_flight", self._snapshot.config.limits.in_flight, self._in_flight_before)

    def connections(self, service: LocalService | configured.RemoteService) -> Pools:
        """Make what keeps connections to a service, or to its receiver."""
        limits = self._snapshot.config.limits
        bounds = PoolLimits(
            connections=self.sharing.part(limits.connections_per_endpoint),
            waiting=self.sharing.part(limits.waiting_per_endpoint),
            idle_timeout_s=limits.endpoint_idle_timeout_s,
            connect_timeout_s=service.settings.connect_timeout_s,
            leaves_at_once=isinstance(service, configured.RemoteService),
        )
        key = service.name, bounds
        pools = self._former_pools.get(key)
        if pools is None or pools.parser is not self._answer_parser:
            pools = Pools(self._answer_parser, bounds, self.wheel, self.loop, self._descriptors, self._outbox)
        self.pools[key] = pools
        self.metrics.watch("fastproxy_upstream_connections_open", lambda: pools.size, service.name)
        self.metrics.watch("fastproxy_upstream_connections_idle", lambda: pools.idle, service.name)
        self.metrics.watch("fastproxy_upstream_connections_opened", lambda: pools.opened, service.name)
        self.metrics.watch("fastproxy_upstream_waiting", lambda: pools.waiting, service.name)
        return pools

    def next_hop(
        self,
        service: LocalService | configured.RemoteService,
        transport: Transport,
        recover: Recover | None = None,
        pools: Pools | None = None,
    ) -> NextHop:
        """Make the way to a service, or to its receiver.

        Args:
            service: as the config describes it. transport: carries there.
            recover: as for `NextHop`.
            pools: the connections there, where an endpoint's last answer says that it leaves.
        """
        name, settings = service.name, service.settings
        source = self.endpoints.source(service)
        self.sources.append(source)
        self.metrics.watch("fastproxy_endpoints", lambda: len(source.endpoints), name)
        self.metrics.watch("fastproxy_discovery_age_seconds", lambda: source.age_s(self.loop.time()), name)
        hop = NextHop(
            name,
            source,
            Balancer(self._snapshot.config.discovery.failing_s),
            transport,
            settings.timeout_s,
            settings.repeat_idempotent,
            time.monotonic,
            self._lane_room,
            recover,
        )
        if pools is not None:
            pools.on_leaving = hop.avoid
        self.hops.append(hop)
        return hop

    def settle(self) -> None:
        """The config is the one from now on: the former one keeps what goes on here no more."""
        self.endpoints.settle()
        former, self._former = self._former, None
        if former is not None:
            for key in self.pools.keys() & former.pools.keys():
                if former.pools[key] is self.pools[key]:
                    del former.pools[key]
        self._former_pools = {}

    async def retire(self) -> None:
        """Let go of what goes on in no later config; what is under way on it ends in its own time."""
        await self.endpoints.close()
        for pools in self.pools.values():
            pools.close()
        await self._end_tracing()

    async def close(self) -> None:
        """Cut off what is left."""
        await self.endpoints.close()
        for pools in self.pools.values():
            pools.abort()
        await self._end_tracing()

    async def _end_tracing(self) -> None:
        tracing, self.tracing = self.tracing, None
        if tracing is not None:
            await tracing.leave()


def packing_of(settings: ServiceSettings) -> Packing:
    """How what is sealed for a service is compressed and padded."""
    if settings.compress == "none" and not settings.pad_to_bytes:
        return PLAIN
    compressors = {compressor.name: compressor for compressor in COMPRESSORS.values()}
    return Packing(
        compressors.get(settings.compress), settings.compress_min_bytes, settings.pad_to_bytes or 1
    )


def reveal(secret: Secret | None) -> bytes | None:
    """The bytes of a secret, if there is one."""
    return None if secret is None else secret.reveal()


def newcomers(
    sharing: Sharing, kind: Literal["new_sessions", "new_links"], per_s: float, capacity: int
) -> Callable[[str], None]:
    """Limits, per source address, how often curve arithmetic is spent on what may be a stranger."""
    limiter = sharing.rates(kind, capacity, PEER_RATE_LIMITED)
    rate = Rate(per_s, max(1, int(per_s)))

    def admit(peer: str) -> None:
        limiter.check(peer_key(peer), rate, time.monotonic())

    return admit


def _exchange_ids() -> Callable[[], str]:
    """Ids that are unique among all processes: random bits of this one, and a count; letters and digits."""
    prefix = os.urandom(8).hex()
    return map(f"{prefix}x{{:012x}}".format, count(1)).__next__
