"""The links of either role, from the config to what makes and takes them; and what becomes of them when keys,
certificates or CAs change while a proxy runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from hmac import compare_digest
from typing import TYPE_CHECKING, Protocol, cast

from fastproxy.app.callers import LOOK_EVERY_S
from fastproxy.app.link_refusals import RefusalLog
from fastproxy.app.own_keys import OwnKeys
from fastproxy.app.parts import MakeService, Parts, newcomers, packing_of, reveal
from fastproxy.app.receivers import KnownReceivers
from fastproxy.config import snapshot as configured
from fastproxy.config.schema_link import Link as LinkSection
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Peer, Snapshot, TlsFiles
from fastproxy.net.link.caller import CallerLink, known_link_answers
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.link import LinkSettings, landing
from fastproxy.net.link.pool import LinkParts, LinkPoolLimits, LinkPools, Way
from fastproxy.net.link.receiver import ReceiverLink, StreamHandler
from fastproxy.net.link.server import Door, DoorLimits, LinkServer, NoiseDoor, TlsDoor
from fastproxy.proxy.fields import is_reserved
from fastproxy.proxy.out_proxy import RemoteService
from fastproxy.proxy.over_link import OverLink
from fastproxy.proxy.refusals import Refusals
from fastproxy.telemetry.key_uses import CALLER, OWN
from fastproxy.telemetry.metrics import Metrics
from fastproxy.wire.identity import PrivateKey, key_id
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.handshake import NO_PSK, Initiator, Params, Responder
from fastproxy.wire.link.hello import HelloInitiator, HelloResponder

if TYPE_CHECKING:
    from fastproxy.app.certificates import Certificates
    from fastproxy.net.tls import TlsPeer

_CALLERS_SHOWN = 100
"""Callers whose links are shown: those that have most."""

_LOG = logging.getLogger("fastproxy.link")


def _settings(section: LinkSection, max_streams: int, idle_timeout_s: float, max_age_s: float,
              write_timeout_s: float) -> LinkSettings:  # fmt: skip
    return LinkSettings(
        Params(section.stream_window_bytes, section.window_bytes, max_streams),
        handshake_timeout_s=section.handshake_timeout_s,
        ping_interval_s=section.ping_interval_s,
        idle_timeout_s=idle_timeout_s,
        max_age_s=max_age_s,
        rekey_s=section.rekey_s,
        write_timeout_s=write_timeout_s,
    )


def _watch(
    metrics: Metrics,
    counters: LinkCounters,
    links: Callable[[], int],
    streams: Callable[[], int],
    held: Callable[[], int],
) -> None:
    metrics.watch("fastproxy_links_open", links)
    metrics.watch("fastproxy_link_streams_open", streams)
    metrics.watch("fastproxy_link_held", held)
    metrics.watch("fastproxy_links_opened", lambda: counters.opened)
    metrics.watch("fastproxy_link_streams", lambda: counters.streams)
    metrics.watch("fastproxy_link_rekeys", lambda: counters.rekeys)
    metrics.watch("fastproxy_link_window_stalls", lambda: counters.stalls)
    metrics.watch("fastproxy_link_content_bytes", lambda: counters.content_bytes)
    metrics.watch("fastproxy_link_sent_bytes", lambda: counters.sent_bytes)
    metrics.count("fastproxy_link_handshake_failures", counters.handshakes_failed)
    metrics.count("fastproxy_links_ended", counters.ended)


# --- the out proxy ------------------------------------------------------------------------------------------


class CallerLinks:
    """All links of an out proxy.

    Args:
        snapshot: the config. parts: of this proxy. own_keys: of the callers. receivers: knows the keys of
            those that have keys. certificates: of this proxy, where it has one.
        former: those of the config before, of which those go on that are made in the same way.
    """

    def __init__(
        self,
        snapshot: OutSnapshot,
        parts: Parts,
        own_keys: OwnKeys,
        receivers: KnownReceivers,
        certificates: Certificates | None,
        former: CallerLinks | None = None,
    ) -> None:
        config = snapshot.config
        section, limits = config.link, config.limits
        self._own_keys = own_keys
        self._uses = parts.metrics.key_uses
        self._certificates = certificates
        self._receivers = receivers
        self._all: dict[tuple[str, str], LinkPools] = {}
        self._made_of: dict[tuple[str, str], tuple[object, ...]] = {}
        self._common: tuple[object, ...] = (section, limits, parts.head_limits)
        self._former = former
        self._following: list[tuple[tuple[str, str], Way]] = []  # links of the former config that go on
        self._has_followed = former is not None
        self._counters: LinkCounters = LinkCounters() if former is None else former._counters
        counters = self._counters
        self._parts = partial(
            LinkParts,
            _settings(section, 0, section.idle_timeout_s, section.max_age_s, limits.write_timeout_s),
            counters=counters,
            landing=landing(),
            wheel=parts.wheel,
            loop=parts.loop,
            parser=parts.sealed_parser,
            answers=known_link_answers(parts.sealed_parser),
            is_reserved=is_reserved,
            chance=random.random,
        )
        self._waiting = parts.sharing.part(limits.waiting_per_endpoint)
        self._patience_s = section.wait_s
        _watch(
            parts.metrics,
            counters,
            lambda: sum(pools.size for pools in self._all.values()),
            lambda: sum(pools.streams for pools in self._all.values()),
            lambda: sum(pools.held for pools in self._all.values()),
        )
        parts.metrics.watch(
            "fastproxy_link_waiting", lambda: sum(pools.waiting for pools in self._all.values())
        )

    def pools(self, caller: str, receiver: Peer, connect_timeout_s: float) -> LinkPools:
        """Return the links of a caller to a receiver; services behind the same one share them."""
        key = caller, receiver.name
        known = self._all.get(key)
        if known is None:
            made_of = *self._common, connect_timeout_s, self._certificates, receiver.tls_id, receiver.psk
            way, former = self._way(caller, receiver), self._former
            if former is not None and former._made_of.get(key) == made_of:
                known = former._all[key]
                self._following.append((key, way))
            else:
                limits = LinkPoolLimits(self._waiting, connect_timeout_s, self._patience_s)
                known = LinkPools(way, self._parts(limits=limits))
            self._all[key], self._made_of[key] = known, made_of
        return known

    def all(self) -> Iterator[tuple[str, str, LinkPools]]:
        """Yield the links of each caller to each receiver: the two names first."""
        for (caller, receiver), pools in self._all.items():
            yield caller, receiver, pools

    def _way(self, caller: str, receiver: Peer) -> Way:
        params: Params = self._parts.args[0].params
        if receiver.tls_id:
            certificates = self._certificates
            assert certificates is not None  # no config loads without it
            check = _identify({receiver.tls_id: receiver.name})

            def hello() -> HelloInitiator:
                return HelloInitiator(params, certificates.own_key())

            return Way(lambda: (hello,), certificates.client_context, check)
        psk, name = reveal(receiver.psk) or NO_PSK, receiver.name

        def initiate(public_key: bytes) -> Initiator:
            key = self._own_keys.current(caller)
            return Initiator(key, name, public_key, psk, params, PrivateKey(os.urandom(32)))

        by_key = {public_key: partial(initiate, public_key) for public_key in receiver.public_keys}
        return Way(
            lambda: [by_key[public_key] for public_key in self._receivers.keys(name)],
            note_use=partial(self._note_use, caller),
        )

    def _note_use(self, caller: str, link: CallerLink, is_there: bool) -> None:
        note = self._uses.begin if is_there else self._uses.end
        note(OWN, caller, key_id(link.own_key))

    def settle(self) -> None:
        """The config is the one from now on: links to receivers by what proves them no more are cut off.

        Those of the former config that don't go on may end with their exchanges.
        """
        former, self._former = self._former, None
        following, self._following = self._following, []
        for key, way in following:
            self._all[key].change(way)
        self._cut()
        self.look()
        if former is not None:
            for key, _ in following:
                del former._all[key]
            for (_, receiver), pools in former._all.items():
                if self._receivers.knows(receiver):
                    pools.revoke(partial(self._is_trusted, receiver))

    def drain(self) -> None:
        """Make no more links, and close those that are there after their last stream."""
        for pools in self._all.values():
            pools.drain()

    def abort(self) -> None:
        """Cut every link off."""
        for pools in self._all.values():
            pools.abort()

    async def watch(self) -> None:
        """Keep up with keys, their dates, and certificates; runs until it is cancelled."""
        while (
            self._certificates is not None or not self._receivers.is_lasting or not self._own_keys.is_lasting
        ):
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Look once: cut the links off to receivers by what proves them no more, and make others in the place
        of those that were made with another key or certificate of the caller than it has now.

        Not only when something has changed: a link may have been under way then.
        """
        if self._certificates is not None:
            self._certificates.reload()
        self._receivers.look()
        if self._certificates is not None or not self._receivers.is_lasting:
            self._cut()
        if (
            self._has_followed
            or self._own_keys.have_changed
            or (self._certificates is not None and self._certificates.have_changed)
        ):
            for (caller, _), pools in self._all.items():
                pools.replace(partial(self._is_current, caller))

    def _cut(self) -> None:
        for (_, receiver), pools in self._all.items():
            if gone := pools.revoke(partial(self._is_trusted, receiver)):
                _LOG.warning(
                    "links to a receiver that is trusted no more were cut",
                    extra={"receiver": receiver, "links": gone},
                )

    def _is_current(self, caller: str, link: CallerLink) -> bool:
        if isinstance(link.identity, bytes):
            return link.own_key == self._own_keys.current(caller).public_key
        return self._certificates is not None and link.own_key == self._certificates.own_key()

    def _is_trusted(self, receiver: str, link: CallerLink) -> bool:
        if isinstance(link.identity, bytes):
            return link.identity in self._receivers.keys(receiver)
        return self._certificates is not None and self._certificates.is_trusted(link)


