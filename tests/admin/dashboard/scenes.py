"""What the double plays: a proxy that is well, and one of which much fails."""

from __future__ import annotations

import time

from tests.admin.dashboard.played import Played


def healthy() -> Played:
    """Three callers and four services, and nothing that fails."""
    return Played(
        {
            ("chat", "token_service", "2xx", ""): 412.0,
            ("chat", "search_service", "2xx", ""): 88.0,
            ("chat", "search_service", "4xx", ""): 3.0,
            ("song", "token_service", "2xx", ""): 61.0,
            ("song", "media_service", "2xx", ""): 1240.0,
            ("billing", "order_service", "2xx", ""): 9.5,
            ("billing", "token_service", "2xx", ""): 4.0,
        }
    )


def failing() -> Played:
    """The same with a caller over its rate, an endpoint that is gone, a key that ends, a stranger."""
    now = time.time()
    played = healthy()
    played.flows |= {
        ("chat", "token_service", "4xx", "rate_limited"): 57.0,
        ("billing", "order_service", "5xx", "connect_refused"): 2.5,
    }
    order = {
        "cause": "connect_refused",
        "status": 503,
        "phase": "connect",
        "title": "No endpoint took the connection",
        "detail": "10.2.0.5:8080 refused the connection",
        "endpoint": "10.2.0.5:8080",
        "attempts": 2,
        "caller": "billing",
        "advice": "Check that the next hop runs and listens at the address in the detail.",
        "service": "order_service",
        "route": "POST /orders",
        "method": "POST",
        "path": "/orders",
        "numbers": {"timeout_s": 10.0, "budget_left_s": 8.5},
    }
    mac = {
        "cause": "handshake_unknown_caller",
        "phase": "handshake",
        "status": 0,
        "title": "A link did not come about",
        "detail": "its public key q8Rz… stands nowhere in `callers`",
        "caller": "",
        "service": "",
        "route": "",
        "method": "",
        "path": "",
        "exchange": "",
        "trace_id": "",
        "peer": "10.1.0.99:51022",
        "numbers": {},
        "duration_s": 0.0,
        "advice": "Add the public key that `fastproxy keys show` prints to `callers`, if it may come.",
    }
    played.parts = {
        "failures": [
            *(
                {"ago_s": 0.4 + number, "exchange": f"5b1f0c2aa1d94e07x{number + 42:012x}"}
                for number in range(12)
            ),
            *(
                order | {"ago_s": 1.1 + number, "exchange": f"5b1f0c2aa1d94e07x{number + 142:012x}"}
                for number in range(5)
            ),
            mac | {"ago_s": 44.0},
        ],
        "services": [
            {
                "name": name,
                "transport": "http",
                "discovery_age_s": 12.0,
                "endpoints": [
                    {"address": "10.2.0.4:8080", "state": "ok", "open": 16, "idle": 9, "in_flight": 7},
                    {
                        "address": "10.2.0.5:8080",
                        "state": "failing" if name == "order_service" else "ok",
                        "open": 0,
                        "idle": 0,
                        "in_flight": 0,
                    },
                ],
            }
            for name in ("media_service", "order_service", "search_service", "token_service")
        ],
        "limits": {
            "rates": [
                {
                    "caller": "chat",
                    "service": "token_service",
                    "route": "GET /v1/tokens/**",
                    "per_s": 500.0,
                    "burst": 100.0,
                    "used": 1.0,
                    "refused": 5712,
                }
            ],
            "in_use": [
                {"name": "connections", "used": 128, "limit": 10_000},
                {"name": "in_flight", "used": 7, "limit": 1000},
            ],
        },
        "identities": [
            {
                "name": "shop",
                "kind": "receiver",
                "key_id": "Zt9mB1qA",
                "is_own": True,
                "not_after_unix_s": None,
                "last_used_unix_s": now,
                "uses": 12,
            },
            {
                "name": "song",
                "kind": "caller",
                "key_id": "k7Qe2vX1",
                "is_own": False,
                "not_after_unix_s": now + 86_400 * 6,
                "last_used_unix_s": now,
                "uses": 3,
            },
            {
                "name": "song",
                "kind": "caller",
                "key_id": "k7Qe2vX0",
                "is_own": False,
                "not_after_unix_s": now - 86_400,
                "last_used_unix_s": now - 90_000,
                "uses": 1,
            },
        ],
    }
    return played
