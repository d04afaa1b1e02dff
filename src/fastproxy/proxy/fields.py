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
FORWARDED_FOR = b"x-forwarded-for"
FORWARDED = b"forwarded"
VIA = b"via"

CONTROL = frozenset((BUDGET, CALLER, EXCHANGE, DEAD_TIME, FORWARDED_FOR, FORWARDED, VIA))

_PEERS = 1024


class HopFields:
    """Writes the fields by which a hop makes itself known (RFC 9110 section 7.6.3, RFC 7239).

    Args:
        name: of this proxy, for Via.
    """

    __slots__ = ("_by_peer", "_name", "via")

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self.via = b"via: 1.1 %b\r\n" % self._name
        self._by_peer: dict[str, bytes] = {}

    def of(self, peer: str, control: dict[bytes, bytes] | None) -> bytes:
        """Return the lines for a request from `peer`, continuing what earlier hops wrote."""
        if control is not None and not control.keys().isdisjoint(_CHAINED):
            return self._write(peer, control)
        lines = self._by_peer.get(peer)
        if lines is None:
            if len(self._by_peer) >= _PEERS:
                self._by_peer.clear()
            lines = self._by_peer[peer] = self._write(peer, {})
        return lines

    def _write(self, peer: str, control: dict[bytes, bytes]) -> bytes:
        address = peer.encode() if peer != "unix" else b"unknown"
        node = b'"[%b]"' % address if b":" in address else address
        fields: Headers = [
            (FORWARDED_FOR, _chain(control.get(FORWARDED_FOR), address)),
            (FORWARDED, _chain(control.get(FORWARDED), b"for=" + node)),
            (VIA, _chain(control.get(VIA), b"1.1 " + self._name)),
        ]
        return write_fields(fields)


_CHAINED = frozenset((FORWARDED_FOR, FORWARDED, VIA))


def _chain(before: bytes | None, own: bytes) -> bytes:
    return own if not before else before + b", " + own
