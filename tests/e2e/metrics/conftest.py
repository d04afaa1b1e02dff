"""What the tests of metrics share: a pair with all that shows, over a link and over envelopes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from tests.e2e.client import Answer
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Config, Pair, key_of
from tests.e2e.services import Conversation, sized

SLOW_S = 0.2
"""How long the service takes for /open/slow."""
BURST = 4

OUT: Config = {
    "listen": {"service_from": "path"},
    "caller": None,
    "private_key": None,
    "callers": {"header": "X-Caller", "names": {"web": {"private_key": {"file": "web.key"}}}},
    "services": {"api": {"transport": "link"}, "old": {"transport": "http"}},
}
INNER: Config = {
    "listen": {"accept": ["link", "http"]},
    "callers": {
        "web": {"public_keys": [{"key": key_of("web").public_key.hex(), "not_after": "2099-01-01T00:00:00Z"}]}
    },
    "privileges": [
        {"callers": ["web"], "services": ["api", "old"], "paths": ["/open/**"]},
        {"callers": ["web"], "services": ["api"], "methods": ["GET", "HEAD"], "paths": ["/items/*"]},
        {
            "callers": ["web"],
            "services": ["api"],
            "paths": ["/limited"],
            "rate": {"per_s": 0.001, "burst": BURST},
        },
    ],
}


def service(conversation: Conversation) -> None:
    """Answers with the status that the path says, and slowly where it says so."""
    while True:
        path = conversation.request().start.split(" ")[1]
        if path.endswith("/slow"):
            time.sleep(SLOW_S)  # what it does takes its time
        _, _, status = path.partition("/status/")
        conversation.send(sized(b"served", status=f"{status or 200} Said"))


@pytest.fixture(scope="module")
def pair(make_shared: Maker) -> Pair:
    """A pair; `api` is called over a link, `old` in envelopes."""
    endpoints = [f"localhost:{make_shared.service(service).port}"]
    return make_shared.pair({"api": endpoints, "old": endpoints}, out=OUT, inner=INNER)


def ask(pair: Pair, target: str, method: str = "GET", caller: str = "web") -> Answer:
    """Make a request as a caller."""
    return pair.fetch(method, target, None, [f"X-Caller: {caller}"])


@pytest.fixture(scope="session")
def promtool() -> Path:
    """Prometheus's checker of metrics and rules."""
    return program("promtool")


def program(name: str) -> Path:
    """Find one of Prometheus's programs."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(f"{name} is missing; install the Debian package prometheus")
    return Path(found)
