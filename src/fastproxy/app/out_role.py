"""An out proxy of its parts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from fastproxy.app import compat
from fastproxy.app.links import CallerLinks, over_link
from fastproxy.app.parts import Parts, packing_of, reveal
from fastproxy.config import snapshot as configured
from fastproxy.config.schema import OutConfig
from fastproxy.config.snapshot import CompatOut, OutSnapshot
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.out_proxy import CallerRule, OutProxy, RemoteService
from fastproxy.proxy.over_compat import OverCompat
from fastproxy.proxy.over_http import OverHttp, ReceiverIdentity, known_answers
from fastproxy.proxy.refusals import Refusals
from fastproxy.wire.ciphers import CIPHERS
from fastproxy.wire.identity import PrivateKey

_MakeService = Callable[[configured.RemoteService], RemoteService]


def out_proxy(snapshot: OutSnapshot, parts: Parts, links: CallerLinks) -> OutProxy:
    """Make the out proxy that a config describes; `links` keeps its links."""
    config = snapshot.config
    refusals = Refusals(config.name, "out", parts.recorder, parts.new_id)
    transports = {
        "link": over_link(snapshot, parts, links, refusals),
        "http": _over_http(snapshot, parts, refusals),
    }
    if snapshot.compat is not None:
        transports["compat"] = _over_compat(snapshot, snapshot.compat, parts)
    services = {
        name: transports[service.settings.transport](service) for name, service in snapshot.services.items()
    }
    return OutProxy(
        refusals,
        _caller_rule(config, snapshot.caller),
        ServiceChoice(
            config.listen.service_from, services, config.listen.service or config.listen.default_service
        ),
        services,
        parts.fields,
        parts.recorder,
        config.limits.in_flight,
        parts.has_short_way,
        parts.new_id,
        time.monotonic,
        time.time,
    )


def _over_http(snapshot: OutSnapshot, parts: Parts, refusals: Refusals) -> _MakeService:
    keys = {name: PrivateKey(secret.reveal()) for name, secret in snapshot.caller_keys.items()}
    ciphers = {cipher.name: cipher for cipher in CIPHERS.values()}
    answers = known_answers(parts.sealed_parser)

    def make(service: configured.RemoteService) -> RemoteService:
        settings, receiver = service.settings, service.receiver
        assert receiver is not None
        identity = ReceiverIdentity(receiver.name, receiver.public_keys[0], reveal(receiver.psk))

        way = OverHttp(
            service.name, keys, identity, ciphers[settings.cipher], packing_of(settings),
            parts.connections(service), parts.sealed_parser, answers,
            time.monotonic, time.time, os.urandom,
        )  # fmt: skip
        return RemoteService(parts.next_hop(service, way), refusals)

    return make


def _over_compat(snapshot: OutSnapshot, section: CompatOut, parts: Parts) -> _MakeService:
    refusals = Refusals(snapshot.config.name, "out", parts.recorder, parts.new_id, for_original=True)
    senders = compat.senders(section, parts.metrics)
    bodies = compat.bodies(section)

    def make(service: configured.RemoteService) -> RemoteService:
        way = OverCompat(
            service.name, section.context_path, section.caller_header, senders, bodies,
            parts.connections(service), time.monotonic,
        )  # fmt: skip
        return RemoteService(parts.next_hop(service, way), refusals, bodies.hold_request)

    return make


def _caller_rule(config: OutConfig, fixed: str) -> CallerRule:
    if config.callers is None:
        return CallerRule(fixed)
    return CallerRule("", config.callers.header.lower().encode(), frozenset(config.callers.names))
