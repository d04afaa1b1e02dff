"""Links of one caller to the endpoints of one receiver: made when needed, made again, replaced in time.

One link carries all calls to an endpoint. It is made when the first call needs it. Who needs it while it is
being made waits in a line of bounded length. When it can't be made, calls learn so at once; the next attempt
comes after a pause that grows, with chance in it, so that a receiver that returns isn't overrun. A call that
has found no endpoint may wait for one to return (`LinkPools.recover`), within bounds.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Collection, Iterable, Sequence, Set
from typing import TYPE_CHECKING

from msgspec import Struct

from fastproxy.errors import (
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    DESCRIPTORS_EXHAUSTED,
    LINK_REFUSED,
    NO_NUMBERS,
    POOL_EXHAUSTED,
    RECEIVER_KEY_ENDED,
    Cause,
    Numbers,
    ProxyError,
)
from fastproxy.model import Endpoint, ResponseHead
from fastproxy.net.descriptors import SHORTAGES
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import HeadParser, KnownHeads
from fastproxy.net.link.caller import CallerLink
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.link import LOST, LinkSettings
from fastproxy.net.timers import Wheel
from fastproxy.wire.link.frames import KEY_REVOKED, REPLACED
from fastproxy.wire.link.handshake import Initiator
from fastproxy.wire.link.hello import HelloInitiator

if TYPE_CHECKING:
    from fastproxy.net.tls import TlsPeer

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0


class LinkPoolLimits(Struct, frozen=True):
    """Bounds on links to one endpoint; times in seconds.

    waiting: exchanges that may wait for a link. connect_timeout_s: for the TCP handshake.
    patience_s: for how long calls wait for an endpoint to return, counted from when it was lost.
    """

    waiting: int = 1024
    connect_timeout_s: float = 2.0
    patience_s: float = 5.0


Initiate = Callable[[], Initiator | HelloInitiator]


class Way(Struct, frozen=True):
    """How a link to a receiver is made.

    initiates: returns what begins a handshake by each of the receiver's keys that count now: several while it
    changes them, none when all have passed their date. tls: makes TLS's settings for a connection, None for
    none. check: judges who TLS has proven to be there; raises LinkError when it isn't the receiver.
    note_use: told of each link that was made, when it is there (True) and when it is gone.
    """

    initiates: Callable[[], Sequence[Initiate]]
    tls: Callable[[], ssl.SSLContext] | None = None
    check: Callable[[TlsPeer], object] | None = None
    note_use: Callable[[CallerLink, bool], None] = lambda link, is_there: None


class LinkParts(Struct, frozen=True):
    """What all links of an out proxy share.

    landing: what they read into. parser: judges the heads of answers. answers: remembers the ordinary ones.
    is_reserved: says by name which trailers end here. chance: a random number between 0 and 1.
    """

    settings: LinkSettings
    limits: LinkPoolLimits
    counters: LinkCounters
    landing: memoryview
    wheel: Wheel
    loop: asyncio.AbstractEventLoop
    parser: HeadParser
    answers: KnownHeads[ResponseHead | None]
    is_reserved: Callable[[bytes], bool]
    chance: Callable[[], float]


class _Hope(Struct, eq=False):
    """A call that waits for any endpoint to return. left: how many may still do so."""

    waiter: Waiter[bool]
    left: int


class LinkPool:
    """The link to one endpoint, and the one that will take its place.

    current: the link that calls take, if there is one.

    Args:
        endpoint: address; port 0 means that host is a Unix socket's path.
        way: how a link is made. parts: what links share.
    """

    __slots__ = (
        "_closed",
        "_down_since_s",
        "_failures",
        "_has_stood",
        "_hopes",
        "_is_refused",
        "_last",
        "_line",
        "_links",
        "_opening",
        "_parts",
        "_retry_s",
        "_reviving",
        "_way",
        "current",
        "endpoint",
    )

    def __init__(self, endpoint: Endpoint, way: Way, parts: LinkParts) -> None:
        self.endpoint = endpoint
        self.current: CallerLink | None = None
        self._way = way
        self._last: Initiate | None = None  # by which the receiver was there last
        self._parts = parts
        self._links: set[CallerLink] = set()
        self._line: list[Waiter[None]] = []
        self._opening: asyncio.Task[None] | None = None
        self._reviving: asyncio.Task[None] | None = None
        self._hopes: list[_Hope] = []
        self._failures = 0
        self._has_stood = False  # a link, ever: who hangs up after that may only be about to restart
        self._is_refused = False
        self._retry_s = 0.0
        self._down_since_s = 0.0
        self._closed = False

    @property
    def size(self) -> int:
        """Number of links that are open, or being made."""
        return len(self._links)

    @property
    def links(self) -> Set[CallerLink]:
        """All of them."""
        return self._links

    @property
    def streams(self) -> int:
        """Number of streams that are under way."""
        return sum(len(link.streams) for link in self._links)

    @property
    def waiting(self) -> int:
        """Number of calls that wait for a link."""
        return len(self._line) + len(self._hopes)

    @property
    def held(self) -> int:
        """Number of contents that wait to be sent; see `Link.held`."""
        return sum(link.held for link in self._links)

    @property
    def unused(self) -> bool:
        """Whether there is nothing in it and nobody wants anything from it."""
        return not self._links and not self._line and self._opening is None and self._reviving is None

    def take(self) -> CallerLink | None:
        """Return the link, if there is one that takes a stream."""
        link = self.current
        if link is None or not link.ready:
            return None
        if len(link.streams) >= link.max_streams:
            raise ProxyError(
                POOL_EXHAUSTED,
                f"{self.endpoint}: {link.max_streams} streams are open",
                retry_after_s=1,
                numbers={"streams_limit": link.max_streams},
            )
        return link

    async def acquire(self) -> CallerLink:
        """Return the link, made anew if need be.

        Raises:
            ProxyError: CONNECT_REFUSED, CONNECT_TIMEOUT, DESCRIPTORS_EXHAUSTED, LINK_REFUSED,
                RECEIVER_KEY_ENDED or POOL_EXHAUSTED; nothing was sent.
        """
        link = self.take()
        if link is not None:
            return link
        parts = self._parts
        if self._closed:
            raise ProxyError(CONNECT_REFUSED, f"{self.endpoint}: no more links are made")
        if not self._way.initiates():
            raise ProxyError(RECEIVER_KEY_ENDED, f"{self.endpoint}: nothing there proves itself any more")
        if self._opening is None:
            if self._failures and parts.loop.time() < self._retry_s:
                if self._is_refused:  # which no call should wait for, as it does for what was lost
                    raise ProxyError(LINK_REFUSED, f"{self.endpoint}: it refused a link a moment ago")
                raise ProxyError(CONNECT_REFUSED, f"{self.endpoint}: it was lost a moment ago")
            self._opening = parts.loop.create_task(self._open())
        if len(self._line) >= parts.limits.waiting:
            raise ProxyError(
                POOL_EXHAUSTED,
                f"{self.endpoint}: {parts.limits.waiting} exchanges wait already",
                numbers={"waiting_limit": parts.limits.waiting},
            )
        waiter: Waiter[None] = Waiter()
        self._line.append(waiter)
        try:
            await waiter
        except BaseException:
            if not waiter.done:
                self._line.remove(waiter)
            raise
        link = self.take()  # those in front in the line may have filled it
        if link is None:
            raise ProxyError(CONNECT_REFUSED, f"{self.endpoint}: the link has ended already")
        return link

    # --- making links -------------------------------------------------------------------------------------

    async def _open(self) -> None:
        """Make a link, and tell whoever waits how it went; runs as a task."""
        cause, detail, link = CONNECT_REFUSED, "stopped", None
        try:
            link, cause, detail = await self._connect()
        finally:
            self._opening = None
            line, self._line = self._line, []
            if link is None:
                self._note_failure()
                self._is_refused = cause is LINK_REFUSED and not self._has_stood
                numbers: Numbers = NO_NUMBERS
                if cause is CONNECT_TIMEOUT:
                    numbers = {"connect_timeout_s": self._parts.limits.connect_timeout_s}
                for waiter in line:
                    waiter.fail(ProxyError(cause, f"{self.endpoint}: {detail}", numbers=numbers))
            else:
                self._failures = 0
                self._down_since_s = 0.0
                self._has_stood = True
                before, self.current = self.current, link
                if before is not None:
                    before.drain(REPLACED)
                hopes, self._hopes = self._hopes, []
                for waiter in line:
                    waiter.set(None)
                for hope in hopes:
                    hope.waiter.set(True)

    async def _connect(self) -> tuple[CallerLink | None, Cause, str]:
        """Return a link that is ready; or None, and why there is none.

        Which of several keys the receiver has shows only by trying; the one that it had last comes first.
        """
        made: tuple[CallerLink | None, Cause, str] = None, RECEIVER_KEY_ENDED, "its last key has just ended"
        for initiate in sorted(self._way.initiates(), key=lambda initiate: initiate != self._last):
            made = await self._connect_by(initiate)
            if made[0] is not None:
                self._last = initiate
            if made[1] is not LINK_REFUSED:
                break
        return made

    async def _connect_by(self, initiate: Initiate) -> tuple[CallerLink | None, Cause, str]:
        parts, endpoint, way = self._parts, self.endpoint, self._way
        ready: asyncio.Future[str] = parts.loop.create_future()

        def settle(reason: str) -> None:
            if not ready.done():
                ready.set_result(reason)

        def came() -> None:
            way.note_use(link, True)
            settle("")

        def ended(link: CallerLink, reason: str) -> None:
            self._lost(link)
            settle(reason)

        link = CallerLink(
            parts.settings, parts.counters, parts.landing, parts.wheel, parts.loop, initiate(),
            parts.parser, parts.answers, came, ended, self._leave, parts.is_reserved,
            str(endpoint), way.check,
        )  # fmt: skip
        self._links.add(link)
        tls = None if way.tls is None else way.tls()
        try:
            async with asyncio.timeout(parts.limits.connect_timeout_s):
                if endpoint.port:
                    await parts.loop.create_connection(lambda: link, endpoint.host, endpoint.port, ssl=tls)
                else:
                    await parts.loop.create_unix_connection(
                        lambda: link, endpoint.host, ssl=tls, server_hostname=None if tls is None else "unix"
                    )
            reason = await ready
        except TimeoutError:
            link.abort()
            return None, CONNECT_TIMEOUT, f"no answer within {parts.limits.connect_timeout_s:g} s"
        except ssl.SSLError as error:
            link.abort()
            parts.counters.handshakes_failed["tls"] += 1
            return None, LINK_REFUSED, f"TLS: {error.reason or error}"
        except OSError as error:
            link.abort()
            cause = DESCRIPTORS_EXHAUSTED if error.errno in SHORTAGES else CONNECT_REFUSED
            return None, cause, error.strerror or str(error)
        except BaseException:
            link.abort()
            raise
        if not link.ready:  # it may have gone again since
            is_refused = link.failure is not None and link.failure.label != LOST
            return None, LINK_REFUSED if is_refused else CONNECT_REFUSED, reason or "the link ended at once"
        return link, CONNECT_REFUSED, ""

    def _note_failure(self) -> None:
        now_s = self._parts.loop.time()
        if self.current is None:
            self._down_since_s = self._down_since_s or now_s
        pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**self._failures)
        self._failures = min(self._failures + 1, 10)
        self._retry_s = now_s + pause_s * (0.5 + self._parts.chance())

    def _leave(self, link: CallerLink) -> None:
        """A link takes no new streams, or should not for much longer."""
        if link is not self.current:
            return
        if not link.ready:
            self.current = None
        elif self._opening is None and not self._closed:
            self._opening = self._parts.loop.create_task(self._open())

    def _lost(self, link: CallerLink) -> None:
        if link in self._links and link.born_s:
            self._way.note_use(link, False)
        self._links.discard(link)
        if link is self.current:
            self.current = None

    # --- waiting for it to return -------------------------------------------------------------------------

    def hope(self, hope: _Hope) -> bool:
        """Try to bring the endpoint back for this call; False when it refuses, or has been gone for long."""
        now_s = self._parts.loop.time()
        if (
            self._closed
            or self._is_refused
            or now_s - (self._down_since_s or now_s) >= self._parts.limits.patience_s
        ):
            return False
        self._hopes.append(hope)
        if self._reviving is None:
            self._reviving = self._parts.loop.create_task(self._revive())
        return True

    def forsake(self, hope: _Hope) -> None:
        """The call waits no longer."""
        if hope in self._hopes:
            self._hopes.remove(hope)

    async def _revive(self) -> None:
        loop = self._parts.loop
        try:
            while self._hopes:
                since_s = self._down_since_s or loop.time()
                if loop.time() - since_s >= self._parts.limits.patience_s:
                    break
                await asyncio.sleep(max(0.0, self._retry_s - loop.time()))
                if self._opening is None:
                    self._opening = loop.create_task(self._open())
                await asyncio.shield(self._opening)
        finally:
            self._reviving = None
            hopes, self._hopes = self._hopes, []
            for hope in hopes:
                hope.left -= 1
                if not hope.left:
                    hope.waiter.set(False)

    def change(self, way: Way) -> None:
        """Make links in another way from now on; those that are there stay."""
        self._way = way
        self._last = None
        self._is_refused = False
        self._retry_s = 0.0

    # --- the end ------------------------------------------------------------------------------------------

    def replace(self, is_current: Callable[[CallerLink], bool]) -> None:
        """Make another link in the place of one that is not to stay; calls take that one until it is made.

        Where none can be made, it stays, and another attempt comes after the usual pause.
        """
        link, now_s = self.current, self._parts.loop.time()
        if link is None or is_current(link) or (self._failures and now_s < self._retry_s):
            return
        self._leave(link)

    def revoke(self, is_trusted: Callable[[CallerLink], bool]) -> int:
        """Cut the links off whose receiver is trusted no more; return how many."""
        gone = [link for link in self._links if link.born_s and not is_trusted(link)]
        for link in gone:
            link.close(KEY_REVOKED, "revoked")
        return len(gone)

    def drain(self) -> None:
        """Make no more links; those that are there end with their last stream."""
        self._closed = True
        for link in list(self._links):
            link.drain()

    def abort(self) -> None:
        """Cut everything off."""
        self._closed = True
        for task in (self._opening, self._reviving):
            if task is not None:
                task.cancel()
        for link in list(self._links):
            link.abort()


class LinkPools:
    """The pools of one caller's links to one receiver, by endpoint.

    Endpoints come and go with discovery; the pool of one that has no link is forgotten.

    Args:
        way: how a link is made. parts: what links share.
    """

    __slots__ = ("_parts", "_pools", "_way")

    def __init__(self, way: Way, parts: LinkParts) -> None:
        self._way = way
        self._parts = parts
        self._pools: dict[Endpoint, LinkPool] = {}

    @property
    def size(self) -> int:
        """Number of links."""
        return sum(pool.size for pool in self._pools.values())

    @property
    def streams(self) -> int:
        """Number of streams that are under way."""
        return sum(pool.streams for pool in self._pools.values())

    @property
    def waiting(self) -> int:
        """Number of calls that wait for a link; who waits for any of several counts for each."""
        return sum(pool.waiting for pool in self._pools.values())

    @property
    def held(self) -> int:
        """Number of contents that wait to be sent; see `Link.held`."""
        return sum(pool.held for pool in self._pools.values())

    def pool(self, endpoint: Endpoint) -> LinkPool:
        """Return the pool of an endpoint."""
        pool = self._pools.get(endpoint)
        if pool is None:
            if len(self._pools) >= _REMEMBERED_POOLS:
                for unused in [key for key, known in self._pools.items() if known.unused]:
                    del self._pools[unused]
            pool = self._pools[endpoint] = LinkPool(endpoint, self._way, self._parts)
        return pool

    def known(self) -> Collection[LinkPool]:
        """Return the pools that there are now."""
        return self._pools.values()

    def change(self, way: Way) -> None:
        """Make links in another way from now on; those that are there stay."""
        self._way = way
        for pool in self._pools.values():
            pool.change(way)

    def replace(self, is_current: Callable[[CallerLink], bool]) -> None:
        """Make other links in the place of those that are not to stay; see `LinkPool.replace`."""
        for pool in self._pools.values():
            pool.replace(is_current)

    def revoke(self, is_trusted: Callable[[CallerLink], bool]) -> int:
        """Cut the links off whose receiver is trusted no more; return how many."""
        return sum(pool.revoke(is_trusted) for pool in self._pools.values())

    async def recover(self, endpoints: Iterable[Endpoint]) -> bool:
        """Wait for a link to any of these endpoints; False when all have been gone for too long."""
        hope = _Hope(Waiter(), 0)
        pools = [pool for pool in map(self.pool, endpoints) if pool.hope(hope)]
        hope.left = len(pools)
        if not pools:
            return False
        try:
            return await hope.waiter
        finally:
            for pool in pools:
                pool.forsake(hope)

    def drain(self) -> None:
        """Make no more links; those that are there end with their last stream."""
        for pool in self._pools.values():
            pool.drain()

    def abort(self) -> None:
        """Cut everything off."""
        for pool in self._pools.values():
            pool.abort()


_REMEMBERED_POOLS = 64
