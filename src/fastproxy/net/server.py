"""One listener of the plain edge: what its connections (`connection.py`) share, and how it ends.

Knows nothing of which proxy it serves, of config, policy or logs.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from time import gmtime, strftime
from typing import Any, NamedTuple, Protocol

from fastproxy.bounds import Counts, OwnCounts, OwnRoom, Room
from fastproxy.errors import ProxyError
from fastproxy.model import Request, Response
from fastproxy.net.connection import Connection
from fastproxy.net.descriptors import Descriptors, Refused
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.listener import BACKLOG
from fastproxy.net.outbox import AT_ONCE, Outbox
from fastproxy.net.timers import Wheel
from fastproxy.net.waiting import is_waiting

_SETTLING_TURNS = 3

_KEEP_FILE: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
"""The file of a Unix socket stays when one of its listeners closes: others go on with the socket."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one listener grants its peers; each bound protects against one way of holding it up.

    header_timeout_s: from the first byte of a head (or of the connection) to its end.
    body_timeout_s: between two pieces of a body. write_timeout_s: for a peer that doesn't read.
    idle_timeout_s: between two requests.
    connections: in total; connections_per_peer: by address, 0 for no limit.
    requests_per_connection: 0 for no limit.
    tunnel_idle_timeout_s: for a connection that has left HTTP, without a byte either way; 0 where none may.
    newcomers_first: when there are as many as there may be, whoever would be the next to be cut off for what
    it owes (a request, the rest of one, or to read) makes room for one more.
    """

    head: HeadLimits = field(default_factory=HeadLimits)
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    write_timeout_s: float = 30.0
    idle_timeout_s: float = 75.0
    connections: int = 10000
    connections_per_peer: int = 0
    requests_per_connection: int = 0
    tunnel_idle_timeout_s: float = 0.0
    newcomers_first: bool = False


class Edge(NamedTuple):
    """What a listener judges its peers by.

    parser: parses heads, and knows which fields the handler consumes. limits: bounds for every connection.
    allow_peer: for Unix sockets, decides by uid who may connect; None lets everybody in.
    """

    parser: HeadParser
    limits: ServerLimits
    allow_peer: Callable[[int], bool] | None = None


class Handler(Protocol):
    """What a server hands its requests to."""

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer `request` by `connection.respond`; runs driven, not as a Task."""
        ...

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """The whole answer to something that never became a request; it is recorded there."""
        ...


class Links(Protocol):
    """Who takes connections over that don't speak HTTP but links."""

    def begins(self, data: bytes) -> bool:
        """Whether what a connection begins with is a link."""
        ...

    def take(self, transport: asyncio.Transport, peer: str, data: bytes) -> None:
        """Take a connection over.

        Args:
            peer: its other end's address. data: what has come.
        """
        ...


