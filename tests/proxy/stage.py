"""Both proxies, wired as `fastproxy run` wires them, on played connections and a clock that stands still.

Unlike `tests.net.chain`, which hands over one call after the other, everything can happen at any time here:
several callers, answers of any form, connections that are lost, refused or slow, time that passes, an in
proxy that restarts. `settle` brings all of it to an end, after which nothing may be left.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from fastproxy.app.running import Proxy
from fastproxy.config.load import load
from fastproxy.errors import CONNECT_REFUSED, ProxyError
from fastproxy.model import Endpoint
from fastproxy.net.client import ClientConnection
from fastproxy.net.connection import Connection
from fastproxy.net.pool import Pool
from fastproxy.policy.pattern import parse_pattern
from fastproxy.proxy.in_proxy import InProxy
from fastproxy.proxy.out_proxy import OutProxy
from tests.e2e.proxies import merged
from tests.net.chain import configs
from tests.net.kit import Clock, Wire

Config = dict[str, Any]
DATE = b"Date: Sun, 22 Nov 2026 20:18:41 GMT\r\n"
OPEN_TO_ALL = {"privileges": [{"callers": ["caller"], "services": ["search_service"]}]}
_COMPAT = {
    "sign_keys": {"s": {"literal": "a signing key of some length", "insecure_literal": True}},
    "encrypt_keys": {"e": {"literal": "0123456789abcdef", "insecure_literal": True}},
}
COMPAT_OUT = {
    "private_key": None,
    "compat": {**_COMPAT, "callers": {"caller": {"sign": "s", "encrypt": "e", "compress": "none"}}},
    "services": {"search_service": {"transport": "compat", "receiver": None}},
}
COMPAT_IN = {
    "private_key": None,
    "callers": None,
    "listen": {"accept": ["compat"]},
    "compat": {**_COMPAT, "callers": {"caller": {"sign": ["s"], "encrypt": ["e"]}}},
}
"""Settings that make the pair speak wire format v1."""


def request(
    method: bytes = b"POST", content: bytes | None = b"", target: bytes = b"/a", fields: bytes = b""
) -> bytes:
    """A request of a caller; content None declares none."""
    length = b"" if content is None else b"Content-Length: %d\r\n" % len(content)
    head = b"%b /search_service%b HTTP/1.1\r\nHost: search\r\n%b%b\r\n" % (method, target, fields, length)
    return head + (content or b"")


def answer(content: bytes = b"", status: bytes = b"200 OK", fields: bytes = DATE) -> bytes:
    """An answer of a service."""
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, fields, len(content), content)


class Link(Wire):
    """A played connection between two parties that are both here: each end has what the other wrote."""

    def __init__(self, near: ClientConnection, far: Connection) -> None:
        super().__init__(near, ("192.0.2.7", 80))
        self.far = Wire(far, ("192.0.2.8", 4712))

    def carry(self) -> bool:
        """Hand over what was written on both ends; whether there was anything."""
        there, back = self.take(), self.far.take()
        if there and not self.far.lost:
            self.far.receive(there)
        if back and not self.lost:
            self.receive(back)
        for one, other in ((self, self.far), (self.far, self)):
            if one.closing and not one.lost and not one.written:
                one.lose()
                other.lose()
        return bool(there or back)


class Stage:
    """A pair of proxies with everything around them played.

    outer, inner: the proxies. links: connections between them. services: connections to services, the newest
    at the end. down: endpoints that take no connections.
    long_ways: by role, coroutines that a proxy began. flights: calls that took the short way, at both.

    Args:
        folder: for keys and configs. out, inner: settings that differ from the plain ones.
    """

    def __init__(self, folder: Path, *, out: Config | None = None, inner: Config | None = None) -> None:
        self.clock = Clock()
        self.links: list[Link] = []
        self.services: list[Wire] = []
        self.down: set[Endpoint] = set()
        self.long_ways = {"out": 0, "in": 0}
        self.flights = 0
        self._files = configs(folder)
        for file, changes in zip(self._files, (out or {}, inner or {}), strict=True):
            file.write_text(json.dumps(merged(json.loads(file.read_text()), changes)))
        self.outer, self.inner = (self._proxy(file) for file in self._files)

    def _proxy(self, file: Path) -> Proxy:
        with mock.patch.object(time, "monotonic", self.clock.time):
            return Proxy(load(file, check_pattern=parse_pattern), self.clock.loop)

    @contextmanager
    def playing(self) -> Iterator[Stage]:
        """Count what goes the long way, and play every connection that a pool asks for."""
        with (
            mock.patch.object(Pool, "_connect", self._connecting()),
            mock.patch.object(OutProxy, "handle", self._counting("out", OutProxy.handle)),
            mock.patch.object(InProxy, "handle", self._counting("in", InProxy.handle)),
            mock.patch.object(Connection, "carry", self._carrying(Connection.carry)),
        ):
            yield self

    def _counting(self, role: str, handle: Any) -> Any:
        def counting(*args: Any, **more: Any) -> Any:
            self.long_ways[role] += 1
            return handle(*args, **more)

        return counting

    def _carrying(self, carry: Any) -> Any:
        def carrying(*args: Any) -> None:
            self.flights += 1
            carry(*args)

        return carrying

    def _connecting(self) -> Any:
        async def connect(pool: Pool) -> ClientConnection:
            if pool.endpoint in self.down:
                raise ProxyError(CONNECT_REFUSED, f"{pool.endpoint}: played")
            connection = ClientConnection(pool._parser, pool.endpoint, pool._freed, pool._lost, pool._outbox)
            if pool in self._pools(self.outer):
                self.links.append(Link(connection, Connection(self.inner.server)))
            else:
                self.services.append(Wire(connection, ("192.0.2.9", 80)))
            pool._all.add(connection)
            pool.opened += 1
            return connection

        return connect

    @staticmethod
    def _pools(proxy: Proxy) -> list[Pool]:
        return [pool for pools in proxy.parts.pools.values() for pool in pools._pools.values()]

    def caller(self, peer: str = "192.0.2.1") -> Wire:
        """A new connection of a caller."""
        return Wire(Connection(self.outer.server), (peer, 4711))

    def end_turn(self) -> None:
        """Bring this turn of the loop to its end: what waits for it is written."""
        self.clock.advance(0)

    def carry(self) -> None:
        """Hand over what is on its way between the proxies, until nothing is."""
        self.end_turn()
        while any(link.carry() for link in self.links):
            self.end_turn()

    def ask(self, caller: Wire, message: bytes) -> Wire | None:
        """Send a request as far as the service; returns the connection that it came to, if it came to one."""
        caller.receive(message)
        self.carry()
        return self.asked[-1] if self.asked else None

    @property
    def asked(self) -> list[Wire]:
        """Connections of services on which a request waits for its answer, by when they were made."""
        return [wire for wire in self.services if wire.written and not wire.lost]

    def tell(self, service: Wire, *pieces: bytes) -> bytes:
        """Answer for the service, piece by piece; returns the request that is answered."""
        asked = service.take()
        for piece in pieces:
            service.receive(piece)
            self.carry()
        return asked

    def call(self, caller: Wire, message: bytes, reply: bytes | None = None) -> tuple[bytes, bytes]:
        """Carry one call through; returns what the service got and what the caller did."""
        service = self.ask(caller, message)
        asked = b"" if service is None else self.tell(service, reply or answer(b"fine"))
        return asked, caller.take()

    def warm_up(self, message: bytes | None = None, reply: bytes | None = None) -> Wire:
        """Make calls until both proxies know the short way; returns the caller."""
        caller = self.caller()
        for _ in range(3):
            self.call(caller, message or request(content=b"what"), reply)
        self.long_ways.update({"out": 0, "in": 0})
        self.flights = 0
        return caller

    def restart_inner(self) -> None:
        """Put a new in proxy in the place of the present one."""
        for link in self.links:
            link.far.lose()
            link.lose()
        for service in self.services:
            service.lose()
        self.inner = self._proxy(self._files[1])

    def end_connections(self) -> None:
        """Bring the connections that a proxy has closed to their end."""
        for wire in self.services:
            if wire.closing:
                wire.lose()
        self.carry()

    def settle(self, *callers: Wire) -> None:
        """Let everything that is under way run out of time, and whoever hung up be gone."""
        for _ in range(4):
            self.carry()
            self.end_connections()
            self.clock.advance(31)
        for caller in callers:
            if caller.closing:
                caller.lose()

    def check_nothing_is_left(self) -> None:
        """No exchange is under way, every connection is either free or gone, and nothing went wrong."""
        self.end_connections()
        assert not self.clock.failures
        for proxy in (self.outer, self.inner):
            assert proxy.server.handler.in_flight == 0  # type: ignore[attr-defined]
            for pool in self._pools(proxy):
                free = list(pool.idle)
                assert len(free) == len(set(map(id, free))), "a connection is in the pool twice"
                assert pool._all == set(free), "a connection is lost to its pool"
                assert not any(connection.busy or connection.closed for connection in free)
