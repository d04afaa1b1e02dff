"""How the proxies of this package are configured for the comparison: the same terms as in `configs`,
one worker each.

A config can be as large as a `ConfigSize` says: one caller, route and endpoint of all those in it are used
(of the endpoints of the service that is called, all). It is written as JSON, which is YAML as well, since a
hundred thousand callers in the other notation take minutes to write.
Pure: reads and writes no file, starts nothing.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from fastproxy.bench.configs import (
    CONNECTIONS_MAX,
    EXCHANGE_LIMIT_S,
    FILES_PATH,
    HEADERS_MAX,
    SERVICE,
    SERVICE_PATH,
    SINK_PATH,
    Leg,
)

CALLER = "chat_service"
OTHER_CALLER = "song_service"
RECEIVER = "search-in"

ENDPOINTS_PER_SERVICE = 1000
"""Most that a config takes for one service."""

ROUTES_PER_PRIVILEGE = 100

BODY_LIMIT_BYTES = 1 << 26
"""Where bodies are held whole: enough for the largest that is measured, sealed."""

_OTHERS = "caller-"


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
    callers = {CALLER: {"public_keys": [leg.credentials.public_keys["out"]]}}
    callers |= {name: {"public_keys": [_public_key(name)]} for name in _other_callers(leg)}
    return _fastproxy_in(leg, transport, identity | {"callers": callers})


def fastproxy_compat(leg: Leg) -> str:
    """Return a config of this package with the wire format of the Go original, everything on.

    Keys and callers are those of the original's own example, with which its record was measured: its callers
    share a sign key, so that they are taken at their word.
    """
    keys = {
        "sign_keys": {"sign.key.room.v1": _literal("abcd")},
        "encrypt_keys": {"encrypt.key.room.v2": _literal("ABCDABCDABCDABCD")},
        "body_limit_bytes": BODY_LIMIT_BYTES,
    }
    sign, encrypt = "sign.key.room.v1", "encrypt.key.room.v2"
    if leg.place == "out":
        caller = {"sign": sign, "encrypt": encrypt, "compress": "snappy"}
        return _fastproxy_out(leg, {"transport": "compat"}, {"compat": {**keys, "callers": {CALLER: caller}}})
    names = (CALLER, OTHER_CALLER, *_other_callers(leg))
    callers = {name: {"sign": [sign], "encrypt": [encrypt]} for name in names}
    return _fastproxy_in(
        leg, "compat", {"compat": {**keys, "trust_claimed_caller": True, "callers": callers}}
    )


def endpoint_sockets(leg: Leg) -> list[Path]:
    """Return the sockets by which an in proxy with many endpoints reaches the service; else none."""
    if leg.place == "out" or leg.size.endpoints == 1:
        return []
    count = min(leg.size.endpoints, ENDPOINTS_PER_SERVICE)
    return [leg.folder / "e" / str(number) for number in range(count)]


def _other_callers(leg: Leg) -> list[str]:
    return [f"{_OTHERS}{number}" for number in range(leg.size.callers - 1)]


def _public_key(name: str) -> str:
    # Any number below 2^255 - 19 is the coordinate of a point; who holds its private key doesn't matter here.
    return sha256(name.encode()).hexdigest()[:-2] + "00"


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
    sockets = [f"unix:{socket}" for socket in endpoint_sockets(leg)]
    endpoints = sockets or [f"127.0.0.1:{leg.next_port}"]
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
        "services": {
            SERVICE: {"endpoints": endpoints, "timeout_s": EXCHANGE_LIMIT_S},
            **_other_services(leg, leg.size.endpoints - len(endpoints)),
        },
        "privileges": [privilege, *_other_privileges(leg)],
    }
    return _fastproxy(leg, config | secrets)


def _other_services(leg: Leg, endpoints: int) -> dict[str, Any]:
    """Return services that hold the rest of the endpoints, a thousand each; nobody calls them."""
    addresses = [f"127.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}:{leg.next_port}" for n in range(endpoints)]
    return {
        f"service-{start}": {"endpoints": addresses[start : start + ENDPOINTS_PER_SERVICE]}
        for start in range(0, endpoints, ENDPOINTS_PER_SERVICE)
    }


def _other_privileges(leg: Leg) -> list[dict[str, Any]]:
    """Return the rest of the routes, a hundred a privilege, and one privilege for the rest of the callers.

    The routes are the caller's own, on the service that it calls: what is looked through for each request,
    if anything is.
    """
    privileges: list[dict[str, Any]] = []
    kinds = ("/api/route-{}", "/api/route-{}/*", "/api/*/route-{}", "/api/route-{}/**")
    for start in range(1, leg.size.routes, ROUTES_PER_PRIVILEGE):
        numbers = range(start, min(start + ROUTES_PER_PRIVILEGE, leg.size.routes))
        paths = [kinds[number % len(kinds)].format(number) for number in numbers]
        privileges.append({"callers": [CALLER], "services": [SERVICE], "methods": ["POST"], "paths": paths})
    if leg.size.callers > 1:
        privileges.append({"callers": [f"{_OTHERS}*"], "services": [SERVICE]})
    return privileges


def _fastproxy(leg: Leg, config: dict[str, Any]) -> str:
    """Add what both proxies have; limits only where their defaults would stand in the way of the load."""
    limits = {"header_count": HEADERS_MAX}
    if leg.size.connections > CONNECTIONS_MAX:
        limits["connections"] = 2 * leg.size.connections
    both = {
        "admin": {"address": f"127.0.0.1:{leg.admin_port}"},
        "log": {"access": "off"},
        "limits": limits,
        "workers": 1,
    }
    return json.dumps(config | both, indent=1)
