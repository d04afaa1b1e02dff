"""Wire format v1, from the config's keys, callers and limits to the parts that seal and open, for both roles.

Loaded only where a config uses `compat`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial

from fastproxy.app.parts import MakeService, Parts
from fastproxy.config import snapshot as configured
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import CompatIn, CompatOut, OutSnapshot
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.compat_receiver import CompatWayIn
from fastproxy.proxy.held_body import HELD_BODIES, HeldBodies
from fastproxy.proxy.out_proxy import RemoteService
from fastproxy.proxy.over_compat import OverCompat
from fastproxy.proxy.refusals import Refusals
from fastproxy.telemetry.metrics import Metrics
from fastproxy.wire.compat.keys import EncryptKey, SignKey
from fastproxy.wire.compat.payload import GZIP_ID, SNAPPY_ID
from fastproxy.wire.compat.sealing import CompatCaller, CompatReceiver, CompatSender
from fastproxy.wire.compat.weaknesses import (
    CLAIMED,
    PADDING_ORACLE,
    SHARED_SIGN_KEY,
    SHORT_SIGN_KEY,
    UNENCRYPTED,
    UNSIGNED,
    weaknesses,
)

_LABELS = (UNSIGNED, SHARED_SIGN_KEY, SHORT_SIGN_KEY, PADDING_ORACLE, UNENCRYPTED)
_COMPRESSION_IDS = {"none": None, "snappy": SNAPPY_ID, "gzip": GZIP_ID}


def bodies(compat: CompatIn | CompatOut, at_a_time: int, body_bytes: int = 0) -> HeldBodies:
    """Make what holds the bodies of one proxy.

    Args:
        compat: section of the config. at_a_time: as for `HeldBodies`.
        body_bytes: bound on bodies of requests on all ways where nothing else enforces it, 0 for none.
    """
    limit_bytes = compat.body_limit_bytes
    return HeldBodies(min(limit_bytes, body_bytes or limit_bytes), limit_bytes, at_a_time)


def senders(compat: CompatOut, metrics: Metrics) -> dict[str, CompatSender]:
    """Make what seals for each caller of an out proxy; the metrics get to know what is weak about them."""
    encrypt_keys = _encrypt_keys(compat.encrypt_keys)
    made = {}
    callers = []
    for name, caller in compat.callers.items():
        sign = SignKey(caller.sign_key_name, caller.sign_key.reveal()) if caller.sign_key else None
        encrypt = encrypt_keys[caller.encrypt_key_name] if caller.encrypt_key else None
        made[name] = CompatSender(sign, encrypt, _COMPRESSION_IDS[caller.compress])
        callers.append(CompatCaller(name, (sign,) if sign else (), (encrypt,) if encrypt else ()))
    _watch(metrics, callers)
    return made


def way_in(
    compat: CompatIn, services: Iterable[str], at_a_time: int, body_bytes: int, metrics: Metrics
) -> CompatWayIn:
    """Make what opens the requests of an in proxy.

    Args:
        compat: section of the config. services: names that requests may carry.
        at_a_time, body_bytes: as above.
        metrics: get to know what is weak about the callers.
    """
    sign_keys = {name: SignKey(name, secret.reveal()) for name, secret in compat.sign_keys.items()}
    encrypt_keys = _encrypt_keys(compat.encrypt_keys)
    callers = [
        CompatCaller(
            name,
            tuple(sign_keys[key] for key in demand.sign),
            tuple(encrypt_keys[key] for key in demand.encrypt),
        )
        for name, demand in compat.callers.items()
    ]
    claimed = _watch(metrics, callers)
    if claimed and not compat.trust_claimed_caller:  # no config that loads says so; fail closed all the same
        raise ValueError(f"{', '.join(sorted(claimed))}: no sign key proves these callers")
    metrics.watch("fastproxy_compat_claimed_callers", lambda: len(claimed))
    return CompatWayIn(
        CompatReceiver(callers, sign_keys.values(), encrypt_keys.values()),
        compat.caller_header,
        compat.context_path,
        ServiceChoice("path", services),
        bodies(compat, at_a_time, body_bytes),
    )


def _encrypt_keys(secrets: Mapping[str, Secret]) -> dict[str, EncryptKey]:
    return {name: EncryptKey(name, secret.reveal()) for name, secret in secrets.items()}


def _watch(metrics: Metrics, callers: Sequence[CompatCaller]) -> set[str]:
    """Have the metrics count the callers with each weakness; return those who are taken at their word."""
    found = weaknesses(callers)
    for label in _LABELS:
        count = len({weakness.caller for weakness in found if weakness.label == label})
        metrics.watch("fastproxy_compat_weaknesses", partial(float, count), label)
    return {weakness.caller for weakness in found if weakness.label in CLAIMED}


def over_compat(snapshot: OutSnapshot, section: CompatOut, parts: Parts) -> MakeService:
    """Make what makes the services of an out proxy that are reached over compat."""
    refusals = Refusals(snapshot.config.name, "out", parts.recorder, parts.new_id, for_original=True)
    known = senders(section, parts.metrics)
    held = bodies(section, parts.sharing.part(HELD_BODIES))

    def make(service: configured.RemoteService) -> RemoteService:
        pools = parts.connections(service)
        way = OverCompat(
            service.name, section.context_path, section.caller_header, known, held, pools, time.monotonic
        )
        return RemoteService(parts.next_hop(service, way, pools=pools), refusals, held.hold_request)

    return make
