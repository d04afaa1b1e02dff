"""Connections to one endpoint, kept and reused, bounded in number; those over the bound wait in a line.

The last one used is the first to be used again, so that the surplus falls idle and is closed.
Knows nothing of balancing or retries.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection
from math import inf

from msgspec import Struct

from fastproxy.errors import (
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    DESCRIPTORS_EXHAUSTED,
    POOL_EXHAUSTED,
    ProxyError,
)
from fastproxy.model import Endpoint
from fastproxy.net.client import ClientConnection
from fastproxy.net.descriptors import SHORTAGES, Descriptors
from fastproxy.net.drive import Waiter, until
from fastproxy.net.http1 import HeadParser
from fastproxy.net.outbox import AT_ONCE, Outbox
from fastproxy.net.timers import Timer, Wheel


class PoolLimits(Struct, frozen=True):
    """Bounds on the connections to one endpoint.

    connections: open at a time. waiting: exchanges that may wait for one.
    idle_timeout_s: how long an unused connection is kept; shorter than the other side's, so that
        it isn't closed under a request. connect_timeout_s: for the TCP handshake.
    leaves_at_once: whether an endpoint that ends one connection by its answer is about to leave, as a proxy
        that drains: its idle ones are closed as well, so that no request meets their end. One that ends a
        new connection by its first answer leaves for certain, and whoever wants to know is told.
    """

    connections: int = 512
    waiting: int = 1024
    idle_timeout_s: float = 4.5
    connect_timeout_s: float = 2.0
    leaves_at_once: bool = False


class Pool:
    """The connections to one endpoint.

    idle: those that are free, the last used one at the end; one may be closed in the meantime.

    Args:
        endpoint: address to connect to; port 0 means that host is a Unix socket's path.
        parser: parses response heads.
        limits: bounds.
        wheel: for idle timeouts.
        loop: the event loop.
        descriptors: knows when they run out; None where nobody cares.
        tell_leaving: called with the endpoint when it is about to leave.
        outbox: as for a `ClientConnection`.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        parser: HeadParser,
        limits: PoolLimits,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
        descriptors: Descriptors | None = None,
        tell_leaving: Callable[[Endpoint], None] = lambda endpoint: None,
        outbox: Outbox = AT_ONCE,
    ) -> None:
        self.endpoint = endpoint
        self._descriptors = descriptors
        self._outbox = outbox
        self._parser = parser
        self._limits = limits
        self._loop = loop
        self._tell_leaving = tell_leaving
        self.idle: deque[ClientConnection] = deque()
        self._line: deque[Waiter[ClientConnection | None]] = deque()
        self._all: set[ClientConnection] = set()
        self._connecting = 0
        self._timer = Timer(wheel, self._close_idle)
        self._closed = False
        self.opened = 0

    @property
    def size(self) -> int:
        """Number of open connections."""
        return len(self._all)

    @property
    def waiting(self) -> int:
        """Number of exchanges that wait for a connection: in the line, or for one that is being made."""
        return len(self._line) + self._connecting

    @property
    def unused(self) -> bool:
        """Whether there is nothing in it and nobody wants anything from it."""
        return not self._all and not self._connecting and not self._line

    def take(self) -> ClientConnection | None:
        """Take a kept connection, if there is one."""
        idle = self.idle
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    async def acquire(self) -> ClientConnection:
        """Take a connection: a kept one, a new one, or the next that becomes free.

        Raises:
            ProxyError: CONNECT_REFUSED, CONNECT_TIMEOUT, DESCRIPTORS_EXHAUSTED or POOL_EXHAUSTED; nothing was
                sent.
        """
        while True:
            kept = self.take()
            if kept is not None:
                return kept
            if len(self._all) + self._connecting < self._limits.connections:
                return await self._connect()
            if len(self._line) >= self._limits.waiting:
                raise ProxyError(
                    POOL_EXHAUSTED,
                    f"{self.endpoint}: {self._limits.waiting} exchanges wait already",
                    numbers={"waiting_limit": self._limits.waiting, "connections": self._limits.connections},
                )
            waiter: Waiter[ClientConnection | None] = Waiter()
            self._line.append(waiter)
            try:
                free = await waiter
            except BaseException:
                if waiter.done:
                    self._hand_on(waiter)
                else:
                    self._line.remove(waiter)
                raise
            if free is not None and not free.closed:
                return free

    async def _connect(self) -> ClientConnection:
        endpoint = self.endpoint
        connection = ClientConnection(self._parser, endpoint, self._freed, self._lost, self._outbox)
        connected = False
        self._connecting += 1
        try:
            await until(self._loop.create_task(self._open(connection)))
            connected = not connection.closed
        except TimeoutError as error:
            raise ProxyError(
                CONNECT_TIMEOUT,
                f"{endpoint}: no answer within {self._limits.connect_timeout_s:g} s",
                numbers={"connect_timeout_s": self._limits.connect_timeout_s},
            ) from error
        except OSError as error:
            if error.errno in SHORTAGES:
                raise shortage(endpoint, self._descriptors) from error
            raise ProxyError(CONNECT_REFUSED, f"{endpoint}: {error.strerror or error}") from error
        finally:
            self._connecting -= 1
            if connected:  # it takes the place that was kept for it before anybody else may look
                self._all.add(connection)
                self.opened += 1
            else:
                connection.give_up()  # it may be made in the very moment in which the wait is cancelled
                self._call_next()
        if not connected:
            raise ProxyError(CONNECT_REFUSED, f"{endpoint}: the connection was closed at once")
        return connection

    async def _open(self, connection: ClientConnection) -> None:
        endpoint, loop = self.endpoint, self._loop
        async with asyncio.timeout(self._limits.connect_timeout_s):
            if endpoint.port:
                await loop.create_connection(lambda: connection, endpoint.host, endpoint.port)
            else:
                await loop.create_unix_connection(lambda: connection, endpoint.host)
        descriptors = self._descriptors
        if descriptors is not None and descriptors.is_short(connection.fd):
            raise shortage(endpoint)

    def _freed(self, connection: ClientConnection) -> None:
        """An exchange is through: the next in line gets the connection, or it is kept."""
        connection.idle_since = self._loop.time()
        if self._line or self._closed:
            self._pass_on(connection)
            return
        self.idle.append(connection)
        if self._timer.armed == inf:
            self._timer.set(connection.idle_since + self._limits.idle_timeout_s)

    def _pass_on(self, connection: ClientConnection) -> None:
        if self._closed:
            connection.close()
            return
        while self._line:
            waiter = self._line.popleft()
            if not waiter.done:
                waiter.set(connection)
                return
        self._freed(connection)

    def _lost(self, connection: ClientConnection) -> None:
        self._all.discard(connection)
        if connection.is_ended and self._limits.leaves_at_once:
            while self.idle:
                self.idle.pop().close()
            if not connection.idle_since:
                self._tell_leaving(self.endpoint)
        if not connection.busy and connection in self.idle:
            self.idle.remove(connection)
        self._call_next()

    def _call_next(self) -> None:
        """There is room for one more connection: whoever waits first may open it."""
        while self._line and len(self._all) + self._connecting < self._limits.connections:
            waiter = self._line.popleft()
            if not waiter.done:
                waiter.set(None)
                return

    def _hand_on(self, waiter: Waiter[ClientConnection | None]) -> None:
        """Someone in line got a connection and was cancelled in the same moment: the next one gets it."""
        connection = waiter.result
        if connection is not None and not connection.closed:
            self._freed(connection)
        else:
            self._call_next()

    def _close_idle(self) -> None:
        """Close what has been idle for too long; the longest idle stand in front."""
        now = self._loop.time()
        idle = self.idle
        while idle and idle[0].idle_since + self._limits.idle_timeout_s <= now:
            idle.popleft().close()
        if idle:
            self._timer.set(idle[0].idle_since + self._limits.idle_timeout_s)

    def close(self) -> None:
        """Close the idle connections now, the others when they are through."""
        self._closed = True
        self._timer.close()
        while self.idle:
            self.idle.pop().close()

    def abort(self) -> None:
        """Cut every connection off."""
        self.close()
        for connection in list(self._all):
            connection.abort()


