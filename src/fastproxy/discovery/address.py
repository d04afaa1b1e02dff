"""What discovery needs to know of a configured address."""

from __future__ import annotations

from typing import Protocol

from fastproxy.model import Endpoint


class Address(Protocol):
    """Where endpoints are, as configured.

    host: an IP address, a name to resolve, or the path of a Unix socket. port: 0 for a Unix socket.
    text: `host:port` as it was written.
    """

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def is_ip(self) -> bool: ...
    @property
    def is_unix(self) -> bool: ...


def endpoint_at(address: Address, ip: str = "") -> Endpoint:
    """Return the endpoint at an address.

    Args:
        address: its `text` becomes the authority, for logs and the Host header.
        ip: what the address's name resolved to, when it is a name.
    """
    return Endpoint(ip or address.host, address.port, address.text)
