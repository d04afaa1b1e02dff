"""Where a proxy finds endpoints, and where it makes its own known.

A service's endpoints, or its receiver's, are fixed, behind DNS names, or known to the center; the config
says which. An out proxy looks receivers up at the center, an in proxy services. An in proxy registers there
as a receiver: under its own name, and under the names of its services for `compat`, which knows no
receivers' names. Never as a service: then it would find itself in a service's place.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence

from fastproxy.app.center_client import CenterClient
from fastproxy.config.address import Address
from fastproxy.config.snapshot import InSnapshot, LocalService, OutSnapshot, RemoteService, Snapshot
from fastproxy.discovery.center import CenterSource
from fastproxy.discovery.center_registration import Registration
from fastproxy.discovery.source import Source, source_of
from fastproxy.net.timers import Wheel

_GOODBYE_S = 1.0
"""Longest time that stopping waits for the center; a lease that isn't given back ends by itself."""

_Asked = tuple[str, tuple[Address, ...], float, float]
"""What is asked for a service: of the center by a name, or fixed and in DNS, how often and how long."""

_LOG = logging.getLogger("fastproxy.discovery")


class Endpoints:
    """The sources of one proxy, and its registrations.

    Args:
        snapshot: the config. wheel: for connections to the center. loop: the event loop.
        former: those of the config before, which asks the same of the center (`changes`). Sources that are
            the same go on with what they know; until `settle` they are still those of `former`.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
        former: Endpoints | None = None,
    ) -> None:
        self._settings = snapshot.config.discovery
        self._kind = "receivers" if isinstance(snapshot, OutSnapshot) else "services"
        self._sources: dict[_Asked, Source] = {}
        self._new: list[Source] = []
        self._client: CenterClient | None = None
        self._registrations: list[Registration] = []
        self._former = former
        if former is not None:
            self._client, self._registrations = former._client, former._registrations
            return
        if snapshot.center is None:
            return
        watched = {service.center_name for service in snapshot.services.values()} - {""}
        names = _registered_names(snapshot)
        self._client = CenterClient(snapshot.center, len(watched), len(names), wheel, loop)
        self._registrations = [
            Registration(
                self._client.send, "receivers", name, str(snapshot.center.advertise), random=random.random
            )
            for name in names
        ]

    def source(self, service: RemoteService | LocalService) -> Source:
        """Return the source of a service's endpoints; services that ask the center for one name share it."""
        name, settings = service.center_name, self._settings
        asked = name, service.endpoints, settings.dns_refresh_s, settings.dns_timeout_s
        source = self._sources.get(asked)
        if source is None and self._former is not None:
            source = self._former._sources.get(asked)
        if source is None:
            source = self._made(name, service.endpoints)
            self._new.append(source)
        self._sources[asked] = source
        return source

    def _made(self, name: str, addresses: Sequence[Address]) -> Source:
        settings = self._settings
        if not name:
            return source_of(addresses, refresh_s=settings.dns_refresh_s, timeout_s=settings.dns_timeout_s)
        assert self._client is not None  # no config names the center without saying where it is
        return CenterSource(self._client.fetch, self._kind, name, random=random.random)

    async def look_up(self) -> None:
        """Look all endpoints up for the first time, well or not, and keep them up to date from then on.

        A center that hangs holds this up for a second, DNS for its time limit.
        """
        await asyncio.gather(*(source.start() for source in self._new))

    def settle(self) -> None:
        """The config is the one from now on: `former` keeps what goes on here no more."""
        self._new = []
        former, self._former = self._former, None
        if former is not None:
            former._client, former._registrations = None, []
            for asked in self._sources.keys() & former._sources.keys():
                if former._sources[asked] is self._sources[asked]:
                    del former._sources[asked]

    async def give_up(self) -> None:
        """The config comes to nothing: stop looking up what was new in it."""
        await asyncio.gather(*(source.close() for source in self._new))

    async def register(self) -> None:
        """Register this receiver, well or not, and keep it registered; once it takes connections."""
        await asyncio.gather(*(registration.start() for registration in self._registrations))

    async def deregister(self) -> None:
        """Have the center send nobody here any more; before this receiver takes no more connections."""
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await asyncio.gather(*(registration.close() for registration in self._registrations))
        except TimeoutError:
            _LOG.warning("the center hangs while this receiver goes; its lease will end")

    async def close(self) -> None:
        """Stop looking up."""
        await asyncio.gather(*(source.close() for source in self._sources.values()))
        if self._client is not None:
            self._client.close()


def _registered_names(snapshot: Snapshot) -> list[str]:
    """Return the names under which this proxy is registered as a receiver."""
    if not isinstance(snapshot, InSnapshot) or snapshot.center is None or snapshot.center.advertise is None:
        return []
    return list(dict.fromkeys((snapshot.config.name, *snapshot.services)))
