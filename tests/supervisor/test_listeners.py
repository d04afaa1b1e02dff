"""The sockets of a proxy: one for each worker, all at one address that nobody else gets."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.config.address import parse_address
from fastproxy.net.listener import StartError
from fastproxy.supervisor.listeners import Listeners
from tests.e2e.proxies import address_of, reserved_port


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    """At any free port."""
    made = Listeners(parse_address("127.0.0.1:0", to_listen=True), 0o600)
    yield made
    made.close()


@pytest.fixture
def at_a_path(tmp_path: Path) -> Iterator[Listeners]:
    """At a Unix socket."""
    made = Listeners(parse_address(f"unix:{tmp_path}/s"), 0o640)
    yield made
    made.close()


def shares(listeners: Listeners, count: int) -> list[set[int]]:
    """Which descriptors each of so many workers takes from."""
    return [{sock.fileno() for sock in listeners.share(index, count)} for index in range(count)]


def test_each_worker_has_a_socket_of_its_own_at_the_same_address(listeners: Listeners) -> None:
    listeners.open(3)
    shared = shares(listeners, 3)
    assert [len(share) for share in shared] == [1, 1, 1]
    assert len(set.union(*shared)) == 3
    assert {sock.getsockname() for index in range(3) for sock in listeners.share(index, 3)} == {
        address_of(listeners.name)
    }


def test_the_sockets_stay_when_their_number_changes_and_none_is_left_out(listeners: Listeners) -> None:
    listeners.open(2)
    before = set.union(*shares(listeners, 2))
    listeners.open(5)
    every = set.union(*shares(listeners, 5))
    assert before < every
    assert len(every) == 5
    listeners.open(2)
    fewer = shares(listeners, 2)
    assert set.union(*fewer) == every
    assert not fewer[0] & fewer[1]


def test_all_workers_take_from_one_unix_socket(at_a_path: Listeners, tmp_path: Path) -> None:
    at_a_path.open(3)
    first, *others = shares(at_a_path, 3)
    assert len(first) == 1
    assert others == [first, first]
    assert at_a_path.name == f"unix:{tmp_path}/s"
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o640


def test_what_is_in_nobodys_way_is_not_in_the_way_of_the_second() -> None:
    """A port that is bound, but not listened at: connections of a proxy that was there before are alike."""
    with reserved_port() as port:
        several = Listeners(parse_address(f"127.0.0.1:{port}"), 0o600)
        several.open(3)
        several.close()


def test_nobody_else_gets_a_path_before_a_worker_takes_connections(at_a_path: Listeners) -> None:
    at_a_path.open(1)
    with pytest.raises(StartError, match="another program listens there"):
        Listeners(at_a_path.address, 0o600).open(1)


@pytest.mark.parametrize("reuses", [0, 1])
@pytest.mark.parametrize("count", [1, 2])
def test_nobody_else_gets_the_address(listeners: Listeners, reuses: int, count: int) -> None:
    """Not even another proxy that asks for it in the same way, and before any worker takes connections."""
    listeners.open(count)
    with pytest.raises(StartError, match="another program listens there"):
        Listeners(parse_address(listeners.name), 0o600).open(1)
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuses)
        with pytest.raises(OSError, match="in use"):
            other.bind(address_of(listeners.name))


def test_what_waits_in_a_queue_is_there_for_the_next_who_takes(listeners: Listeners) -> None:
    listeners.open(1)
    (sock,) = listeners.share(0, 1)
    first = sock.dup()
    with socket.create_connection(address_of(listeners.name)) as client:  # type: ignore[arg-type]
        first.close()
        sock.setblocking(True)
        taken, peer = sock.accept()
        with taken:
            assert peer == client.getsockname()