class Server:
    """One listener: what its connections share.

    links: takes connections over that begin as links do; None where nobody does.
    connection_limit: how many there may be here, as long as no more are asked for.
    shown: the number of connections stands there, for whoever else wants to know; one word.
    enough, hand_on: with so many connections, `hand_on` is asked whether it has given the next one, of which
    nothing was read, to another process.
    descriptors: knows when they run out; None where nobody cares.

    Args:
        handler: gets the requests.
        parser, limits, allow_peer: see `Edge`.
        wheel: for timeouts.
        loop: the event loop.
        room, by_peer: where other processes share the limits of connections.
        outbox: writes answers on the short way.
    """

    def __init__(
        self,
        handler: Handler,
        parser: HeadParser,
        limits: ServerLimits,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
        allow_peer: Callable[[int], bool] | None = None,
        room: Room | None = None,
        by_peer: Counts | None = None,
        outbox: Outbox = AT_ONCE,
    ) -> None:
        self.handler = handler
        self.parser = parser
        self.limits = limits
        self.allow_peer = allow_peer
        self.wheel = wheel
        self.outbox = outbox
        self.loop = loop
        self.links: Links | None = None
        self.shown = memoryview(bytearray(8)).cast("Q")
        self.enough: float = inf
        self.hand_on: Callable[[asyncio.Transport], bool] = _keep
        self.descriptors: Descriptors | None = None
        self.connections: set[Connection] = set()
        self.by_peer = OwnCounts() if by_peer is None else by_peer
        self._room = OwnRoom(limits.connections) if room is None else room
        self.connection_limit = self._room.begin()
        self.accepted = 0
        self.draining = False
        self.drain_idle_s = 0.0
        self._empty = asyncio.Event()
        self._date = (0, b"")
        self._listeners: list[asyncio.Server] = []

    def change(self, handler: Handler, edge: Edge) -> None:
        """Hand requests to another handler from now on, those that come on open connections included.

        What is under way ends with the one that it began with; whoever may not connect any more is cut off.
        """
        self.handler = handler
        self.parser, self.limits, self.allow_peer = edge
        self._room.total = self.limits.connections
        self.trim()
        for connection in self.connections:
            connection.renew()
            connection.judge_peer()

    async def listen(self, sock: socket.socket) -> None:
        """Take connections from a bound socket (TCP or Unix)."""
        if sock.family == socket.AF_UNIX:
            listener = await self.loop.create_unix_server(
                lambda: Connection(self), sock=sock, backlog=BACKLOG, **_KEEP_FILE
            )
        else:
            listener = await self.loop.create_server(lambda: Connection(self), sock=sock, backlog=BACKLOG)
        self._listeners.append(listener)

    def date_line(self) -> bytes:
        """The line of a Date field for now, made once a second (RFC 9110, section 6.6.1)."""
        now = int(self.loop.time())
        if self._date[0] != now or not self._date[1]:
            self._date = (now, b"date: %b\r\n" % strftime("%a, %d %b %Y %H:%M:%S GMT", gmtime()).encode())
        return self._date[1]

    def turns_away(self, descriptors: Descriptors, transport: asyncio.Transport, peer: str) -> bool:
        """Whether a connection was let in only to be refused, since descriptors run out.

        Args:
            descriptors: knows how many there are. peer: its other end's address.
        """
        fd = transport.get_extra_info("socket").fileno()
        if not descriptors.is_short(fd):
            return False
        if descriptors.is_last(fd):
            transport.set_protocol(asyncio.Protocol())
            transport.abort()
        else:
            refused = Refused(self, peer)
            transport.set_protocol(refused)
            refused.connection_made(transport)
        return True

    def drain(self, idle_s: float = 0.0) -> None:
        """Have each connection end after its next answer, or, where nothing is owed, when no request comes.

        Connections are taken until `shut`: whoever connects doesn't know yet that this listener goes.

        Args:
            idle_s: how long a request may take to come; 0 closes what is idle now, and takes nothing new.
        """
        self.draining = True
        self.drain_idle_s = idle_s
        for connection in list(self.connections):
            connection.drain(idle_s)

    async def settle(self) -> None:
        """Wait until nobody waits to be taken, and whoever was taken is counted; then `shut` at once."""
        turns = 0
        while turns < _SETTLING_TURNS:  # what is accepted in one turn of the loop is told in the next
            await asyncio.sleep(0)
            turns = 0 if self._is_wanted() else turns + 1

    def _is_wanted(self) -> bool:
        return any(is_waiting(sock.fileno()) for listener in self._listeners for sock in listener.sockets)

    def shut(self) -> None:
        """Take no more connections."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener.close()

    @property
    def size(self) -> int:
        """Number of connections."""
        return len(self.connections)

    async def emptied(self, timeout_s: float) -> bool:
        """Wait, while draining, until no connection is left; False when that takes longer than allowed."""
        if not self.connections:
            return True
        self._empty.clear()  # others may have come since it was
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def has_room(self) -> bool:
        """Whether there may be as many connections as there are now; asks for more where that helps."""
        size = len(self.connections)
        if size > self.connection_limit:
            self.connection_limit = self._room.raised(size)
        return size <= self.connection_limit or (self.limits.newcomers_first and self._make_room())

    def _make_room(self) -> bool:
        """Cut off whoever owes something and would be the next to be cut off for it; False for nobody."""
        owing = [connection for connection in self.connections if connection.owes_until_s < inf]
        if owing:
            min(owing, key=attrgetter("owes_until_s")).abort()
        return bool(owing)

    def trim(self) -> None:
        """Give back what isn't needed of the limit."""
        self.connection_limit = self._room.trimmed(len(self.connections))

    def forget(self, connection: Connection) -> None:
        """A connection is gone."""
        self.connections.discard(connection)
        self.by_peer.remove(connection.peer)
        if self.draining and not self.connections:
            self._empty.set()

    def abort(self) -> None:
        """Cut every connection off."""
        for connection in list(self.connections):
            connection.abort()


def _keep(transport: asyncio.Transport) -> bool:
    """Hand nothing on: there is nobody else."""
    return False
