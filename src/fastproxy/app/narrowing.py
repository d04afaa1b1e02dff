"""Whom a worker still trusts that goes on for a while beside a newer config.

A worker that drains keeps what it was made with, its listeners, services and limits, until its last exchange;
but a caller, a key or a privilege that was taken out of the config must not live on in it. So it goes on with
its own config, narrowed: nothing in it is new, and nothing that proves or permits is left that the newer one
doesn't have.
Where one config proves by keys and the other by certificates, names alone are compared.
Knows nothing of how a config is taken up.
"""

from __future__ import annotations

from msgspec.structs import replace

from fastproxy.app.callers import with_callers
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Peer, Snapshot


def narrowed(own: Snapshot, newer: Snapshot) -> Snapshot:
    """Return a worker's own config with no more trust in it than the newer one has."""
    if isinstance(own, InSnapshot) and isinstance(newer, InSnapshot):
        return _narrowed_in(own, newer)
    if isinstance(own, OutSnapshot) and isinstance(newer, OutSnapshot):
        return _narrowed_out(own, newer)
    return own  # one of the other role says nothing of those here


def _narrowed_in(own: InSnapshot, newer: InSnapshot) -> InSnapshot:
    is_same_kind = (own.tls is None) == (newer.tls is None)
    peers = [
        peer
        for name, known in own.callers.items()
        if name in newer.callers and (peer := _left(known, newer.callers[name], is_same_kind)) is not None
    ]
    config = replace(
        own.config,
        privileges=newer.config.privileges,
        enforce=newer.config.enforce,
        listen=replace(own.config.listen, allowed_uids=_uids_left(own, newer)),
    )
    compat = None if own.compat is None else newer.compat
    judging = replace(own, config=config, grants=newer.grants, callers_dir=newer.callers_dir, compat=compat)
    left = with_callers(judging, peers)
    return own if _in_order(left) == _in_order(own) else left


def _in_order(snapshot: InSnapshot) -> InSnapshot:
    """Return the same config, with names in an order that doesn't depend on how they were found."""
    grants = tuple(replace(grant, callers=tuple(sorted(grant.callers))) for grant in snapshot.grants)
    return replace(snapshot, grants=grants, caller_names=tuple(sorted(snapshot.caller_names)))


def _narrowed_out(own: OutSnapshot, newer: OutSnapshot) -> OutSnapshot:
    receivers = {
        one.receiver.name: one.receiver for one in newer.services.values() if one.receiver is not None
    }
    services = {}
    for name, service in own.services.items():
        receiver = service.receiver
        if receiver is None or receiver.name not in receivers:
            services[name] = service
        elif (left := _left(receiver, receivers[receiver.name], is_same_kind=True)) is not None:
            services[name] = replace(service, receiver=left)  # else nothing proves it any more
    listen = replace(own.config.listen, allowed_uids=_uids_left(own, newer))
    return replace(own, config=replace(own.config, listen=listen), services=services)


def _uids_left(own: Snapshot, newer: Snapshot) -> list[int]:
    """Return which users may still connect. An empty list lets all in, so that nobody's is never one."""
    before, now = own.config.listen.allowed_uids, newer.config.listen.allowed_uids
    return [uid for uid in before if uid in now] or now if now else before


def _left(peer: Peer, newer: Peer, is_same_kind: bool) -> Peer | None:
    """Return what still proves a peer; None where nothing does."""
    if not is_same_kind:
        return peer
    keys = tuple(key for key in peer.public_keys if key in newer.public_keys)
    if not keys and (not peer.tls_id or peer.tls_id != newer.tls_id):
        return None
    return replace(peer, public_keys=keys, psk=newer.psk, key_dates=newer.key_dates)