class Pools:
    """The pools of all endpoints of one service or receiver.

    Endpoints come and go with discovery; the pool of one that has not been asked for in a while and holds no
    connection any more is forgotten.

    parser: as below.
    on_leaving: called with an endpoint that is about to leave (`PoolLimits.leaves_at_once`).

    Args: as for `Pool`.
    """

    __slots__ = (
        "_descriptors", "_limits", "_loop", "_opened_before", "_outbox", "_pools", "_wheel", "on_leaving",
        "parser",
    )  # fmt: skip

    def __init__(
        self,
        parser: HeadParser,
        limits: PoolLimits,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
        descriptors: Descriptors | None = None,
        outbox: Outbox = AT_ONCE,
    ) -> None:
        self._descriptors = descriptors
        self._outbox = outbox
        self.parser = parser
        self._limits = limits
        self._wheel = wheel
        self._loop = loop
        self._pools: dict[Endpoint, Pool] = {}
        self._opened_before = 0
        self.on_leaving: Callable[[Endpoint], None] = lambda endpoint: None

    @property
    def size(self) -> int:
        """Number of open connections."""
        return sum(pool.size for pool in self._pools.values())

    @property
    def idle(self) -> int:
        """Number of open connections that nobody uses."""
        return sum(len(pool.idle) for pool in self._pools.values())

    @property
    def waiting(self) -> int:
        """Number of exchanges that wait for a connection."""
        return sum(pool.waiting for pool in self._pools.values())

    @property
    def opened(self) -> int:
        """Number of connections opened so far."""
        return self._opened_before + sum(pool.opened for pool in self._pools.values())

    def known(self) -> Collection[Pool]:
        """Return the pools that there are now."""
        return self._pools.values()

    def pool(self, endpoint: Endpoint) -> Pool | None:
        """Return the pool of an endpoint, if there is one."""
        return self._pools.get(endpoint)

    def take(self, endpoint: Endpoint) -> ClientConnection | None:
        """Take a kept connection to `endpoint`, if there is one; see `Pool.take`."""
        pool = self._pools.get(endpoint)
        return None if pool is None else pool.take()

    async def acquire(self, endpoint: Endpoint) -> ClientConnection:
        """Take a connection to `endpoint`; see `Pool.acquire`."""
        pool = self._pools.get(endpoint)
        if pool is None:
            if len(self._pools) >= _REMEMBERED_POOLS:
                self._forget()
            pool = self._pools[endpoint] = Pool(
                endpoint, self.parser, self._limits, self._wheel, self._loop, self._descriptors,
                self._tell_leaving, self._outbox,
            )  # fmt: skip
        return await pool.acquire()

    def _tell_leaving(self, endpoint: Endpoint) -> None:
        self.on_leaving(endpoint)  # whoever it is now: pools outlive configs

    def _forget(self) -> None:
        for endpoint, pool in list(self._pools.items()):
            if pool.unused:
                self._opened_before += pool.opened
                del self._pools[endpoint]

    def close(self) -> None:
        """Close the idle connections now, the others when they are through."""
        for pool in self._pools.values():
            pool.close()

    def abort(self) -> None:
        """Cut every connection off."""
        for pool in self._pools.values():
            pool.abort()


_REMEMBERED_POOLS = 64


def shortage(endpoint: Endpoint, descriptors: Descriptors | None = None) -> ProxyError:
    """Return why no connection was made to an endpoint: no descriptor was left.

    Args:
        descriptors: where that is to be counted, if it wasn't.
    """
    if descriptors is not None:
        descriptors.count()
    return ProxyError(
        DESCRIPTORS_EXHAUSTED, f"{endpoint}: no file descriptor is left", phase="connect", retry_after_s=1
    )
