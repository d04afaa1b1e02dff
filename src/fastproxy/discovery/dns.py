"""Endpoints behind DNS names, resolved off the loop by the system's resolver, again and again.

All addresses of a name count, of both IP versions. A resolution that fails, be it by silence or by "no such
name", changes nothing: the last known addresses stay, and only the age tells. Each name goes at its own
pace, so that a slow one doesn't hold up the others, and never has more than one look-up under way, so that
a dead DNS server can't pile up threads.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence

from fastproxy.discovery.address import Address, endpoint_at
from fastproxy.model import Endpoint

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Finds the IP addresses of a host name and port; raises OSError when it can't."""

_LONGEST_ANSWER = 256
"""Addresses taken from one answer at most: what a DNS server says must not fill the memory."""

_log = logging.getLogger("fastproxy.discovery")


async def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Ask the system's resolver, in a thread of the loop's.

    Raises:
        OSError: it has no answer.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(sockaddr[0]) for _, _, _, _, sockaddr in found]


class DnsSource:
    """Endpoints at addresses of which some are names.

    Args:
        addresses: in the order of the config; IP addresses and Unix sockets stand for themselves.
        refresh_s: seconds between two resolutions of a name.
        timeout_s: longest wait for one resolution, in seconds.
        resolve: finds the IP addresses of a name.
    """

    __slots__ = ("_keepers", "_places", "_refresh_s", "endpoints")

    def __init__(
        self,
        addresses: Sequence[Address],
        *,
        refresh_s: float,
        timeout_s: float,
        resolve: Resolve = resolve_by_system,
    ) -> None:
        self._refresh_s = refresh_s
        self._keepers: list[asyncio.Task[None]] = []
        self._places: list[Endpoint | _Name] = [
            endpoint_at(address) if address.is_ip or address.is_unix else _Name(address, timeout_s, resolve)
            for address in addresses
        ]
        self.endpoints: tuple[Endpoint, ...] = ()
        self._gather()

    @property
    def missing(self) -> str:
        """See `Source.missing`: each name, with what the resolver says of it."""
        return "; ".join(f"{name.text} doesn't resolve: {name.reason}" for name in self._names())

    async def start(self) -> None:
        """Resolve all names for the first time, then keep them up to date."""
        names = self._names()
        await asyncio.gather(*(name.refresh() for name in names))
        self._gather()
        self._keepers = [asyncio.create_task(self._keep(name)) for name in names]

    def age_s(self, now_s: float) -> float | None:
        """Return the seconds since the stalest name was resolved, None while one never was."""
        times_s = [name.resolved_s for name in self._names()]
        known_s = [time_s for time_s in times_s if time_s is not None]
        return now_s - min(known_s) if len(known_s) == len(times_s) else None

    async def close(self) -> None:
        """Stop resolving."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        for name in self._names():
            name.close()

    def _names(self) -> list[_Name]:
        return [place for place in self._places if isinstance(place, _Name)]

    async def _keep(self, name: _Name) -> None:
        while True:
            await asyncio.sleep(self._refresh_s)
            if await name.refresh():
                self._gather()

    def _gather(self) -> None:
        found: dict[tuple[str, int], Endpoint] = {}  # an address that two names lead to is one endpoint
        for place in self._places:
            for endpoint in (place,) if isinstance(place, Endpoint) else place.endpoints:
                found.setdefault((endpoint.host, endpoint.port), endpoint)
        self.endpoints = tuple(found.values())


class _Name:
    """One name: its last known endpoints, and when it was last resolved (the loop's clock, in seconds).

    text: as the config has it. reason: why it didn't resolve when that was last tried in vain.
    """

    __slots__ = (
        "_address", "_failed", "_lookup", "_resolve", "_timeout_s", "endpoints", "reason", "resolved_s",
        "text",
    )  # fmt: skip

    def __init__(self, address: Address, timeout_s: float, resolve: Resolve) -> None:
        self.text = address.text
        self.reason = "it wasn't looked up yet"
        self._address = address
        self._timeout_s = timeout_s
        self._resolve = resolve
        self._lookup: asyncio.Future[Sequence[str]] | None = None
        self._failed = False
        self.endpoints: tuple[Endpoint, ...] = ()
        self.resolved_s: float | None = None

    async def refresh(self) -> bool:
        """Resolve once; return whether the endpoints changed."""
        if self._lookup is None:
            self._lookup = asyncio.ensure_future(self._resolve(self._address.host, self._address.port))
        done, _ = await asyncio.wait((self._lookup,), timeout=self._timeout_s)
        if not done:
            self._note_failure(f"no answer within {self._timeout_s:g} s")
            return False
        lookup, self._lookup = self._lookup, None
        try:
            found = lookup.result()
        except (OSError, UnicodeError) as error:  # UnicodeError: a label that IDNA can't encode
            self._note_failure(str(error))
            return False
        if not found:
            self._note_failure("the answer holds no address")
            return False
        return self._note_answer(found)

    def close(self) -> None:
        """Forget a look-up that is under way."""
        if self._lookup is not None:
            self._lookup.cancel()

    def _note_answer(self, found: Sequence[str]) -> bool:
        self.resolved_s = asyncio.get_running_loop().time()
        if self._failed:
            self._failed = False
            _log.info("a name resolves again", extra={"address": self._address.text})
        # Sorted, since DNS servers rotate their answers, and that is no change.
        endpoints = tuple(endpoint_at(self._address, ip) for ip in sorted(set(found))[:_LONGEST_ANSWER])
        if endpoints == self.endpoints:
            return False
        self.endpoints = endpoints
        _log.info(
            "a name has new addresses",
            extra={"address": self._address.text, "addresses": [known.host for known in endpoints]},
        )
        return True

    def _note_failure(self, reason: str) -> None:
        self.reason = reason
        if self._failed:
            return  # said once; the age of what is known says the rest
        self._failed = True
        _log.warning(
            "a name doesn't resolve; its last known addresses are kept",
            extra={
                "address": self._address.text,
                "reason": reason,
                "addresses": [known.host for known in self.endpoints],
            },
        )
