"""Handing connections on between the workers of a proxy, so that none has more than its share.

The kernel spreads connections by hash, which leaves the few links of an in proxy to chance. A worker that
gets one and has its share already passes its descriptor on (SCM_RIGHTS) to the one that has the fewest, as
the board shows: a connection before anything is read from it, a link with its first bytes, before its
handshake. From then on it is that worker's as if it had come there; the address at its other end stays.

A worker that drains hands nothing on, and takes what is in its inboxes to the last, unless another one does.
What passes through an inbox, with one descriptor: one byte with how often it was handed on, then what has
come on the link, if it is one. The numbers on the board can be late by what is in the inboxes, so that two
workers may choose the same third one: it may hand on as well, within `_HANDS`.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from math import inf
from typing import Any, cast

from fastproxy.control.board import Board, Slot
from fastproxy.net.connection import Connection
from fastproxy.net.descriptors import Descriptors
from fastproxy.net.link.server import LinkServer
from fastproxy.net.server import Server
from fastproxy.policy.spread import CONNECTIONS_SLACK, LINKS_SLACK, share, taker

_HANDS = 4
"""How often one connection is handed on at most."""
_FIRST_BYTES = 4096
"""Of a link: its first message has 512 bytes at most, so that what begins with more is none, and stays."""
_ON_ITS_WAY_S = 0.02
"""How long a connection may take from one worker to another until it shows on the board."""
_TAKEN_AT_ONCE = 16
"""Connections that are taken from an inbox in one turn of the loop, so that those that are there go on."""


class Spreading:
    """A worker's part in it.

    handed_on: connections that it gave to others.

    Args:
        board: shows what each worker has. place, number: of this worker: its place, and its slot's number.
        inboxes: the ends of all places into which to put. own: the ends from which this worker takes.
        loop: the event loop. chance: a random number between 0 and 1.
    """

    def __init__(
        self,
        board: Board,
        place: int,
        number: int,
        inboxes: Sequence[socket.socket],
        own: Sequence[socket.socket],
        loop: asyncio.AbstractEventLoop,
        chance: Callable[[], float],
    ) -> None:
        self.handed_on = 0
        self._chance = chance
        self._board = board
        self._slot: Slot = board.slot(number)
        self._place = place
        self._number = number
        self._inboxes = inboxes
        self._own = own
        self._loop = loop
        self._server: Server | None = None
        self._links: LinkServer | None = None
        self._is_inside_tls = False
        self._descriptors: Descriptors | None = None
        self._adopting: set[asyncio.Task[None]] = set()
        # What a place has, connections and links, to which something has just gone: the board may be late.
        self._expected: tuple[dict[int, int], dict[int, int]] = ({}, {})

    def begin(self, server: Server, links: LinkServer | None, *, is_inside_tls: bool) -> None:
        """Show what comes and goes here, and take part.

        Args:
            server, links: what has the connections, and the links if there are any.
            is_inside_tls: whether links come inside TLS: then nothing else comes.
        """
        self._server, self._links, self._is_inside_tls = server, links, is_inside_tls
        self._descriptors = server.descriptors
        server.shown = self._slot.connections_word
        server.shown[0] = len(server.connections)
        if links is not None:
            links.shown = self._slot.links_word
            links.shown[0] = len(links.links)
        if not self._inboxes:
            return
        server.hand_on = self._hand_connection_on
        if links is not None:
            links.hand_on = self._hand_link_on
        self._board.take_over(self._place, self._number)
        self.look()
        for inbox in self._own:
            self._loop.add_reader(inbox, self._take, inbox)

    def look(self) -> None:
        """See how many connections this worker may have before it hands on; called every so often."""
        server = self._server
        if server is None or not self._inboxes or server.hand_on != self._hand_connection_on:
            return
        now_s = self._loop.time()
        self._board.claim(self._place, self._number, now_s)
        numbers = [connections for _, _, connections, _ in self._board.takers(len(self._inboxes), now_s)]
        if numbers:
            server.enough = share(sum(numbers) + 1, len(numbers), CONNECTIONS_SLACK)

    def rest(self) -> None:
        """Hand nothing on any more, and let others hand nothing on to here."""
        if self._server is not None and self._inboxes:
            self._board.leave(self._place, self._number)
            self._server.enough = inf
            self._server.hand_on = _keep
            if self._links is not None:
                self._links.hand_on = _keep

    async def end(self, *, is_last: bool) -> None:
        """Take nothing from others any more.

        Args:
            is_last: nobody takes from these inboxes after this worker: what is in them is taken first.
        """
        if not self._inboxes:
            return
        if is_last:
            await asyncio.sleep(_ON_ITS_WAY_S)  # who has chosen this worker before it rested sends now
        for inbox in self._own:
            self._loop.remove_reader(inbox)
            while is_last and self._take_one(inbox):
                pass
        if self._adopting:
            await asyncio.wait(self._adopting)

    # --- giving -------------------------------------------------------------------------------------------

    def _hand_connection_on(self, transport: asyncio.Transport) -> bool:
        """Whether somebody else has this connection now (see `Server`)."""
        if not self._give(_fd(transport), 0, b"", is_link=False):
            self.look()
            return False
        transport.set_protocol(asyncio.Protocol())
        transport.abort()  # which closes this process's descriptor of it and nothing else
        return True

    def _hand_link_on(self, connection: asyncio.Transport | socket.socket, data: bytes) -> bool:
        """Whether somebody else has this link now (see `LinkServer`)."""
        return len(data) <= _FIRST_BYTES and self._give(_fd(connection), 0, data, is_link=True)

    def _give(self, fd: int, hands: int, data: bytes, *, is_link: bool) -> bool:
        """Give a connection to the worker that should have it; False when that is this one, or can't be."""
        own, places, others, expected = 0, [], [], self._expected[is_link]
        for place, number, connections, links in self._board.takers(len(self._inboxes), self._loop.time()):
            count = links if is_link else connections
            if number == self._number:
                own = count + len(self._adopting)
            else:
                places.append(place)
                others.append(max(count, expected.get(place, 0)))
        chosen = taker(own, others, LINKS_SLACK if is_link else CONNECTIONS_SLACK, self._chance())
        if chosen is None:
            return False
        place = places[chosen]
        try:
            socket.send_fds(self._inboxes[place], [bytes((hands + 1,)) + data], [fd])
        except OSError:  # it is full, and whoever takes from it has enough to do
            return False
        if not expected:
            self._loop.call_later(_ON_ITS_WAY_S, expected.clear)
        expected[place] = others[chosen] + 1
        self.handed_on += 1
        return True

    # --- taking -------------------------------------------------------------------------------------------

    def _take(self, inbox: socket.socket) -> None:
        for _ in range(_TAKEN_AT_ONCE):
            if not self._take_one(inbox):
                return

    def _take_one(self, inbox: socket.socket) -> bool:
        """Take a connection from an inbox; False when there is none."""
        try:
            message, fds, _, _ = socket.recv_fds(inbox, _FIRST_BYTES + 1, 1, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return False
        hands, data = message[0], message[1:]
        if not fds:  # none was free for it, and so the connection is gone
            if self._descriptors is not None:
                self._descriptors.count()
            return True
        is_link = bool(data) or self._is_inside_tls
        server = self._server
        assert server is not None  # there is one since `begin`
        if not server.draining and hands < _HANDS and self._give(fds[0], hands, data, is_link=is_link):
            os.close(fds[0])
            return True
        connection = socket.socket(fileno=fds[0])
        links = self._links
        if not is_link:
            self._adopt(_join(self._loop, connection, _Newcomer(server)))
        elif links is None or server.draining:
            connection.close()
        elif self._is_inside_tls:
            links.take_new(connection)
        else:
            self._adopt(_join(self._loop, connection, _LinkBegun(links, data)))
        return True

    def _adopt(self, joining: Coroutine[Any, None, None]) -> None:
        task = self._loop.create_task(joining)
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)


class _Newcomer(asyncio.Protocol):
    """A connection that another worker has handed on; nothing was read from it."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = Connection(self._server)
        transport = cast(asyncio.Transport, transport)
        transport.set_protocol(connection)
        connection.begin(transport)


class _LinkBegun(asyncio.Protocol):
    """A link that another worker has handed on. data: what has come on it."""

    def __init__(self, links: LinkServer, data: bytes) -> None:
        self._links = links
        self._data = data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        peername = transport.get_extra_info("peername")
        peer = peername[0] if isinstance(peername, tuple) else "unix"
        self._links.begin(cast(asyncio.Transport, transport), peer, self._data)


async def _join(
    loop: asyncio.AbstractEventLoop, connection: socket.socket, protocol: asyncio.Protocol
) -> None:
    """Have the event loop serve a connection."""
    try:
        await loop.connect_accepted_socket(lambda: protocol, connection)
    except OSError:  # it is gone again
        connection.close()


def _fd(connection: asyncio.Transport | socket.socket) -> int:
    if isinstance(connection, socket.socket):
        return connection.fileno()
    fd: int = connection.get_extra_info("socket").fileno()
    return fd


def _keep(*connection: object) -> bool:
    """Hand nothing on."""
    return False
