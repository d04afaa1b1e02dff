"""Faults of whoever has to prove who they are: keys that are wrong, ended or another's, and clocks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.client import Answer
from tests.e2e.conftest import Maker
from tests.e2e.faults.fault import IN, OUT, TELLING, Fault, Hidden, Scene, check
from tests.e2e.link_security.proxies import Parties
from tests.e2e.proxies import Config, endpoint_of, key_of
from tests.e2e.services import answering, sized
from tests.e2e.test_clock_jumps import FAKETIME_LIBRARIES

PAST = "2020-01-01T00:00:00Z"


def public(name: str) -> str:
    """The public key of this name."""
    return key_of(name).public_key.hex()


RECEIVERS: dict[str, Config] = {
    "misled": {"name": "elsewhere", "public_keys": [public("elsewhere")]},
    "misnamed": {"name": "in-too", "public_keys": [public("in2")]},
    "ended": {"name": "former", "public_keys": [{"key": public("former"), "not_after": PAST}]},
}
"""What the out proxy takes the receiver for, by the service that it calls there."""


def calling(service: str, caller: str = "web") -> Callable[[Scene], Answer]:
    """What calls a service in somebody's name."""

    def inject(scene: Scene) -> Answer:
        return scene.fetch("GET", f"/{service}/", headers=[f"X-Caller: {caller}"])

    return inject


FAULTS = [
    Fault(
        name="a caller that isn't in the config",
        inject=calling("api", "nobody"),
        cause="caller_unknown", hop=OUT, phase="identify",
    ),
    Fault(
        name="a key that the in proxy doesn't know, over a link",
        inject=calling("api", "stranger"),
        cause="link_refused", hop=OUT, phase="connect",
        hidden=Hidden(cause="unknown_caller", phase="handshake", advice="callers"),
    ),
    Fault(
        name="a key past its date, over a link",
        inject=calling("api", "late"),
        cause="link_refused", hop=OUT, phase="connect",
        hidden=Hidden(cause="key_ended", phase="handshake", advice="another key"),
    ),
    Fault(
        name="a pre-shared key at one end only",
        inject=calling("api", "hardened"),
        cause="link_refused", hop=OUT, phase="connect",
        hidden=Hidden(cause="closed", phase="handshake", advice="the out proxy there says why"),
    ),
    Fault(
        name="another public key for the receiver, over a link",
        inject=calling("misled"),
        cause="link_refused", hop=OUT, phase="connect",
        hidden=Hidden(cause="mac", phase="handshake", advice="another public key for this receiver"),
    ),
    Fault(
        name="another name for the receiver, over a link",
        inject=calling("misnamed"),
        cause="link_refused", hop=OUT, phase="connect",
        hidden=Hidden(cause="handshake", phase="handshake", advice="another name for this receiver"),
    ),
    Fault(
        name="a key of the receiver past its date",
        inject=calling("ended"),
        cause="receiver_key_ended", hop=OUT, phase="connect",
    ),
    Fault(
        name="a key that the in proxy doesn't know, over http",
        inject=calling("sealed", "stranger"),
        cause="response_unsealed", hop=OUT, phase="open", detail="answered 401 in the clear",
        hidden=Hidden(
            cause="identity_unproven", advice="fastproxy keys show", number="unknown_caller_key_id"
        ),
    ),
]  # fmt: skip

SKEWED = Fault(
    name="clocks an hour apart",
    inject=lambda scene: scene.fetch("GET", "/api/"),
    cause="envelope_expired", hop=IN, phase="open", detail="has passed",
    numbers={"late_s": None, "max_clock_skew_s": None},
)  # fmt: skip


@pytest.fixture(scope="module")
def scene(shared_parties: Parties) -> Scene:
    """An out proxy with callers and receivers that aren't what the in proxy knows."""
    service = shared_parties.service(answering(sized(b"fine")))
    psk = {"literal": "5a" * 32, "insecure_literal": True}
    callers = {
        "web": {"public_keys": [public("web")]},
        "late": {"public_keys": [{"key": public("guest"), "not_after": PAST}]},
        "hardened": {"public_keys": [public("web2")], "psk": psk},
    }
    own = {
        "listen": {"accept": ["link", "http"]},
        "private_key": None,
        "private_keys": [{"file": "in.key"}, {"file": "in2.key"}],
        "callers": {"guest": None} | callers,
    }
    services = dict.fromkeys(("api", "sealed", *RECEIVERS), service.endpoint)
    inner = shared_parties.in_proxy(services, TELLING | own)
    names = {"web": "web", "stranger": "stranger", "late": "guest", "hardened": "web2"}
    elsewhere = {
        name: {"receiver": receiver, "endpoints": [endpoint_of(inner.listen)]}
        for name, receiver in RECEIVERS.items()
    }
    out = shared_parties.out_proxy(
        (),
        inner,
        TELLING | {
            "caller": None,
            "private_key": None,
            "callers": {
                "header": "X-Caller",
                "names": {name: {"private_key": {"file": f"{key}.key"}} for name, key in names.items()},
            },
            "services": {"api": {}, "sealed": {"transport": "http"}} | elsewhere,
        },
    )  # fmt: skip
    return Scene(out, inner)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_who_proves_nothing_is_told_so_and_the_in_proxy_knows_why(scene: Scene, fault: Fault) -> None:
    check(fault, scene)


def test_clocks_apart_are_told_by_the_in_proxy(make: Maker) -> None:
    library = next(iter(FAKETIME_LIBRARIES), None)
    if library is None:
        pytest.skip("libfaketime is not installed")
    service = make.service(answering(sized(b"fine")))
    ahead = f"export LD_PRELOAD={library} FAKETIME=+1h FAKETIME_DONT_FAKE_MONOTONIC=1"
    pair = make.pair({"api": [service.endpoint]}, out=TELLING, inner=TELLING, inner_first=ahead)
    check(SKEWED, Scene(pair.out, pair.inner))
