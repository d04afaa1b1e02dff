"""Faults on the way to the next hop: no address, nobody there, no answer, no connection left."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.discovery.play_dns import dnsmasq
from tests.discovery.test_real_dns import namespace
from tests.e2e.client import Answer, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.faults.fault import IN, OUT, TELLING, Fault, Scene, check
from tests.e2e.link_security.proxies import instead_of
from tests.e2e.proxies import Config, key_of, reserved_port
from tests.e2e.services import Conversation

__all__ = ["namespace"]

SHORT_S, LONG_S = 0.3, 30.0
FULL = 2


def silent_until_gone(conversation: Conversation) -> None:
    """Takes a request and waits for its caller to give up."""
    conversation.request()
    conversation.until_gone()


def once_its_pool_is_full(scene: Scene) -> Answer:
    """Take all connections to a service, and all places in the line for them."""
    with ExitStack() as stack:
        for _ in range(FULL + 1):
            client = stack.enter_context(Client(scene.out.listen))
            client.send(request_bytes("POST", "/slow/", b"x"))
        scene.inner.wait_for_gauge("fastproxy_in_flight", FULL + 1)
        return scene.fetch("POST", "/slow/", b"x")


FAULTS = [
    Fault(
        name="a service that isn't there",
        inject=lambda scene: scene.fetch("POST", "/gone/", b"x"),
        cause="connect_refused", hop=IN, phase="connect", detail="Connection refused",
    ),
    Fault(
        name="a receiver that isn't there",
        inject=lambda scene: scene.fetch("POST", "/astray/", b"x"),
        cause="connect_refused", hop=OUT, phase="connect",
    ),
    Fault(
        name="a service that takes no connection",
        inject=lambda scene: scene.fetch("POST", "/full/", b"x"),
        cause="connect_timeout", hop=IN, phase="connect", detail="no answer within 0.3 s",
        numbers={"connect_timeout_s": SHORT_S},
    ),
    Fault(
        name="a deadline while connecting",
        inject=lambda scene: scene.fetch("POST", "/late/", b"x"),
        cause="deadline_exceeded", hop=IN, phase="connect", detail="phase connect",
        numbers={"timeout_s": SHORT_S, "budget_left_s": None},
    ),
    Fault(
        name="all connections to a service in use",
        inject=once_its_pool_is_full,
        cause="pool_exhausted", hop=IN, phase="connect",
        numbers={"connections": FULL, "waiting_limit": 1},
    ),
]  # fmt: skip

UNRESOLVED = Fault(
    name="a name that doesn't resolve",
    inject=lambda scene: scene.fetch("GET", "/api/"),
    cause="no_endpoint", hop=IN, phase="pick", detail="api.test:80 doesn't resolve",
)  # fmt: skip


@pytest.fixture(scope="module")
def full() -> Iterator[str]:
    """An address where somebody listens and takes nobody: the kernel's line for it is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        at: tuple[str, int] = listener.getsockname()
        stack.enter_context(socket.create_connection(at))
        yield f"{at[0]}:{at[1]}"


@pytest.fixture(scope="module")
def scene(make_shared: Maker, full: str) -> Iterator[Scene]:
    """A pair that leads to where nobody is."""
    slow = make_shared.service(silent_until_gone)
    with reserved_port() as closed:
        nowhere = f"127.0.0.1:{closed}"
        receiver: Config = {"name": "in", "public_keys": [key_of("in").public_key.hex()]}
        services = {"gone": nowhere, "full": full, "late": full, "slow": slow.endpoint}
        own = {
            "full": {"connect_timeout_s": SHORT_S},
            "late": {"connect_timeout_s": LONG_S, "timeout_s": SHORT_S},
        }
        limits = {"connections_per_endpoint": FULL, "waiting_per_endpoint": 1}
        astray = instead_of(receiver, {"astray": nowhere})["services"]
        pair = make_shared.pair(
            {name: [at] for name, at in services.items()},
            out=TELLING | {"services": astray},
            inner=TELLING | {"services": own, "limits": limits},
        )
        yield Scene(pair.out, pair.inner)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_on_the_way_to_the_next_hop_is_told_for_what_it_is(scene: Scene, fault: Fault) -> None:
    check(fault, scene)


@pytest.fixture
def name_server(namespace: str, tmp_path: Path) -> Iterator[str]:
    """A network namespace with a DNS server that knows no name of ours; yields its name."""
    records = tmp_path / "records"
    records.write_text("192.0.2.9 other.test\n")
    command = ["ip", "netns", "exec", namespace, *dnsmasq(records)]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        while str(records).encode() not in (line := server.stderr.readline()):
            assert line, "dnsmasq ended"
        yield namespace
        server.terminate()


def test_a_name_that_does_not_resolve_is_told_by_its_name(
    name_server: str, make: Maker, tmp_path: Path
) -> None:
    """The in proxy lives where that server is asked; the out proxy reaches it by a socket in a folder.

    It has to end before the namespace does, which is why the fixtures stand in this order.
    """
    at = {"listen": {"address": f"unix:{tmp_path}/in"}, "admin": {"address": f"unix:{tmp_path}/admin"}}
    pair = make.pair(
        {"api": ["api.test:80"]},
        out=TELLING,
        inner=at,
        inner_first=f'set -- ip netns exec {name_server} "$@"',
    )
    check(UNRESOLVED, Scene(pair.out, pair.inner))