def over_link(snapshot: OutSnapshot, parts: Parts, links: CallerLinks, refusals: Refusals) -> MakeService:
    """Make what makes the services that are reached over links."""

    def make(service: configured.RemoteService) -> RemoteService:
        settings, receiver = service.settings, service.receiver
        assert receiver is not None
        pools = {
            caller: links.pools(caller, receiver, settings.connect_timeout_s)
            for caller in snapshot.caller_names
            if receiver.tls_id or caller in snapshot.caller_keys
        }
        way = OverLink(service.name, pools, packing_of(settings), time.monotonic)
        return RemoteService(parts.next_hop(service, way, way.recover), refusals)

    return make


# --- the in proxy -------------------------------------------------------------------------------------------


class ReceiverLinks:
    """All links of an in proxy.

    server: takes them.

    Args:
        snapshot: the config. parts: of this proxy. own_keys: of the receiver.
        handler: gets the streams. date_line: the line of a Date field for now.
        certificates: of this proxy, where links are inside TLS.
    """

    def __init__(
        self,
        snapshot: InSnapshot,
        parts: Parts,
        own_keys: OwnKeys,
        handler: StreamHandler,
        date_line: Callable[[], bytes],
        certificates: Certificates | None,
    ) -> None:
        self._known: dict[bytes, str] = {}
        self._psks: dict[bytes, bytes] = {}
        self._ended: dict[bytes, str] = {}  # whose key each was that has passed its date
        self._other_psk: frozenset[bytes] = frozenset()  # keys that prove nothing now without another one
        self._certified: Mapping[str, str] = {}
        self._counters = LinkCounters()
        self._sharing = parts.sharing
        self._uses = parts.metrics.key_uses
        self._begin(snapshot, own_keys, certificates)
        self.server = LinkServer(
            handler,
            self._door(snapshot),
            _receiver_settings(snapshot),
            self._door_limits(snapshot),
            self._counters,
            parts.wheel,
            parts.loop,
            date_line,
            RefusalLog(parts.loop.time, time.time, parts.failures).note,
            parts.sharing.counts("callers"),
            self._note_use,
        )
        self._watch_links(snapshot, parts)

    def change(
        self,
        snapshot: InSnapshot,
        parts: Parts,
        own_keys: OwnKeys,
        handler: StreamHandler,
        certificates: Certificates | None,
    ) -> None:
        """Go on with another config: links stay, those of who is trusted no more are cut off.

        Arguments as above.
        """
        self._begin(snapshot, own_keys, certificates)
        door, settings = self._door(snapshot), _receiver_settings(snapshot)
        self.server.change(handler, door, settings, self._door_limits(snapshot))
        self._watch_links(snapshot, parts)
        self._cut(self._is_key_trusted if certificates is None else self._is_certificate_known)
        self._replace_links()

    def _begin(self, snapshot: InSnapshot, own_keys: OwnKeys, certificates: Certificates | None) -> None:
        self._certificates = certificates
        self._own_keys = own_keys
        self._name = snapshot.config.name
        self._know(snapshot.callers.values())
        self._certified = {peer.tls_id: peer.name for peer in snapshot.callers.values() if peer.tls_id}
        per_s, capacity = snapshot.config.link.new_links_per_peer_per_s, snapshot.config.limits.rate_states
        self._admit = newcomers(self._sharing, "new_links", per_s, capacity)

    def _door(self, snapshot: InSnapshot) -> Door:
        params = _receiver_settings(snapshot).params
        if self._certificates is None:
            own_keys, name = self._own_keys, self._name
            responder = Responder(name, own_keys.all_of(name), self._psks.get, params, self._refusal)
            own_keys.on_change(lambda names: responder.replace_keys(own_keys.all_of(name)))
            return NoiseDoor(responder, self._known, self._admit, os.urandom)
        return TlsDoor(HelloResponder(params), _identify(self._certified))

    def _door_limits(self, snapshot: InSnapshot) -> DoorLimits:
        section = snapshot.config.link
        return DoorLimits(self._sharing.part(section.handshakes), section.links_per_caller)

    def _watch_links(self, snapshot: InSnapshot, parts: Parts) -> None:
        server = self.server
        metrics, limits = parts.metrics, snapshot.config.link
        _watch(metrics, self._counters, lambda: len(server.links), server.stream_count, server.held_count)
        metrics.watch("fastproxy_link_handshakes_open", lambda: server.half_open)
        metrics.watch("fastproxy_limit_allowed", lambda: limits.handshakes, "handshakes")
        metrics.watch("fastproxy_limit_allowed", lambda: limits.links_per_caller, "links_per_caller")
        metrics.show("fastproxy_caller_links", lambda: _most(server.links_by_caller()))

    def listen(self, sock: socket.socket) -> bool:
        """Take links from a bound socket, where they are inside TLS; False where they are not."""
        if self._certificates is None:
            return False
        certificates = self._certificates
        self.server.listen(sock, certificates.server_context, certificates.own_key, self._check_rate)
        return True

    def _check_rate(self, peer: str) -> None:
        self._admit(peer)

    def _refusal(self, public_key: bytes) -> LinkError:
        """Return why a key doesn't prove a caller; for the log and the metric of this side alone."""
        name, shown = self._ended.get(public_key), key_id(public_key).hex()
        if name is None:
            return LinkError("unknown_caller", f"key id {shown}")
        return LinkError("key_ended", f"key id {shown} of {name} has passed its date")

    def _note_use(self, link: ReceiverLink, is_there: bool) -> None:
        if isinstance(link.identity, bytes):
            note = self._uses.begin if is_there else self._uses.end
            note(CALLER, link.caller, key_id(link.identity))
            note(OWN, link.caller, key_id(link.own_key))

    async def watch(self) -> None:
        """Keep up with the files of keys and certificates; runs until it is cancelled."""
        certificates = self._certificates
        while certificates is not None or not self._own_keys.is_lasting:
            await asyncio.sleep(LOOK_EVERY_S)
            if certificates is not None:
                certificates.reload()
                self._cut(certificates.is_trusted)
                if certificates.have_changed:
                    self._replace_links()
            elif self._own_keys.have_changed:
                self._replace_links()

    def _replace_links(self) -> None:
        """Have callers make other links in the place of those by a key or certificate that is gone."""
        certificates = self._certificates
        own_keys = (
            {key.public_key for key in self._own_keys.all_of(self._name)}
            if certificates is None
            else {certificates.own_key()}
        )
        if gone := self.server.replace(lambda link: link.own_key in own_keys):
            _LOG.info("links by a key or certificate that is gone are replaced", extra={"links": gone})

    def take_callers(self, callers: Iterable[Peer]) -> None:
        """Know these callers by their keys from now on; the links of all others are cut off."""
        self._know(callers)
        self._cut(self._is_key_trusted)

    def _know(self, callers: Iterable[Peer]) -> None:
        former_psks = dict(self._psks)
        for mapping in (self._known, self._psks, self._ended):
            mapping.clear()
        for peer in callers:
            psk = reveal(peer.psk) or NO_PSK
            if peer.key_dates:
                self._ended.update(dict.fromkeys(peer.key_dates, peer.name))
            for key in peer.public_keys:
                self._known[key] = peer.name
                self._psks[key] = psk
                self._ended.pop(key, None)
        self._other_psk = frozenset(
            key for key, psk in self._psks.items() if not compare_digest(former_psks.get(key, psk), psk)
        )

    def _is_key_trusted(self, link: ReceiverLink) -> bool:
        """Whether what a link was proven by proves the same caller by what is known since just now."""
        identity = link.identity
        return (
            isinstance(identity, bytes)
            and self._known.get(identity) == link.caller
            and identity not in self._other_psk
        )

    def _is_certificate_known(self, link: ReceiverLink) -> bool:
        """Whether a certificate that was accepted stands for the same caller in this config."""
        try:
            return _identify(self._certified)(cast("TlsPeer", link.identity)) == link.caller
        except LinkError:
            return False

    def _cut(self, is_trusted: Callable[[ReceiverLink], bool]) -> None:
        if gone := self.server.revoke(is_trusted):
            _LOG.warning("links of callers that are trusted no more were cut", extra={"links": gone})


