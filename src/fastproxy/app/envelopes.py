"""Envelopes over HTTP, from the config to the parts that seal and open them, for both roles.

Loaded only where a config uses `http`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from fastproxy.app.own_keys import OwnKeys
from fastproxy.app.parts import MakeService, Parts, newcomers, packing_of, reveal
from fastproxy.app.receivers import KnownReceivers
from fastproxy.config import snapshot as configured
from fastproxy.config.snapshot import InSnapshot, Peer
from fastproxy.policy.ratelimit import Limiter
from fastproxy.proxy.http_receiver import HttpReceiver
from fastproxy.proxy.in_flow import InFlow
from fastproxy.proxy.in_proxy import InProxy
from fastproxy.proxy.out_proxy import RemoteService
from fastproxy.proxy.over_http import LIFETIME_MS, TARGET, OverHttp, known_answers
from fastproxy.proxy.receiver_sessions import ReceiverIdentity, ReceiverSessions
from fastproxy.proxy.refusals import Refusals
from fastproxy.proxy.way_in import WayBack, WayIn
from fastproxy.telemetry.key_uses import CALLER, OWN, KeyUses
from fastproxy.wire.ciphers import CIPHERS
from fastproxy.wire.envelope import RESPONSE_NONCE_BYTES
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.receiver import Receiver, ReceiverLimits
from fastproxy.wire.sessions import CallerKey, Session

# --- the out proxy ----------------------------------------------------------------------------------------


def over_http(parts: Parts, refusals: Refusals, own_keys: OwnKeys, receivers: KnownReceivers) -> MakeService:
    """Make what makes the services that are reached over HTTP, in envelopes."""
    ciphers = {cipher.name: cipher for cipher in CIPHERS.values()}
    answers = known_answers(parts.sealed_parser)

    def make(service: configured.RemoteService) -> RemoteService:
        settings, receiver = service.settings, service.receiver
        assert receiver is not None
        identity = ReceiverIdentity(
            receiver.name, partial(receivers.keys, receiver.name), reveal(receiver.psk)
        )
        sessions = ReceiverSessions(own_keys.use, identity, ciphers[settings.cipher], os.urandom)
        receivers.on_change(sessions.forget_ended)
        own_keys.on_change(sessions.begin_anew)
        pools = parts.connections(service)
        way = OverHttp(
            service.name, sessions, packing_of(settings), pools, parts.sealed_parser, answers,
            time.monotonic, time.time,
        )  # fmt: skip
        return RemoteService(parts.next_hop(service, way, pools=pools), refusals)

    return make


# --- the in proxy -----------------------------------------------------------------------------------------


class EnvelopesIn:
    """What takes envelopes at an in proxy.

    target: that of their requests. way: how they are opened and answered.

    Args:
        snapshot: the config. parts: of this proxy. own_keys: of the receiver. refusals: answers what is
            refused.
        former: what took them with the config before: its sessions go on.
    """

    def __init__(
        self,
        snapshot: InSnapshot,
        parts: Parts,
        own_keys: OwnKeys,
        refusals: Refusals,
        former: EnvelopesIn | None = None,
    ) -> None:
        limits = snapshot.config.limits
        self._name = name = snapshot.config.name
        self._own_keys = own_keys
        self._callers: Sequence[Peer] = tuple(snapshot.callers.values())
        self._bounds = ReceiverLimits(
            max_age_ms=LIFETIME_MS,
            max_clock_skew_ms=int(snapshot.config.max_clock_skew_s * 1000),
            sessions_per_caller=limits.sessions_per_caller,
        )
        self._follows = former is not None and former._bounds == self._bounds
        if former is not None and self._follows:
            receiver: Receiver = former._receiver
        else:
            own = own_keys.all_of(name)
            keys = _caller_keys(self._callers, own)
            epoch, sessions = parts.sharing.sessions(self._bounds)
            sessions.note_use = partial(_note_use, parts.metrics.key_uses)
            receiver = Receiver(own, name, epoch, keys, self._bounds, sessions)
        self._receiver: Receiver = receiver
        own_keys.on_change(lambda names: self.take_callers(self._callers))
        parts.metrics.watch("fastproxy_sessions", lambda: receiver.session_count)
        parts.metrics.watch("fastproxy_limit_allowed", lambda: limits.sessions, "sessions")
        self._opener = HttpReceiver(
            self._receiver,
            parts.sealed_parser,
            limits.body_bytes or None,
            newcomers(parts.sharing, "new_sessions", limits.new_sessions_per_peer_per_s, limits.rate_states),
            time.time,
            os.urandom,
        )
        self.target = TARGET
        back = WayBack(self._opener, refusals, challenge=self._opener.challenge)
        self.way = WayIn(self._opener, back, limits.header_timeout_s)

    def short_way(self, proxy: InProxy, limiter: Limiter, parts: Parts) -> InFlow:
        """Make the short way of ordinary calls through this proxy."""
        return InFlow(
            proxy, self._receiver, self._opener, limiter, parts.recorder, _nonces(), time.monotonic,
            time.time, parts.make_calls,
        )  # fmt: skip

    def settle(self) -> None:
        """The config is the one from now on: what it knows no more opens nothing."""
        if self._follows:
            self.take_callers(self._callers)

    def take_callers(self, callers: Sequence[Peer]) -> None:
        """Callers came or went: those who went are known no more."""
        self._callers = callers
        own_keys = self._own_keys.all_of(self._name)
        self._receiver.replace_keys(own_keys, _caller_keys(callers, own_keys))

    def expire(self) -> None:
        """Forget what can't be used any more; called every few seconds."""
        self._receiver.expire(int(time.time() * 1000))


def _caller_keys(callers: Iterable[Peer], own_keys: Iterable[PrivateKey]) -> list[CallerKey]:
    """The keys of callers but those that are this receiver's own, which prove nobody else."""
    own = {key.public_key for key in own_keys}
    return [
        CallerKey(peer.name, key, reveal(peer.psk))
        for peer in callers
        for key in peer.public_keys
        if key not in own
    ]


def _note_use(uses: KeyUses, session: Session, is_there: bool) -> None:
    note = uses.begin if is_there else uses.end
    note(CALLER, session.caller.name, session.caller.key_id)
    note(OWN, session.caller.name, session.receiver_key_id)


def _nonces() -> Iterator[bytes]:
    """Random nonces for answers, drawn many at a time: a system call for each would take 0.5 µs."""
    while True:
        drawn = os.urandom(RESPONSE_NONCE_BYTES * 256)
        for at in range(0, len(drawn), RESPONSE_NONCE_BYTES):
            yield drawn[at : at + RESPONSE_NONCE_BYTES]
