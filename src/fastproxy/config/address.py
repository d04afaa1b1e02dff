"""Addresses as config files write them: `HOST:PORT`, `[IPV6]:PORT` and `unix:/PATH`.

Names are not resolved here.
"""

from __future__ import annotations

import ipaddress
import re

from msgspec import Struct

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?\Z")
_OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_OCTET}(\.{_OCTET}){{3}}\Z")
"""What `ipaddress` takes for an IPv4 address, at a twentieth of the time."""
_UNIX_PATH_LIMIT_BYTES = 107
"""`sun_path` of Linux holds 108 bytes, the last of them zero."""


class Address(Struct, frozen=True):
    """Where to listen or connect.

    host: IP address or name; for a Unix socket its path. port: 0 for a Unix socket, and for
    "any free port" of a listener. text: as it was configured, without user-visible changes.
    """

    host: str
    port: int
    text: str
    is_unix: bool = False

    @property
    def is_ip(self) -> bool:
        """Whether the host is an IP address and needs no resolution."""
        return not self.is_unix and _is_ip(self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it. A Unix socket counts."""
        if self.is_unix or self.host == "localhost":
            return True
        address = _ip(self.host)
        return address is not None and address.is_loopback

    def __str__(self) -> str:
        return self.text


def parse_address(text: str, *, to_listen: bool = False) -> Address:
    """Parse an address.

    Args:
        text: as configured. to_listen: whether port 0 (any free one) makes sense.

    Raises:
        ValueError: it is none; the message says why, for people.
    """
    if text.startswith("unix:"):
        path = text[5:]
        if not path.startswith("/") or "\0" in path:
            raise ValueError("a Unix socket needs an absolute path, as in unix:/run/fastproxy.sock")
        if len(path.encode()) > _UNIX_PATH_LIMIT_BYTES:
            raise ValueError(f"the path of a Unix socket has at most {_UNIX_PATH_LIMIT_BYTES} bytes")
        return Address(path, 0, text, is_unix=True)
    if "://" in text:
        raise ValueError("an address is HOST:PORT, without a scheme and a path")
    host, colon, digits = text.rpartition(":")
    if not colon or not host:
        raise ValueError("an address is HOST:PORT or unix:/PATH")
    port = int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= 5 else -1
    if not (0 if to_listen else 1) <= port <= 65535:
        raise ValueError("the port must be a number from 1 to 65535")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not isinstance(_ip(host), ipaddress.IPv6Address):
            raise ValueError("between brackets stands an IPv6 address")
    elif ":" in host:
        raise ValueError("an IPv6 address stands between brackets, as in [::1]:8080")
    elif not _is_ip(host) and (not _HOST_NAME.match(host) or _looks_numeric(host)):
        raise ValueError("the host is neither an IP address nor a name")
    return Address(host, port, text)


def parse_center_url(text: str) -> Address:
    """Parse the URL of the center: `http://HOST:PORT`, without a path.

    Raises:
        ValueError: it is none; the message says why, for people.
    """
    scheme, separator, host = text.partition("://")
    if scheme != "http" or not separator:
        raise ValueError("the center's URL is http://HOST:PORT")
    address = parse_address(host.removesuffix("/"))
    if address.is_unix:
        raise ValueError("the center's URL is http://HOST:PORT, not a Unix socket")
    return address


def _is_ip(host: str) -> bool:
    return _IPV4.match(host) is not None or (":" in host and _ip(host) is not None)


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _looks_numeric(host: str) -> bool:
    """Whether some resolvers would read it as an IPv4 address (`127.1`, `300.0.0.1`), and others not."""
    return host.rstrip(".").rpartition(".")[2].isdigit()
