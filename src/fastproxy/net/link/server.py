"""Who gets in: handshakes and their limits, and all links of an in proxy.

What a stranger can have is bounded before anything is proven: handshakes at a time, by address and second,
and the time for one.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from fastproxy.bounds import Counts, OwnCounts
from fastproxy.errors import ProxyError
from fastproxy.net.descriptors import SHORTAGES, Descriptors
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.link import LinkSettings, handshake_error, landing
from fastproxy.net.link.receiver import ReceiverLink, StreamHandler
from fastproxy.net.listener import BACKLOG, peer_uid
from fastproxy.net.timers import Wheel
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import KEY_REVOKED
from fastproxy.wire.link.handshake import MAGIC, Established, Responder
from fastproxy.wire.link.hello import HelloResponder

if TYPE_CHECKING:
    from fastproxy.net.tls import TlsPeer

_ACCEPTED_AT_ONCE = 16
"""Connections that are taken in one turn of the loop, so that those that are there go on."""
_ACCEPT_PAUSE_S = 0.1
_RESET_AT_END = struct.pack("ii", 1, 0)
"""SO_LINGER of 0 s: an out proxy takes a reset for a receiver that is gone for the moment."""


class DoorLimits(Struct, frozen=True):
    """Bounds on who comes in. handshakes: under way at a time. links_per_caller: open at a time."""

    handshakes: int = 256
    links_per_caller: int = 256


class Door(Protocol):
    """Proves who is at the other end of a link."""

    def shake(self, link: ReceiverLink, data: bytes) -> tuple[Established, bytes] | None:
        """Take what has come of the handshake so far; set `caller` and `identity` when it is through.

        Returns:
            What was established and what came behind it; None when more is to come.

        Raises:
            LinkError: nobody is proven.
        """
        ...


class NoiseDoor:
    """Callers prove themselves by their keys.

    callers: names by public key; who is taken out of it gets in no more.

    Args:
        responder: shakes hands. callers: as above.
        admit: called with the address before curve arithmetic is spent; raises when that is too often.
        random: n random bytes.
    """

    __slots__ = ("_admit", "_random", "_responder", "callers")

    def __init__(
        self,
        responder: Responder,
        callers: Mapping[bytes, str],
        admit: Callable[[str], None],
        random: Callable[[int], bytes],
    ) -> None:
        self._responder = responder
        self.callers = callers
        self._admit = admit
        self._random = random

    def shake(self, link: ReceiverLink, data: bytes) -> tuple[Established, bytes] | None:
        """See `Door`."""
        size_bytes = self._responder.message_bytes(data)
        if not size_bytes:
            return None
        if len(data) > size_bytes:
            raise LinkError("handshake", "more than the handshake's first message")
        key = self._responder.check(data)
        _within_rate(self._admit, link.peer)
        answer, established = self._responder.answer(data, key, PrivateKey(self._random(32)))
        link.identity = established.peer_public_key
        link.own_key = key.public_key
        link.caller = self.callers[established.peer_public_key]
        link.write(answer)
        return established, b""


class TlsDoor:
    """TLS has proven both sides by their certificates; what is left is who that is.

    Args:
        responder: agrees on versions and limits.
        identify: says which caller a certificate belongs to; raises LinkError when to none.
    """

    __slots__ = ("_identify", "_responder")

    def __init__(self, responder: HelloResponder, identify: Callable[[TlsPeer], str]) -> None:
        self._responder = responder
        self._identify = identify

    def shake(self, link: ReceiverLink, data: bytes) -> tuple[Established, bytes] | None:
        """See `Door`."""
        size_bytes = self._responder.message_bytes(data)
        if not size_bytes:
            return None
        peer = link.tls_peer()
        caller = self._identify(peer)
        answer, established = self._responder.answer(data[:size_bytes])
        link.caller, link.identity = caller, peer
        link.write(answer)
        return established, data[size_bytes:]


def _within_rate(admit: Callable[[str], None], peer: str) -> None:
    try:
        admit(peer)
    except ProxyError as error:
        words = "this address makes links faster than allowed"
        raise LinkError("rate", words, error.numbers) from error


class LinkServer:
    """All links of an in proxy.

    settings, counters, landing, wheel, loop, handler: what links share.
    links: those that are open, or being made.
    note_refusal: told from where a link was wanted that didn't come about, and why.
    shown: the number of links stands there, for whoever else wants to know; one word.
    hand_on: is asked, for each link that begins, whether it has given its connection to another process, with
    what has come on it; of a connection inside TLS nothing has.
    descriptors: knows when they run out; None where nobody cares.

    Args:
        handler: gets the streams. door: proves who comes.
        settings, limits: bounds. counters: what is counted.
        wheel: for timeouts. loop: the event loop.
        date_line: the line of a Date field for now.
        note_refusal: as above; nobody is told unless there is one.
        by_caller: counts links, where other processes share the limit of each caller.
        note_use: told of each link whose caller is proven, when it is there (True) and when it is gone.
    """

    def __init__(
        self,
        handler: StreamHandler,
        door: Door,
        settings: LinkSettings,
        limits: DoorLimits,
        counters: LinkCounters,
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
        date_line: Callable[[], bytes],
        note_refusal: Callable[[str, LinkError], None] = lambda peer, error: None,
        by_caller: Counts | None = None,
        note_use: Callable[[ReceiverLink, bool], None] = lambda link, is_there: None,
    ) -> None:
        self.handler = handler
        self.door = door
        self.settings = settings
        self.counters = counters
        self.landing = landing()
        self.wheel = wheel
        self.loop = loop
        self.date_line = date_line
        self.note_refusal = note_refusal
        self._note_use = note_use
        self.links: set[ReceiverLink] = set()
        self.shown = memoryview(bytearray(8)).cast("Q")
        self.hand_on: Callable[[asyncio.Transport | socket.socket, bytes], bool] = _keep
        self.descriptors: Descriptors | None = None
        self._limits = limits
        self._by_caller = OwnCounts() if by_caller is None else by_caller
        # Who isn't proven yet, by address, the oldest first; and the work on TLS for them.
        self._unproven: dict[str, dict[ReceiverLink, None]] = {}
        self._half_open = 0
        self._wrapping: dict[ReceiverLink, asyncio.Task[None]] = {}
        self._draining = False
        self._listening: list[socket.socket] = []
        self._tls: Callable[[], ssl.SSLContext] | None = None
        self._own_key: Callable[[], bytes] = bytes
        self._admit: Callable[[str], None] = lambda peer: None
        self._allow_peer: Callable[[int], bool] | None = None
        self._empty = asyncio.Event()

    def change(self, handler: StreamHandler, door: Door, settings: LinkSettings, limits: DoorLimits) -> None:
        """Go on with others: streams that come on open links are handed to the new handler.

        Links keep the settings that both sides have agreed on. Arguments as above.
        """
        self.handler = handler
        self.door = door
        self.settings = settings
        self._limits = limits
        for link in self.links:
            link.renew()

    def let_in(self, allow_peer: Callable[[int], bool] | None) -> None:
        """Let only these users make links over a Unix socket from now on; those of others are cut off.

        Args:
            allow_peer: as in `net.server.Edge`.
        """
        self._allow_peer = allow_peer
        if allow_peer is None:
            return
        for link in [link for link in self.links if not allow_peer(link.peer_uid())]:
            if link.born_s:
                link.close(KEY_REVOKED, "revoked")
            else:
                link.fail(_not_allowed())

    # --- links inside TLS ---------------------------------------------------------------------------------

    def listen(
        self,
        sock: socket.socket,
        tls: Callable[[], ssl.SSLContext],
        own_key: Callable[[], bytes],
        admit: Callable[[str], None],
    ) -> None:
        """Take links inside TLS from a bound socket, which is closed at the end.

        The bounds on strangers hold before TLS begins, and what goes wrong in it has a cause: a listener of
        the event loop's own counts nobody and tells of nobody before TLS is through.

        Args:
            tls: returns the settings for the next connection. own_key: what stands for their certificate.
            admit: as for `NoiseDoor`.
        """
        self._tls, self._own_key, self._admit = tls, own_key, admit
        sock.listen(BACKLOG)
        self._listening.append(sock)
        self.loop.add_reader(sock, self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        """Take who waits; not a task, so that whoever was taken isn't lost when that ends."""
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                connection, _address = sock.accept()
            except OSError as error:
                if error.errno in SHORTAGES:
                    if self.descriptors is not None:
                        self.descriptors.count()
                    self.loop.remove_reader(sock)  # it would call without end
                    self.loop.call_later(_ACCEPT_PAUSE_S, self._accept_again, sock)
                elif not isinstance(error, BlockingIOError):
                    continue  # a peer that is gone again is harmless
                return
            connection.setblocking(False)
            if self.hand_on(connection, b""):
                connection.close()
            else:
                self.take_new(connection)

    def _accept_again(self, sock: socket.socket) -> None:
        if sock in self._listening:
            self.loop.add_reader(sock, self._accept, sock)

    def take_new(self, connection: socket.socket) -> None:
        """Take a connection on which TLS is to begin."""
        if self.descriptors is not None and self.descriptors.is_short(connection.fileno()):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_END)
            connection.close()
            return
        assert self._tls is not None  # links inside TLS come from `listen` only, here or in another worker
        link = ReceiverLink(self, _peer_of(connection))
        try:
            self.came(link)
            if self._allow_peer is not None and not self._allow_peer(peer_uid(connection)):
                raise _not_allowed()
            _within_rate(self._admit, link.peer)
        except LinkError as error:
            connection.close()
            link.fail(error)
        else:
            link.own_key = self._own_key()
            self._wrapping[link] = self.loop.create_task(self._wrap(link, connection, self._tls()))

    async def _wrap(self, link: ReceiverLink, connection: socket.socket, tls: ssl.SSLContext) -> None:
        """Do the handshake of TLS; `forget` stops it when the link has to give way."""
        error: Exception | None = None
        try:
            await self.loop.connect_accepted_socket(
                lambda: link, connection, ssl=tls, ssl_handshake_timeout=self.settings.handshake_timeout_s
            )
        except OSError as exc:
            error = exc
        self._wrapping.pop(link, None)
        if error is not None:
            link.fail(handshake_error(error))

    # --- who comes, who is proven, who goes ---------------------------------------------------------------

    def begins(self, data: bytes) -> bool:
        """Whether what a connection begins with is a link; one byte tells, since no HTTP begins with it."""
        return data[:1] == MAGIC[:1]

    def take(self, transport: asyncio.Transport, peer: str, data: bytes) -> None:
        """Take a connection over that has begun as a link does, or hand it on.

        Args:
            peer: its other end's address. data: what has come.
        """
        if self.hand_on(transport, data):
            transport.set_protocol(asyncio.Protocol())
            transport.abort()
        else:
            self.begin(transport, peer, data)

    def begin(self, transport: asyncio.Transport, peer: str, data: bytes) -> None:
        """Begin a link on a connection; as `take`."""
        link = ReceiverLink(self, peer)
        transport.set_protocol(link)
        link.connection_made(transport)
        self.came(link)
        link.data_received(data)

    def came(self, link: ReceiverLink) -> None:
        """A connection was made; where there are too many that prove nobody, another one is given up."""
        self.links.add(link)
        self.shown[0] = len(self.links)
        self._half_open += 1
        self._unproven.setdefault(link.peer, {})[link] = None
        if self._half_open > self._limits.handshakes:
            # The address that has most of them gives one up, its oldest: honest handshakes are the short
            # ones, so that nobody who lets theirs hang, from however many addresses, keeps others out.
            busiest: dict[ReceiverLink, None] = max(self._unproven.values(), key=len)
            next(iter(busiest)).fail(
                LinkError(
                    "half_open",
                    f"{self._limits.handshakes} handshakes are under way",
                    {"handshakes_limit": self._limits.handshakes},
                )
            )

    def proven(self, link: ReceiverLink) -> None:
        """Somebody has proven who they are.

        Raises:
            LinkError: they have too many links already.
        """
        self._settle(link)
        self._note_use(link, True)
        if self._by_caller.add(link.caller) > self._limits.links_per_caller:
            limit = self._limits.links_per_caller
            words = f"{limit} links of this caller are open"
            error = LinkError("links", words, {"links_per_caller_limit": limit})
            self.note_refusal(link.peer, error)
            raise error
        if self._draining:
            link.leave()

    def forget(self, link: ReceiverLink) -> None:
        """A link is gone."""
        if link not in self.links:
            return
        self.links.discard(link)
        self.shown[0] = len(self.links)
        if link.born_s:
            self._note_use(link, False)
            self._by_caller.remove(link.caller)
        else:
            self._settle(link)
            if (wrapping := self._wrapping.pop(link, None)) is not None:
                wrapping.cancel()
        if self._draining and not self.links:
            self._empty.set()

    def _settle(self, link: ReceiverLink) -> None:
        """A handshake is over."""
        self._half_open -= 1
        of_peer = self._unproven[link.peer]
        del of_peer[link]
        if not of_peer:
            del self._unproven[link.peer]

    def revoke(self, is_trusted: Callable[[ReceiverLink], bool]) -> int:
        """Cut the links off whose caller's key or certificate is trusted no more; return how many."""
        gone = [link for link in self.links if link.identity and not is_trusted(link)]
        for link in gone:
            link.close(KEY_REVOKED, "revoked")
        return len(gone)

    def replace(self, is_current: Callable[[ReceiverLink], bool]) -> int:
        """Have callers make other links in the place of some, which end with their last stream.

        Args:
            is_current: whether a link may stay.

        Returns:
            How many were asked to go.
        """
        gone = [link for link in self.links if link.born_s and not link.draining and not is_current(link)]
        for link in gone:
            link.leave()
        return len(gone)

    def drain(self) -> None:
        """Take no more links and no more streams; those that are under way end in their own time.

        Who is about to make a link is told when it is made: a caller that finds the door shut in its face
        takes it for a refusal, and one that is told to go makes its calls elsewhere.
        """
        self._draining = True
        listening, self._listening = self._listening, []
        for sock in listening:
            self.loop.remove_reader(sock)
            sock.close()
        for link in [link for link in self.links if link.born_s]:
            link.leave()

    @property
    def size(self) -> int:
        """Number of links."""
        return len(self.links)

    async def emptied(self, timeout_s: float) -> bool:
        """Wait, while draining, until no link is left; False when that takes longer than allowed."""
        if not self.links:
            return True
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    def abort(self) -> None:
        """Cut every link off."""
        for link in list(self.links):
            link.abort()

    def stream_count(self) -> int:
        """Number of streams that are under way."""
        return sum(len(link.streams) for link in self.links)

    def held_count(self) -> int:
        """Number of contents and answers that wait to be sent; see `Link.held`."""
        return sum(link.held for link in self.links)

    @property
    def half_open(self) -> int:
        """Number of connections whose link isn't proven yet."""
        return self._half_open

    def links_by_caller(self) -> Counter[str]:
        """Return how many links each caller has, of those that are proven."""
        return Counter(link.caller for link in self.links if link.caller)


def _not_allowed() -> LinkError:
    return LinkError("user", "this user may not connect")


def _peer_of(connection: socket.socket) -> str:
    try:
        address = connection.getpeername()
    except OSError:  # it is gone again
        return ""
    return str(address[0]) if isinstance(address, tuple) else "unix"


def _keep(connection: asyncio.Transport | socket.socket, data: bytes) -> bool:
    """Hand nothing on: there is nobody else."""
    return False
