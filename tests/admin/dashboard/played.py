"""What a double of the admin API tells: of a proxy whose numbers move as a real one's do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

Answers = dict[str, Any]

BOUNDS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]
OWN_BOUNDS_S = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.5]
_SHAPE = [0.02, 0.2, 0.45, 0.22, 0.07, 0.025, 0.01, 0.005, 0, 0, 0, 0, 0, 0, 0, 0]
_OWN_SHAPE = [0.01, 0.2, 0.55, 0.15, 0.06, 0.02, 0.01, 0, 0, 0, 0, 0, 0, 0, 0]
EXCHANGE = "5b1f0c2aa1d94e07x00000000002a"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Played:
    """What the double tells; all of it may be changed while it runs.

    clock: Unix time by which all of it moves. token: that it wants, "" for none. is_gone: it answers nothing.
    taps: objects that a tap gets at once.

    Args:
        flows: caller, service, outcome and cause to calls per second.
        parts: what is told otherwise than of a pair that is well.
    """

    def __init__(self, flows: dict[tuple[str, str, str, str], float], **parts: Any) -> None:
        self.flows = flows
        self.clock = time.time
        self.begun_unix_s = time.time() - 100
        self.parts = parts
        self.token = ""
        self.is_gone = False
        self.taps: list[dict[str, Any]] = []

    def answer(self, what: str, query: dict[str, str]) -> Answers | None:
        """Return what the API would tell, None where there is nothing."""
        now = self.clock()
        if what == "traffic":
            return self._traffic(now)
        if what == "failures":
            trace = query.get("trace", "")
            found = [one for one in self.failures(now) if trace in ("", one["trace_id"])]
            return {"failures": found, "truncated": False}
        if what.startswith("exchanges/"):
            wanted = unquote(what.removeprefix("exchanges/"))
            found = [one for one in self.failures(now) if one["exchange"] == wanted]
            return {"exchange": wanted, "failures": found} if found else None
        known: dict[str, Callable[[float], Answers]] = {
            "proxy": self._proxy,
            "services": self._services,
            "limits": self._limits,
            "links": self._links,
            "identities": self._identities,
        }
        return known[what](now) if what in known else None

    def _traffic(self, now: float) -> Answers:
        elapsed_s = now - self.begun_unix_s
        elapsed_s += 3 * math.sin(elapsed_s / 9) + 0.4 * math.sin(elapsed_s / 1.7)  # never backwards
        rows: dict[tuple[str, str], list[Answers]] = {}
        by_service: dict[str, float] = {}
        for (caller, service, outcome, cause), per_s in self.flows.items():
            count = int(per_s * elapsed_s)
            by_service[service] = by_service.get(service, 0) + count
            rows.setdefault((caller, service), []).append(
                {
                    "outcome": outcome,
                    "cause": cause,
                    "count": count,
                    "duration_s_sum": count * 0.002,
                    "buckets": [int(count * part) for part in _SHAPE],
                }
            )
        own = [
            {
                "service": service,
                "count": count,
                "duration_s_sum": count * 4e-5,
                "buckets": [int(count * part) for part in _OWN_SHAPE],
            }
            for service, count in by_service.items()
        ]
        told = [
            {
                "caller": caller,
                "service": service,
                "route": "/**",
                "bytes_in": 0,
                "bytes_out": 0,
                "retries": 0,
                "refusals": {},
                "would_refuse": {},
                "outcomes": outcomes,
            }
            for (caller, service), outcomes in rows.items()
        ]
        return {
            "at_unix_s": now,
            "bounds_s": BOUNDS_S,
            "rows": told,
            "own_bounds_s": OWN_BOUNDS_S,
            "own": own,
            "truncated": False,
        }

    def _proxy(self, now: float) -> Answers:
        workers = [
            {
                "number": number,
                "pid": 4021 + number,
                "state": "ready",
                "resident_bytes": 38_500_000.0 + number * 91_000,
                "in_flight": 3 + number,
                "connections": 64,
                "links": 2,
                "loop_lag_s": 0.0004 * (number + 1),
            }
            for number in range(2)
        ]
        told: Answers = {
            "name": "shop-in",
            "role": "in",
            "version": "0.1.0",
            "started_unix_s": now - 93_600,
            "is_ready": True,
            "not_ready": "",
            "config_file": "/etc/fastproxy/shop-in.yaml",
            "loaded_unix_s": now - 3_700,
            "workers": workers,
            "process": {"cpu_s": 812.2, "resident_bytes": 9e7},
        }
        changes: Answers = self.parts.get("proxy", {})
        return told | changes

    def _services(self, now: float) -> Answers:
        services = []
        for name in dict.fromkeys(service for _, service, _, _ in self.flows):
            endpoints = [
                {"address": f"10.2.0.{number + 4}:8080", "state": "ok", "open": 16, "idle": 9, "in_flight": 7}
                for number in range(2)
            ]
            services.append(
                {"name": name, "transport": "http", "endpoints": endpoints, "discovery_age_s": 12.0}
            )
        return {"services": self.parts.get("services", services), "truncated": False}

    def _limits(self, now: float) -> Answers:
        return self.parts.get("limits") or {
            "rates": [
                {
                    "caller": "chat",
                    "service": "token_service",
                    "route": "GET /v1/tokens/**",
                    "per_s": 500.0,
                    "burst": 100.0,
                    "used": 0.31,
                    "refused": 0,
                }
            ],
            "in_use": [
                {"name": "connections", "used": 128, "limit": 10_000},
                {"name": "in_flight", "used": 7, "limit": 1000},
                {"name": "links", "used": 4, "limit": 64},
            ],
            "truncated": False,
        }

    def _links(self, now: float) -> Answers:
        callers = dict.fromkeys(caller for caller, _, _, _ in self.flows)
        links = [
            {
                "direction": "in",
                "peer": f"10.1.0.{number + 7}:41822",
                "caller": caller,
                "receiver": "shop",
                "worker": number % 2,
                "security": "noise",
                "key_id": "k7Qe2vXH",
                "opened_unix_s": now - 4_000 * (number + 1),
                "streams_open": number,
                "streams": 81_220 * (number + 1),
                "sent_bytes": 188_031_222,
                "received_bytes": 61_022_113,
                "is_leaving": False,
                "rtt_s": 0.00042,
            }
            for number, caller in enumerate(callers)
        ]
        return {"links": self.parts.get("links", links), "truncated": False}

    def _identities(self, now: float) -> Answers:
        callers = dict.fromkeys(caller for caller, _, _, _ in self.flows)
        identities = [
            {
                "name": "shop",
                "kind": "receiver",
                "key_id": "Zt9mB1qA",
                "is_own": True,
                "not_after_unix_s": None,
                "last_used_unix_s": now - 1,
                "uses": 12,
            },
            *(
                {
                    "name": caller,
                    "kind": "caller",
                    "key_id": f"k7Qe2vX{number}",
                    "is_own": False,
                    "not_after_unix_s": now + 86_400 * 120,
                    "last_used_unix_s": now - number,
                    "uses": 3,
                }
                for number, caller in enumerate(callers)
            ),
        ]
        return {"identities": self.parts.get("identities", identities), "truncated": False}

    def failures(self, now: float) -> list[dict[str, Any]]:
        """Failures as they are kept, newest first; the texts may be changed by `parts`."""
        return [failure(now, **changes) for changes in self.parts.get("failures", [])]


def failure(now: float, ago_s: float = 2.0, **changes: Any) -> dict[str, Any]:
    """One failure: over the rate, unless told otherwise."""
    return {
        "exchange": EXCHANGE,
        "trace_id": TRACE,
        "at_unix_s": now - ago_s,
        "hop": "shop-in",
        "role": "in",
        "phase": "rate",
        "cause": "rate_limited",
        "status": 429,
        "title": "This caller is over its rate on this route",
        "detail": "the rate is 500 per second",
        "advice": "Wait as Retry-After says, or raise the privilege's `rate`.",
        "caller": "chat",
        "service": "token_service",
        "route": "GET /v1/tokens/**",
        "method": "GET",
        "path": "/v1/tokens/42",
        "endpoint": "",
        "attempts": 0,
        "peer": "10.1.0.7:41822",
        "duration_s": 0.00021,
        "numbers": {"per_s": 500.0, "burst": 100.0, "retry_after_s": 0.2},
        "from": "here",
        "is_enforced": True,
    } | changes
