"""An out proxy of its parts."""

from __future__ import annotations

import os
import time

from fastproxy.app.parts import Parts, packing_of, reveal
from fastproxy.config.schema import OutConfig, OutServiceSettings
from fastproxy.config.snapshot import OutSnapshot
from fastproxy.net.pool import Pools
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.out_proxy import CallerRule, OutProxy
from fastproxy.proxy.over_http import OverHttp, ReceiverIdentity
from fastproxy.proxy.transport import Transport
from fastproxy.wire.ciphers import CIPHERS
from fastproxy.wire.identity import PrivateKey


def out_proxy(snapshot: OutSnapshot, parts: Parts) -> OutProxy:
    """Make the out proxy that a config describes."""
    config = snapshot.config
    keys = {name: PrivateKey(secret.reveal()) for name, secret in snapshot.caller_keys.items()}
    ciphers = {cipher.name: cipher for cipher in CIPHERS.values()}
    services: dict[str, NextHop] = {}
    for name, service in snapshot.services.items():
        settings, receiver = service.settings, service.receiver
        assert receiver is not None
        identity = ReceiverIdentity(receiver.name, receiver.public_keys[0], reveal(receiver.psk))

        def way(
            pools: Pools,
            name: str = name,
            settings: OutServiceSettings = settings,
            identity: ReceiverIdentity = identity,
        ) -> Transport:
            return OverHttp(
                name, keys, identity, ciphers[settings.cipher], packing_of(settings), pools,
                parts.sealed_parser,
                time.monotonic, time.time, os.urandom,
            )  # fmt: skip

        services[name] = parts.next_hop(name, service.endpoints, settings, way)
    return OutProxy(
        config.name,
        _caller_rule(config, snapshot.caller),
        ServiceChoice(
            config.listen.service_from, services, config.listen.service or config.listen.default_service
        ),
        services,
        parts.fields,
        parts.recorder,
        config.limits.in_flight,
        parts.new_id,
        time.monotonic,
        time.time,
    )


def _caller_rule(config: OutConfig, fixed: str) -> CallerRule:
    if config.callers is None:
        return CallerRule(fixed)
    return CallerRule("", config.callers.header.lower().encode(), frozenset(config.callers.names))
