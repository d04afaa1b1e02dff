"""How the proxies of this package are configured for the comparison: the same terms as in `configs`.

Pure: reads and writes no file, starts nothing.
"""

from __future__ import annotations

from typing import Any, Literal

import yaml

from fastproxy.bench.configs import EXCHANGE_LIMIT_S, FILES_PATH, SERVICE, SERVICE_PATH, SINK_PATH, Leg

CALLER = "chat_service"
OTHER_CALLER = "song_service"
RECEIVER = "search-in"


def fastproxy_link(leg: Leg) -> str:
    """Return a config of this package with links, everything on but the access log."""
    return _by_identity(leg, "link")


def fastproxy_http(leg: Leg) -> str:
    """Return a config of this package with envelopes over HTTP, everything on but the access log."""
    return _by_identity(leg, "http")


def _by_identity(leg: Leg, transport: Literal["link", "http"]) -> str:
    identity = {"private_key": {"file": str(leg.credentials.private_keys[leg.place])}}
    if leg.place == "out":
        receiver = {"name": RECEIVER, "public_keys": [leg.credentials.public_keys["in"]]}
        return _fastproxy_out(leg, {"transport": transport, "receiver": receiver}, identity)
    callers = {"callers": {CALLER: {"public_keys": [leg.credentials.public_keys["out"]]}}}
    return _fastproxy_in(leg, transport, identity | callers)


def fastproxy_compat(leg: Leg) -> str:
    """Return a config of this package with the wire format of the Go original, everything on.

    Keys and callers are those of the original's own example, with which its record was measured: its callers
    share a sign key, so that they are taken at their word.
    """
    keys = {
        "sign_keys": {"sign.key.room.v1": _literal("abcd")},
        "encrypt_keys": {"encrypt.key.room.v2": _literal("ABCDABCDABCDABCD")},
    }
    sign, encrypt = "sign.key.room.v1", "encrypt.key.room.v2"
    if leg.place == "out":
        caller = {"sign": sign, "encrypt": encrypt, "compress": "snappy"}
        return _fastproxy_out(leg, {"transport": "compat"}, {"compat": {**keys, "callers": {CALLER: caller}}})
    callers = {name: {"sign": [sign], "encrypt": [encrypt]} for name in (CALLER, OTHER_CALLER)}
    return _fastproxy_in(
        leg, "compat", {"compat": {**keys, "trust_claimed_caller": True, "callers": callers}}
    )


def _literal(secret: str) -> dict[str, Any]:
    return {"literal": secret, "insecure_literal": True}


def _fastproxy_out(leg: Leg, way: dict[str, Any], secrets: dict[str, Any]) -> str:
    """way: settings of the service that name the transport. secrets: what the transport needs."""
    service = {**way, "endpoints": [f"127.0.0.1:{leg.next_port}"], "timeout_s": EXCHANGE_LIMIT_S}
    config = {
        "role": "out",
        "listen": {"address": f"127.0.0.1:{leg.port}", "service_from": "path"},
        "caller": CALLER,
        "services": {SERVICE: service},
    }
    return _fastproxy(leg, config | secrets)


def _fastproxy_in(leg: Leg, transport: str, secrets: dict[str, Any]) -> str:
    """secrets: what the transport needs, callers included."""
    privilege = {
        "callers": [CALLER],
        "services": [SERVICE],
        "methods": ["GET", "POST"],
        "paths": [SERVICE_PATH, SINK_PATH, f"{FILES_PATH}/*"],
        # The limiter counts each request, and never refuses one.
        "rate": {"per_s": 1_000_000, "burst": 1_000_000},
    }
    config = {
        "role": "in",
        "name": RECEIVER,
        "listen": {"address": f"127.0.0.1:{leg.port}", "accept": [transport]},
        "services": {SERVICE: {"endpoints": [f"127.0.0.1:{leg.next_port}"], "timeout_s": EXCHANGE_LIMIT_S}},
        "privileges": [privilege],
    }
    return _fastproxy(leg, config | secrets)


def _fastproxy(leg: Leg, config: dict[str, Any]) -> str:
    both = {"admin": {"address": f"127.0.0.1:{leg.admin_port}"}, "log": {"access": "off"}}
    return yaml.safe_dump(config | both, sort_keys=False)
