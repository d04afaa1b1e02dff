"""Header fields that the proxies read and write themselves, and the serialised head of a request.

Reserved names are taken off whatever comes in, so that nobody can claim what only a proxy knows: a service
may trust `fastproxy-caller`, since its in proxy alone writes it.
"""

from __future__ import annotations

from fastproxy.model import Headers
from fastproxy.net.http1 import write_fields

BUDGET = b"fastproxy-timeout-ms"
"""Time left for the exchange, in milliseconds: from the caller, and to the service."""
CALLER = b"fastproxy-caller"
"""The proven caller, told to the service."""
EXCHANGE = b"fastproxy-exchange"
"""The exchange id, told to the caller and to the service."""
DEAD_TIME = b"request_dead_time"
"""Absolute deadline in whole Unix seconds."""
ERROR_MESSAGE = b"proxy_error_message"
"""What went wrong, for peers that run the original."""
PROXY_NAME = b"proxy_name"
"""Where it went wrong, for them: `out_proxy` or `in_proxy`."""
FORWARDED_FOR = b"x-forwarded-for"
FORWARDED = b"forwarded"
VIA = b"via"

PLANS_PER_HEAD = 4
"""What is decided on a head is kept for so many peers (or callers); more decide anew. Bounds memory together
with what `HeadParser` remembers."""

CONTROL = frozenset((BUDGET, CALLER, EXCHANGE, DEAD_TIME, FORWARDED_FOR, FORWARDED, VIA))
_RESERVED = frozenset(name.replace(b"_", b"-") for name in CONTROL)


def is_reserved(name: bytes) -> bool:
    """Whether only a proxy may write this field. `_` counts as `-`, as it does for programs like CGI's."""
    return name.lower().replace(b"_", b"-") in _RESERVED


class HopFields:
    """Writes the fields by which a hop makes itself known (RFC 9110 section 7.6.3, RFC 7239).

    Args:
        name: of this proxy, for Via.
    """

    __slots__ = ("_name", "via")

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self.via = b"via: 1.1 %b\r\n" % self._name

    def of(self, peer: str, control: dict[bytes, bytes]) -> bytes:
        """Return the lines for a request from `peer`, continuing what earlier hops wrote."""
        return self._write(peer, control.get(FORWARDED_FOR), control.get(FORWARDED), control.get(VIA))

    def _write(
        self, peer: str, forwarded_for: bytes | None, forwarded: bytes | None, via: bytes | None
    ) -> bytes:
        address = peer.encode() if peer != "unix" else b"unknown"
        node = b'"[%b]"' % address if b":" in address else address
        fields: Headers = [
            (FORWARDED_FOR, _chain(forwarded_for, address)),
            (FORWARDED, _chain(forwarded, b"for=" + node)),
            (VIA, _chain(via, b"1.1 " + self._name)),
        ]
        return write_fields(fields)


def _chain(before: bytes | None, own: bytes) -> bytes:
    return own if not before else before + b", " + own


def dead_time_line(dead_time: bytes | None) -> bytes:
    """Return the line that tells the next hop the caller's absolute deadline, or nothing."""
    return b"" if dead_time is None else b"%b: %b\r\n" % (DEAD_TIME, dead_time)
