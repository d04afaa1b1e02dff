"""Whether receivers accept a key that a caller is going to use: every endpoint of every receiver of a config
is greeted with it, in the way in which calls go there, and no call is made.

Over a link that is a handshake, over `http` a question that is answered under the keys of both alone. What is
behind one address (a balancer, several workers) is asked once, for all.
Knows nothing of where the key comes from or what becomes of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from fastproxy.app.key_dates import KeyDates
from fastproxy.app.links import CallerLinks, over_link
from fastproxy.app.own_keys import OwnKeys
from fastproxy.app.parts import MakeService, Parts, Standing
from fastproxy.app.receivers import KnownReceivers
from fastproxy.app.sharing import Alone
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import OutSnapshot, OwnKey, RemoteService
from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint, Exchange
from fastproxy.net.drive import Drive
from fastproxy.proxy.over_http import OverHttp
from fastproxy.proxy.over_link import OverLink
from fastproxy.proxy.refusals import Refusals

GREETING_TIMEOUT_S = 10.0
_AT_A_TIME = 32


class Greeted(NamedTuple):
    """What came of greeting a receiver at one endpoint.

    endpoint: "" where none is known. problem: why the key is not known to be accepted; "" when it is.
    """

    receiver: str
    transport: str
    endpoint: str
    problem: str


def receivers_of(snapshot: OutSnapshot) -> list[RemoteService]:
    """Return a service for each receiver, and way to it, that callers prove themselves to by keys."""
    found: dict[tuple[object, ...], RemoteService] = {}
    for service in snapshot.services.values():
        receiver = service.receiver
        if receiver is not None and not receiver.tls_id:
            way = receiver.name, service.settings.transport, service.endpoints, service.center_name
            found.setdefault(way, service)
    return list(found.values())


async def greet_all(snapshot: OutSnapshot, caller: str, key: Secret) -> list[Greeted]:
    """Greet every receiver of a config as a caller with this key.

    Args:
        snapshot: config of an out proxy. caller: one of its callers. key: 32 bytes.

    Returns:
        One item for each endpoint, and for each receiver of which no endpoint is known.
    """
    config = snapshot.config
    silent = replace(snapshot, config=replace(config, log=replace(config.log, access="off")))
    probe = _Probe(silent, OwnKey(caller, (key,), None), asyncio.get_running_loop())
    try:
        return await probe.greet(receivers_of(silent))
    finally:
        await probe.close()


class _Probe:
    """The parts of an out proxy that it takes to greet receivers."""

    def __init__(self, snapshot: OutSnapshot, own: OwnKey, loop: asyncio.AbstractEventLoop) -> None:
        snapshot = replace(snapshot, own_keys=(own,))
        self._caller = own.name
        self._loop = loop
        self._parts = parts = Parts(snapshot, Standing("out", loop, Alone(), lambda: 0))
        own_keys = OwnKeys((own,), parts.metrics.key_uses, holds_neighbours=False)
        receivers = KnownReceivers(snapshot, KeyDates("receiver", parts.metrics, time.time))
        self._links = CallerLinks(snapshot, parts, own_keys, receivers, None)
        refusals = Refusals(snapshot.config.name, "out", parts.recorder, parts.new_id)
        self._ways: dict[str, MakeService] = {"link": over_link(snapshot, parts, self._links, refusals)}
        if any(service.settings.transport == "http" for service in snapshot.services.values()):
            from fastproxy.app.envelopes import over_http  # noqa: PLC0415 - as out proxies do

            self._ways["http"] = over_http(parts, refusals, own_keys, receivers)

    async def greet(self, services: Iterable[RemoteService]) -> list[Greeted]:
        """Greet the receivers of these services, at each of their endpoints."""
        hops = [(service, self._ways[service.settings.transport](service).hop) for service in services]
        await self._parts.endpoints.look_up()
        room = asyncio.Semaphore(_AT_A_TIME)
        greetings = []
        for service, hop in hops:
            way = hop.transport
            assert isinstance(way, OverLink | OverHttp)  # made above
            endpoints: tuple[Endpoint | None, ...] = hop.source.endpoints or (None,)
            greetings += [self._greet(service, way, endpoint, room) for endpoint in endpoints]
        return sorted(set(await asyncio.gather(*greetings)))

    async def _greet(
        self,
        service: RemoteService,
        way: OverLink | OverHttp,
        endpoint: Endpoint | None,
        room: asyncio.Semaphore,
    ) -> Greeted:
        receiver, transport = service.receiver, service.settings.transport
        assert receiver is not None  # of `receivers_of`
        if endpoint is None:
            return Greeted(receiver.name, transport, "", "no endpoint is known")
        now_s = time.monotonic()
        exchange = Exchange(
            self._parts.new_id(), now_s, "", now_s + GREETING_TIMEOUT_S, self._caller, service.name
        )
        problem = ""
        try:
            async with room, asyncio.timeout(GREETING_TIMEOUT_S):
                await self._driven(way, exchange, endpoint)
        except TimeoutError:
            problem = f"no answer within {GREETING_TIMEOUT_S:g} s"
        except ProxyError as error:
            problem = f"{error.cause.title}: {error.detail}"
        return Greeted(receiver.name, transport, str(endpoint), problem)

    async def _driven(self, way: OverLink | OverHttp, exchange: Exchange, endpoint: Endpoint) -> None:
        """Have a task of asyncio wait for what is driven (`net/drive.py`)."""
        over: asyncio.Future[None] = self._loop.create_future()

        def end(error: BaseException | None) -> None:
            if over.done():
                return
            if error is None:
                over.set_result(None)
            else:
                over.set_exception(error)

        drive = Drive(end)
        drive.start(way.greet(exchange, endpoint))
        try:
            await over
        finally:
            drive.cancel()

    async def close(self) -> None:
        """Leave nothing behind."""
        self._links.abort()
        await self._parts.close()
        self._parts.wheel.close()
        self._parts.access_log.settle()
