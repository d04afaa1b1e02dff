"""What can be broken in the demo, for people to find out: ten kinds, each a small and usual mistake.

Each is a change of the in proxy's config, or of what callers and the network do. Who runs the demo is told
what users complain of; `truth` is for whoever gives up.
Knows nothing of processes: `broken` starts what is described here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

Config = dict[str, Any]
Change = Callable[[Config, Mapping[str, str]], None]
"""Changes the in proxy's config. Gets it, and by name the public keys and addresses that there are."""

RECEIVER, TIMEOUT_S, SHORT_S = "services-in", 5, 1
HOUR_S = 3600
PAST = "2020-01-01T00:00:00Z"


class Breakage(NamedTuple):
    """One kind.

    complaint: what users say. truth: what is wrong. hop: the proxy that knows. cause: as it tells it.
    change: see `Change`. late_s: how far behind the clock is by which callers set their deadlines; None for
    callers that set none. tampers: whether somebody changes what passes between the proxies.
    """

    complaint: str
    truth: str
    hop: str
    cause: str
    change: Change = lambda config, there: None
    late_s: int | None = None
    tampers: bool = False


def in_config(there: Mapping[str, str]) -> Config:
    """Return the config of an in proxy in which nothing is broken.

    Args:
        there: public keys of callers and addresses of services, by name.
    """
    return {
        "role": "in",
        "name": RECEIVER,
        "listen": {"address": "127.0.0.1:0"},
        "private_key": {"file": f"{RECEIVER}.key"},
        "link": {"ping_interval_s": 600},  # pings would be pieces that are changed in place of a call
        "callers": {name: {"public_keys": [there[name]]} for name in ("chat_service", "song_service")},
        "services": {name: {"endpoints": [there[name]]} for name in ("search_service", "token_service")},
        "privileges": [
            {"callers": ["chat_service"], "services": ["search_service"]},
            {"callers": ["song_service"], "services": ["token_service"]},
        ],
        "admin": {"address": "127.0.0.1:0", "open": ["reading"]},
        "drain": {"grace_s": 1},
        "workers": 1,
    }


def out_config(receiver_key: str, watched: str, direct: str) -> Config:
    """Return the config of the out proxy.

    Args:
        receiver_key: public. watched, direct: where it finds the receiver, for chat_service's calls and for
            song_service's.
    """
    receiver = {"name": RECEIVER, "public_keys": [receiver_key]}
    callers = ("chat_service", "song_service")
    return {
        "role": "out",
        "name": "out",
        "listen": {"address": "127.0.0.1:0", "service_from": "path"},
        "callers": {
            "header": "C_ServiceName",
            "names": {name: {"private_key": {"file": f"{name}.key"}} for name in callers},
        },
        "link": {"ping_interval_s": 600, "wait_s": 0},
        "defaults": {"transport": "link", "timeout_s": TIMEOUT_S},
        "services": {
            "search_service": {"receiver": receiver, "endpoints": [watched]},
            "token_service": {"receiver": receiver, "endpoints": [direct]},
        },
        "admin": {"address": "127.0.0.1:0", "open": ["reading"]},
        "drain": {"grace_s": 1},
        "workers": 1,
    }


def _chats_key(public_key: Callable[[Mapping[str, str]], object]) -> Change:
    def change(config: Config, there: Mapping[str, str]) -> None:
        config["callers"]["chat_service"]["public_keys"] = [public_key(there)]

    return change


def _search_at(name: str, **settings: object) -> Change:
    """search_service is looked for at the address of this name, or at one that nobody has."""

    def change(config: Config, there: Mapping[str, str]) -> None:
        config["services"]["search_service"] = {"endpoints": [there.get(name, name)], **settings}

    return change


def _chats_privilege(**settings: object) -> Change:
    def change(config: Config, there: Mapping[str, str]) -> None:
        config["privileges"][0].update(settings)

    return change


BREAKAGES: Mapping[str, Breakage] = {
    "wrong-key": Breakage(
        "every call of chat_service fails, though nothing was deployed there",
        "The in proxy has another public key for chat_service than the one that belongs to its private key.",
        "in", "handshake_unknown_caller", _chats_key(lambda there: there["stranger"]),
    ),
    "expired-key": Breakage(
        "every call of chat_service fails, and yesterday all was well",
        "chat_service's public key has passed the date that the in proxy's config gives it.",
        "in", "handshake_key_ended",
        _chats_key(lambda there: {"key": there["chat_service"], "not_after": PAST}),
    ),
    "no-privilege": Breakage(
        "chat_service can't search any more since its last release",
        "The privilege of chat_service on search_service allows GET only, and chat_service now sends POST.",
        "in", "no_privilege", _chats_privilege(methods=["GET"]),
    ),
    "rate": Breakage(
        "about half of all searches of chat_service fail",
        "chat_service calls twice a second, and its privilege has a rate of one.",
        "in", "rate_limited", _chats_privilege(rate={"per_s": 1, "burst": 1}),
    ),
    "service-down": Breakage(
        "chat_service gets errors instead of results of its searches",
        "Nobody listens where the in proxy looks for search_service.",
        "in", "connect_refused", _search_at("closed"),
    ),
    "slow-service": Breakage(
        "chat_service waits long for its searches, and then gets an error",
        "search_service takes connections and never answers; the in proxy gives it one second.",
        "in", "deadline_exceeded", _search_at("mute", timeout_s=SHORT_S),
    ),
    "bad-answer": Breakage(
        "chat_service gets errors instead of results, though something listens where search_service was",
        "Another program, which doesn't speak HTTP, listens where the in proxy looks for search_service.",
        "in", "response_malformed", _search_at("babbler"),
    ),
    "dns": Breakage(
        "chat_service gets errors instead of results since search_service has moved",
        "The name under which the in proxy looks for search_service doesn't resolve.",
        "in", "no_endpoint", _search_at("search-service.invalid:8080"),
    ),
    "clock": Breakage(
        "every search of chat_service fails at once",
        "The clock of chat_service's machine is an hour slow: its deadlines have passed when it calls.",
        "out", "deadline_exceeded", late_s=HOUR_S,
    ),
    "tampered": Breakage(
        "every other search of chat_service fails, and only on this network",
        "Somebody between the proxies changes a bit of every other answer.",
        "out", "connection_lost", tampers=True,
    ),
}  # fmt: skip
"""All kinds, by name."""
