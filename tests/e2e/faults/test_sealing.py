"""Faults between the proxies, over http: what passes is repeated, changed, cut or invented."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import pytest

from fastproxy.wire.compressors import SNAPPY
from fastproxy.wire.envelope import RESPONSE_HEADER_BYTES
from fastproxy.wire.records import PLAIN, Packing
from tests.e2e.client import Answer, fetch
from tests.e2e.conftest import Maker
from tests.e2e.crafted import Sender
from tests.e2e.faults.fault import IN, OUT, TELLING, Fault, Hidden, Scene, check
from tests.e2e.http_wire import read_message
from tests.e2e.relay import CONTENT_TYPE, TARGET, Change
from tests.e2e.services import answering, sized
from tests.e2e.test_crafted_envelopes import GOOD_HEAD, forged
from tests.e2e.test_tampering import flipped

SESSIONS = 8
LIMITS = {"sessions_per_caller": SESSIONS, "new_sessions_per_peer_per_s": 10_000}
BOMB = forged(SNAPPY.compressor_id, b"\xff\xff\xff\xff\x0f" + bytes(50))
"""Says that 4 GiB come out of it."""


def relayed(*, request: Change | None = None, response: Change | None = None) -> Callable[[Scene], Answer]:
    """What makes an honest call while somebody changes what passes."""

    def inject(scene: Scene) -> Answer:
        same: Change = bytes
        with scene.relay.changing(request=request or same, response=response or same):
            return scene.fetch("POST", "/api/", b"amount=1")

    return inject


def delivering(
    make: Callable[[Scene], bytes | None], method: str = "POST", target: str = TARGET
) -> Callable[[Scene], Answer]:
    """What sends something to the in proxy past the out proxy."""

    def inject(scene: Scene) -> Answer:
        return fetch(scene.inner.listen, method, target, make(scene), [CONTENT_TYPE])

    return inject


def recorded(scene: Scene) -> bytes:
    """What an honest call looked like between the proxies."""
    assert scene.fetch("POST", "/api/", b"amount=1").status == 200
    return scene.relay.requests[-1]


def crafting(
    *pieces: bytes, http: bytes = GOOD_HEAD, packing: Packing = PLAIN, service: str = "api"
) -> Callable[[Scene], Answer]:
    """What a caller sends that seals by hand, with a key that is known."""

    def inject(scene: Scene) -> Answer:
        sender = Sender(scene.inner)
        sender.learn_epoch()
        sealed = sender.ask(http, *pieces, packing=packing, service=service)
        message = read_message(BytesIO(sealed.http + sealed.content))
        return Answer(message.start, message.fields, message.body)

    return inject


def one_session_too_many(scene: Scene) -> Answer:
    """Open more sessions than a caller may have, all from one key."""
    while (answer := crafting()(scene)).status == 200:
        pass
    return answer


FAULTS = [
    Fault(
        name="an envelope that is sent again",
        inject=delivering(recorded),
        cause="envelope_replayed", hop=IN, phase="open", is_direct=True,
    ),
    Fault(
        name="a bit of a sealed request changed",
        inject=relayed(request=lambda content: flipped(len(content) - 1, 0)(content)),
        cause="response_unsealed", hop=OUT, phase="open", detail="answered 401 in the clear",
        hidden=Hidden(
            cause="identity_unproven", advice="fastproxy keys show", number="unfit_caller_key_id"
        ),
    ),
    Fault(
        name="a sealed request cut",
        inject=relayed(request=lambda content: content[:-1]),
        cause="response_unsealed", hop=OUT, phase="open", detail="answered 400 in the clear",
        hidden=Hidden(cause="envelope_malformed", advice="middlebox"),
    ),
    Fault(
        name="an answer from somebody between",
        inject=relayed(response=lambda _: b"balance: 1000000"),
        cause="response_unsealed", hop=OUT, phase="open",
    ),
    Fault(
        name="a bit of a sealed answer changed",
        inject=relayed(response=flipped(RESPONSE_HEADER_BYTES + 8, 0)),
        cause="response_broken", hop=OUT, phase="open",
    ),
    Fault(
        name="a plain request where envelopes are taken",
        inject=delivering(lambda _: None, "GET", "/api/"),
        cause="not_an_envelope", hop=IN, phase="open", is_direct=True,
    ),
    Fault(
        name="garbage where envelopes are taken",
        inject=delivering(lambda _: b"garbage" * 100),
        cause="envelope_malformed", hop=IN, phase="open", is_direct=True,
    ),
    Fault(
        name="a body of another length than its head says",
        inject=crafting(b"123", http=GOOD_HEAD.replace(b"\r\n\r\n", b"\r\ncontent-length: 5\r\n\r\n")),
        cause="message_broken", hop=IN, phase="open", is_direct=True,
    ),
    Fault(
        name="a decompression bomb",
        inject=crafting(b"x" * 65_536, packing=BOMB),
        cause="compression_broken", hop=IN, phase="open", is_direct=True, detail="snappy",
    ),
    Fault(
        name="a sealed transfer coding",
        inject=crafting(http=GOOD_HEAD.replace(b"\r\n\r\n", b"\r\ntransfer-encoding: chunked\r\n\r\n")),
        cause="coding_unsupported", hop=IN, phase="read", is_direct=True,
    ),
    Fault(
        name="a service that the in proxy doesn't know",
        inject=crafting(service="nobody"),
        cause="service_unknown", hop=IN, phase="route", is_direct=True,
    ),
    Fault(
        name="more sessions than a caller may have",
        inject=one_session_too_many,
        cause="sessions_exhausted", hop=IN, phase="open", is_direct=True,
        numbers={"sessions_per_caller_limit": SESSIONS},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def scene(make_shared: Maker) -> Scene:
    """A pair with somebody between, which has spoken once already."""
    service = make_shared.service(answering(sized(b"fine")))
    relay = make_shared.relay()
    pair = make_shared.pair(
        {"api": [service.endpoint]}, out=TELLING, inner=TELLING | {"limits": LIMITS}, relay=relay
    )
    assert pair.fetch("GET", "/api/").status == 200
    return Scene(pair.out, pair.inner, between=relay)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_between_the_proxies_is_told_for_what_it_is(scene: Scene, fault: Fault) -> None:
    check(fault, scene)
