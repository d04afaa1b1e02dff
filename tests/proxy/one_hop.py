"""An out proxy whose service stands right behind it: both plain edges, and nothing between them.

So what is HTTP's business can be tested without what lies between two proxies: the caller's side is
`net.connection` and `out_proxy`, the service's `to_service` and `net.client`, on real sockets.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from itertools import count
from types import TracebackType
from typing import Self

import uvloop

from fastproxy.bounds import OwnRoom
from fastproxy.discovery.fixed import FixedSource
from fastproxy.model import Endpoint
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.listener import bind
from fastproxy.net.pool import PoolLimits, Pools
from fastproxy.net.server import Server, ServerLimits
from fastproxy.net.timers import Wheel
from fastproxy.policy.balance import Balancer
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.fields import CONTROL, HopFields
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.lanes import LaneRoom
from fastproxy.proxy.out_proxy import CallerRule, OutProxy, RemoteService
from fastproxy.proxy.recorder import Recorder
from fastproxy.proxy.refusals import Refusals
from fastproxy.proxy.to_service import ToService
from fastproxy.proxy.transport import Transport
from fastproxy.telemetry.access_log import AccessLog
from fastproxy.telemetry.failures import Failures
from fastproxy.telemetry.metrics import Metrics
from tests.e2e.client import Client

_PATIENCE_S = 20.0


class OneHop:
    """The proxy, on a loop and a thread of its own; every request is for `service`.

    Args:
        service_port: of the service, on loopback.
        timeout_s: of each exchange. tunnel_idle_timeout_s: of what has left HTTP.
        transport: makes the way to the service, if it isn't the plain one.
    """

    def __init__(
        self,
        service_port: int,
        *,
        timeout_s: float = 20,
        tunnel_idle_timeout_s: float = 60,
        transport: Callable[[Pools], Transport] | None = None,
    ) -> None:
        self._endpoint = Endpoint("127.0.0.1", service_port)
        self._timeout_s = timeout_s
        self._tunnel_idle_timeout_s = tunnel_idle_timeout_s
        self._make = transport or (lambda pools: ToService(pools, time.monotonic))
        self.metrics = Metrics("out", "0", ["caller"], ["service"])
        self.address = ("", 0)
        self._started = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(_PATIENCE_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE_S)
        assert not self._thread.is_alive()
        if error is None:
            assert self.failures == []
            assert self.proxy.in_flight == 0

    def client(self) -> Client:
        """A caller."""
        return Client(self.address)

    def causes(self) -> set[str]:
        """The causes with which exchanges ended, "" for well; complete once the proxy has stopped."""
        return {cause for _, cause, _ in self.metrics.series("caller", "service").outcomes()}

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        loop, wheel = self._loop, Wheel(self._loop)
        self.failures: list[dict[str, object]] = []
        loop.set_exception_handler(lambda _, context: self.failures.append(context))
        limits = HeadLimits()
        pools = Pools(HeadParser(limits), PoolLimits(), wheel, loop)
        hop = NextHop(
            "service",
            FixedSource((self._endpoint,)),
            Balancer(1.0),
            self._make(pools),
            self._timeout_s,
            True,
            time.monotonic,
            LaneRoom(),
        )
        recorder = Recorder(
            self.metrics, AccessLog("proxy", 0, None), Failures("out"), time.monotonic, time.time
        )
        ids = map("{:08x}".format, count()).__next__
        refusals = Refusals("proxy", "out", recorder, ids)
        self.proxy = OutProxy(
            refusals,
            CallerRule("caller"),
            ServiceChoice("fixed", ["service"], "service"),
            {"service": RemoteService(hop, refusals)},
            HopFields("proxy"),
            recorder,
            OwnRoom(1000),
            False,
            ids,
            time.monotonic,
            time.time,
        )
        server = Server(
            self.proxy,
            HeadParser(limits, CONTROL),
            ServerLimits(head=limits, tunnel_idle_timeout_s=self._tunnel_idle_timeout_s),
            wheel,
            loop,
        )
        sock = bind("127.0.0.1", 0, 0o600)
        self.address = sock.getsockname()[:2]
        await server.listen(sock)
        self._started.set()
        await self._stop.wait()
        server.shut()
        server.drain()
        if not await server.emptied(1):
            server.abort()
            await server.emptied(_PATIENCE_S)
        pools.close()
        wheel.close()