def _most(counts: Counter[str]) -> dict[tuple[str, ...], float]:
    """Those of which there are most."""
    return {(caller,): count for caller, count in counts.most_common(_CALLERS_SHOWN)}


def _receiver_settings(snapshot: InSnapshot) -> LinkSettings:
    section, limits = snapshot.config.link, snapshot.config.limits
    return _settings(
        section, section.streams, section.idle_timeout_s, section.max_age_s, limits.write_timeout_s
    )


class Certified(Protocol):
    """A proxy with one config. certificates: what it proves itself by, where it has one."""

    @property
    def snapshot(self) -> Snapshot: ...
    @property
    def certificates(self) -> Certificates | None: ...


def certificates_of(files: TlsFiles | None, former: Certified | None) -> Certificates | None:
    """Return what a proxy with a certificate proves itself by.

    Args:
        files: of the config; None where it has none.
        former: the proxy with the config before, whose certificates go on where the files are the same.
    """
    if former is not None and former.snapshot.tls == files:
        return former.certificates
    if files is None:
        return None
    from fastproxy.app.certificates import Certificates  # noqa: PLC0415 - see there

    return Certificates(files)


def _identify(names: Mapping[str, str]) -> Callable[[TlsPeer], str]:
    from fastproxy.app.certificates import identify  # noqa: PLC0415 - see there

    return partial(identify, names=names)
