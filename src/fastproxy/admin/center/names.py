"""What may be registered: kinds, names and addresses.

An endpoint has exactly one spelling, so that it can't be registered many times in disguise.
Knows nothing of who may register, and of how long it lasts.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Literal, NamedTuple

from fastproxy.config.address import parse_address
from fastproxy.config.schema_parts import NAME_PATTERN

Kind = Literal["services", "receivers"]
"""Endpoints of services, which in proxies look up; endpoints of receivers, which out proxies look up."""

KINDS: dict[str, Kind] = {"services": "services", "receivers": "receivers"}

_NAME = re.compile(NAME_PATTERN)
_LONGEST_ADDRESS = 259  # a host name of 253 characters (RFC 1035, section 2.3.4), a colon and a port


class Key(NamedTuple):
    """What is looked up: all endpoints of one name of one kind."""

    kind: Kind
    name: str


def key_of(kind: str, name: str) -> Key:
    """Return the key for a kind and a name.

    Raises:
        ValueError: there is no such kind, or the name is none; the message says why, for people.
    """
    if kind not in KINDS:
        raise ValueError(f"a kind is one of {' and '.join(KINDS)}")
    if not _NAME.match(name):
        raise ValueError(
            "a name is letters, digits, `.`, `_` and `-`, at most 128, and begins with neither of these"
        )
    return Key(KINDS[kind], name)


def canonical_address(text: str) -> str:
    """Return the one spelling of `HOST:PORT` under which an endpoint is registered.

    Args:
        text: an IPv4 address, an IPv6 address between brackets, or a host name; then a port.

    Raises:
        ValueError: nobody could connect to it; the message says why, for people.
    """
    if len(text) > _LONGEST_ADDRESS:
        raise ValueError(f"an address has at most {_LONGEST_ADDRESS} characters")
    address = parse_address(text)
    if address.is_unix:
        raise ValueError("a Unix socket means nothing on another machine")
    if not address.is_ip:
        return f"{address.host.lower().removesuffix('.')}:{address.port}"
    ip = ipaddress.ip_address(address.host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        raise ValueError("a zone (`%`) means nothing on another machine")
    if ip.is_unspecified or ip.is_multicast:
        raise ValueError("this is not the address of one machine")
    return f"{ip}:{address.port}" if ip.version == 4 else f"[{ip}]:{address.port}"
