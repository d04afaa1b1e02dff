"""What a worker tells of itself for the admin API, when the supervisor asks: its share of each part.

Loaded by the first question; nothing of it is on the way of an exchange.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from fastproxy.admin.api.model import MOST_ROWS, CallerNow, EndpointNow, IdentityNow, LinkNow, ServiceNow
from fastproxy.app.in_role import InRole
from fastproxy.app.out_role import OutRole
from fastproxy.app.running import Proxy
from fastproxy.config.snapshot import Peer
from fastproxy.control.channel import ChannelError
from fastproxy.control.messages import Share, encode
from fastproxy.model import Endpoint
from fastproxy.net.link.caller import CallerLink
from fastproxy.net.link.link import Link
from fastproxy.net.link.receiver import ReceiverLink
from fastproxy.proxy.forward import NextHop
from fastproxy.telemetry.failure_words import with_words
from fastproxy.telemetry.failures import Failure, Wanted
from fastproxy.wire.identity import key_id

_TOLD = MOST_ROWS + 1
"""Of each part: one more than is shown, so that whoever merges knows that there are more."""
_TCP_INFO_BYTES = 136
_RTT_AT, _BYTES_AT = 68, 120
"""Where the smoothed round-trip time (in µs) and the bytes acknowledged and received stand (linux/tcp.h)."""


def share_of(proxy: Proxy, asked: Share, number: int) -> bytes:
    """Return a worker's share.

    Args:
        asked: of what. number: of the worker, among those of the proxy.

    Raises:
        ChannelError: it knows nothing of such a part.
    """
    if asked.part == "failures":
        return encode(_failures(proxy, asked.wanted))
    part = _PARTS.get(asked.part)
    if part is None:
        raise ChannelError(f"it knows nothing of {asked.part}")
    return encode(list(islice(part(proxy, number), _TOLD)))


def _failures(proxy: Proxy, wanted: Wanted) -> list[Failure]:
    return [with_words(failure) for failure in proxy.failures.find(wanted)]


# --- callers, identities ------------------------------------------------------------------------------------


def _callers(proxy: Proxy, number: int) -> Iterator[CallerNow]:
    role = proxy.role
    if isinstance(role, InRole):
        with_identity = {peer.name: _caller(peer) for peer in role.callers}
    else:
        with_identity = {name: _own_caller(role, name) for name in sorted(role.own_keys.names)}
        if role.certificates is not None and (name := role.snapshot.caller) not in with_identity:
            with_identity[name] = CallerNow(name, "certificate", [], "", False, None)
    for name in sorted({*role.snapshot.caller_names, *with_identity}):
        yield with_identity.get(name) or CallerNow(name, "compat", [], "", False, None)


def _caller(peer: Peer) -> CallerNow:
    return CallerNow(
        peer.name,
        "certificate" if peer.tls_id else "key",
        [key_id(key).hex() for key in peer.public_keys],
        peer.tls_id,
        peer.psk is not None,
        min((peer.key_dates[key] for key in peer.public_keys if key in peer.key_dates), default=None),
    )


def _own_caller(role: OutRole, name: str) -> CallerNow:
    ids = [key.key_id.hex() for key in role.own_keys.all_of(name)]
    return CallerNow(name, "key", ids, "", has_psk=False, not_after_unix_s=None)


def _identities(proxy: Proxy, number: int) -> Iterator[IdentityNow]:
    role = proxy.role
    own_kind: Literal["caller", "receiver"] = "receiver" if isinstance(role, InRole) else "caller"
    for name in sorted(role.own_keys.names):
        for key in role.own_keys.all_of(name):
            yield IdentityNow(name, own_kind, key.key_id.hex(), is_own=True)
    if role.certificates is not None:
        name = role.snapshot.config.name if isinstance(role, InRole) else role.snapshot.caller
        yield IdentityNow(name, own_kind, "", True, role.certificates.not_after_unix_s())
    if isinstance(role, InRole):
        yield from _of_peers(role.callers, "caller")
    else:
        yield from _of_peers(role.receivers.counting, "receiver")


def _of_peers(peers: Iterable[Peer], kind: Literal["caller", "receiver"]) -> Iterator[IdentityNow]:
    for peer in peers:
        # With those that have passed their date: who looks for why a caller isn't let in looks here.
        for key in dict.fromkeys((*peer.public_keys, *peer.key_dates)):
            yield IdentityNow(
                peer.name, kind, key_id(key).hex(), is_own=False, not_after_unix_s=peer.key_dates.get(key)
            )


# --- services -----------------------------------------------------------------------------------------------


def _services(proxy: Proxy, number: int) -> Iterator[ServiceNow]:
    role, now_s = proxy.role, proxy.parts.loop.time()
    for hop, source in zip(proxy.parts.hops, proxy.parts.sources, strict=True):
        transport = receiver = ""
        if isinstance(role, OutRole):
            service = role.snapshot.services[hop.name]
            transport = service.settings.transport
            receiver = "" if service.receiver is None else service.receiver.name
        used = _over_links(role, receiver) if transport == "link" else _over_connections(proxy, hop.name)
        yield ServiceNow(
            hop.name,
            transport or "plain",
            receiver,
            hop.timeout_s,
            source.age_s(now_s),
            [_endpoint(hop, place, used, now_s) for place in source.endpoints[:MOST_ROWS]],
        )


_Used = dict[Endpoint, tuple[int, int, int]]
"""By endpoint: connections or links, of these unused, exchanges under way."""


def _over_links(role: OutRole | InRole, receiver: str) -> _Used:
    used: _Used = {}
    for _, name, pools in role.links.all() if isinstance(role, OutRole) else ():
        for pool in pools.known() if name == receiver else ():
            links, idle, streams = used.get(pool.endpoint, (0, 0, 0))
            unused = sum(not link.streams for link in pool.links)
            used[pool.endpoint] = links + pool.size, idle + unused, streams + pool.streams
    return used


def _over_connections(proxy: Proxy, service: str) -> _Used:
    return {
        pool.endpoint: (pool.size, len(pool.idle), pool.size - len(pool.idle))
        for (name, _), pools in proxy.parts.pools.items()
        if name == service
        for pool in pools.known()
    }


def _endpoint(hop: NextHop, place: Endpoint, used: _Used, now_s: float) -> EndpointNow:
    opened, idle, in_flight = used.get(place, (0, 0, 0))
    is_failing = hop.balancer.failing.get(place, now_s) > now_s
    return EndpointNow(
        str(place), "failing" if is_failing else "ok" if opened else "unknown", opened, idle, in_flight
    )


# --- links --------------------------------------------------------------------------------------------------


def _links(proxy: Proxy, number: int) -> Iterator[LinkNow]:
    role = proxy.role
    name = proxy.snapshot.config.name
    if isinstance(role, InRole):
        for taken in role.link_server.links if role.link_server is not None else ():
            if taken.born_s:
                yield _link(proxy, number, taken, taken.peer, taken.caller, name)
        return
    for caller, receiver, pools in role.links.all():
        for pool in pools.known():
            for made in pool.links:
                if made.born_s:
                    yield _link(proxy, number, made, str(pool.endpoint), caller, receiver)


def _link(proxy: Proxy, number: int, link: Link, peer: str, caller: str, receiver: str) -> LinkNow:
    identity = link.identity
    kernel = _kernel(link.socket)
    streams = link.next_stream - 1 if isinstance(link, CallerLink) else _taken(link)
    return LinkNow(
        "out" if isinstance(link, CallerLink) else "in",
        number,
        peer,
        caller,
        receiver,
        "noise" if isinstance(identity, bytes) else "tls",
        key_id(identity).hex() if isinstance(identity, bytes) else "",
        time.time() - (proxy.parts.loop.time() - link.born_s),
        not link.ready,
        len(link.streams),
        streams,
        *kernel,
    )


def _taken(link: Link) -> int:
    return link.last_stream if isinstance(link, ReceiverLink) else 0


def _kernel(sock: Any) -> tuple[int | None, int | None, float | None]:
    """What the kernel counts of a TCP connection: bytes sent and received, round-trip time in seconds."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    except (OSError, AttributeError):  # a Unix socket, or one that is gone
        return None, None, None
    if len(info) < _TCP_INFO_BYTES:
        return None, None, None
    sent_bytes, received_bytes = struct.unpack_from("=QQ", info, _BYTES_AT)
    return sent_bytes, received_bytes, struct.unpack_from("=I", info, _RTT_AT)[0] / 1_000_000


_PARTS: dict[str, Callable[[Proxy, int], Iterator[object]]] = {
    "callers": _callers,
    "identities": _identities,
    "services": _services,
    "links": _links,
}
