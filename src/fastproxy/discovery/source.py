"""What a source of endpoints is, and which one serves a list of configured addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fastproxy.discovery.address import Address, endpoint_at
from fastproxy.discovery.dns import DnsSource
from fastproxy.discovery.fixed import FixedSource
from fastproxy.model import Endpoint


class Source(Protocol):
    """Tells the endpoints of one service or receiver.

    endpoints: all that are known now; swapped as a whole, never changed in place, so that a reader needs
        neither lock nor copy.
    """

    endpoints: tuple[Endpoint, ...]

    @property
    def missing(self) -> str:
        """Why none is known, in words; what it says means nothing while one is."""
        ...

    async def start(self) -> None:
        """Look the endpoints up for the first time, and keep them up to date from then on.

        Returns when the first look-up has ended, well or not: a source that fails doesn't keep the proxy
        from starting.
        """
        ...

    def age_s(self, now_s: float) -> float | None:
        """Return the seconds since all endpoints were last confirmed, None when that never happened.

        Args:
            now_s: the event loop's clock.
        """
        ...

    async def close(self) -> None:
        """Stop keeping up to date."""
        ...


def source_of(addresses: Sequence[Address], *, refresh_s: float, timeout_s: float) -> Source:
    """Make the source for a list of addresses, which may mix names, IP addresses and Unix sockets.

    Args:
        addresses: in the order of the config.
        refresh_s: seconds between two resolutions of a name.
        timeout_s: longest wait for one resolution, in seconds.
    """
    if all(address.is_ip or address.is_unix for address in addresses):
        return FixedSource(tuple(endpoint_at(address) for address in addresses))
    return DnsSource(addresses, refresh_s=refresh_s, timeout_s=timeout_s)
