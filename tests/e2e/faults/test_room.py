"""Faults of too much at once, and of proxies that go away: each limit has its own cause."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.client import Answer, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.faults.fault import IN, OUT, TELLING, Fault, Scene, check
from tests.e2e.services import Conversation, ScriptedService, sized
from tests.e2e.test_descriptors import LIMIT as DESCRIPTORS
from tests.e2e.test_descriptors import fill

IN_FLIGHT, CONNECTIONS = 3, 8


class Gate:
    """A script that answers when it is told to."""

    def __init__(self) -> None:
        self.open = threading.Event()

    def __call__(self, conversation: Conversation) -> None:
        conversation.request()
        assert self.open.wait(10)
        conversation.send(sized(b"at last"))


def with_others(scene: Scene, count: int) -> Answer:
    """Call while so many calls are in flight."""
    service = scene.services["api"]
    before = len(service.requests)
    with ExitStack() as stack:
        for _ in range(count):
            client = stack.enter_context(Client(scene.out.listen))
            client.send(request_bytes("POST", "/api/", b"x"))
        service.wait_for_requests(before + count)
        return scene.fetch("POST", "/api/", b"x")


def one_connection_too_many(scene: Scene) -> Answer:
    """Connect more often than is allowed; the last one is told without having asked."""
    with ExitStack() as stack:
        for _ in range(CONNECTIONS):
            client = stack.enter_context(Client(scene.out.listen))
            assert client.request("GET", "/nobody/").status == 404
        return stack.enter_context(Client(scene.out.listen)).answer()


def no_descriptor_left(scene: Scene) -> Answer:
    """Connect to the in proxy until it has no descriptor left."""
    with ExitStack() as stack:
        return fill(scene.inner, stack)


OVERLOADED_OUT = Fault(
    name="more exchanges than the out proxy takes",
    inject=lambda scene: with_others(scene, IN_FLIGHT),
    cause="overloaded", hop=OUT, phase="read", numbers={"in_flight_limit": IN_FLIGHT},
)  # fmt: skip
OVERLOADED_IN = Fault(
    name="more exchanges than the in proxy takes",
    inject=lambda scene: with_others(scene, IN_FLIGHT),
    cause="overloaded", hop=IN, phase="read", numbers={"in_flight_limit": IN_FLIGHT},
)  # fmt: skip
CROWDED = Fault(
    name="more connections than the out proxy takes",
    inject=one_connection_too_many,
    cause="too_many_connections", hop=OUT, phase="read", numbers={"connections_limit": CONNECTIONS},
)  # fmt: skip
SHORT = Fault(
    name="no descriptor left",
    inject=no_descriptor_left,
    cause="descriptors_exhausted", hop=IN, phase="read", is_direct=True,
)  # fmt: skip
STRANGE_USER = Fault(
    name="a user that may not connect",
    inject=lambda scene: scene.fetch("GET", "/api/"),
    cause="peer_refused", hop=OUT, phase="identify",
)  # fmt: skip
FAULTS = [OVERLOADED_OUT, OVERLOADED_IN, CROWDED, SHORT, STRANGE_USER]


@pytest.fixture
def gate(make: Maker) -> Iterator[ScriptedService]:
    """A service that answers when the test is over."""
    gate = Gate()
    yield make.service(gate)
    gate.open.set()


@pytest.mark.parametrize("fault", [OVERLOADED_OUT, OVERLOADED_IN], ids=lambda fault: fault.hop)
def test_too_many_exchanges_at_once_are_told_by_whom_they_are_too_many_for(
    make: Maker, gate: ScriptedService, fault: Fault
) -> None:
    limit = TELLING | {"limits": {"in_flight": IN_FLIGHT}}
    pair = make.pair(
        {"api": [gate.endpoint]},
        out=limit if fault.hop == OUT else TELLING,
        inner=limit if fault.hop == IN else TELLING,
    )
    check(fault, Scene(pair.out, pair.inner, {"api": gate}))


def test_too_many_connections_and_too_few_descriptors_are_told_apart(make: Maker) -> None:
    pair = make.pair(
        {"api": ["127.0.0.1:1"]},
        out=TELLING | {"limits": {"connections": CONNECTIONS}},
        inner=TELLING,
        inner_first=f"ulimit -n {DESCRIPTORS}",
    )
    scene = Scene(pair.out, pair.inner)
    check(CROWDED, scene)
    check(SHORT, scene)


def test_a_user_that_may_not_connect_is_told_so(make: Maker, tmp_path: Path) -> None:
    listen = {"address": f"unix:{tmp_path}/out", "allowed_uids": [os.getuid() + 1]}
    pair = make.pair({"api": ["127.0.0.1:1"]}, out=TELLING | {"listen": listen}, inner=TELLING)
    check(STRANGE_USER, Scene(pair.out, pair.inner))
