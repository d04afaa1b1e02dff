"""Sockets that a service manager hands over: which is for what, and what is refused."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastproxy.config.address import parse_address
from fastproxy.net.listener import StartError
from fastproxy.supervisor.activation import Inherited, check, inherit
from fastproxy.supervisor.listeners import Listeners

PID = 4711


class Handed:
    """Descriptors in a row, as a manager hands them over."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.sockets: list[socket.socket] = []

    def add(self, sock: socket.socket) -> socket.socket:
        self.sockets.append(self._stack.enter_context(sock))
        return sock

    def inherit(self, names: str | None = None, **changes: str) -> Inherited:
        """Put copies of them in a row somewhere, and take them."""
        first = 200
        for index, sock in enumerate(self.sockets):
            os.dup2(sock.fileno(), first + index)
        environ = {"LISTEN_PID": str(PID), "LISTEN_FDS": str(len(self.sockets))} | changes
        if names is not None:
            environ["LISTEN_FDNAMES"] = names
        taken = inherit(environ, PID, first)
        assert not environ, "true only once"
        for sock in (*taken.listen, *taken.admin):
            self._stack.enter_context(sock)
        return taken


@pytest.fixture
def handed() -> Iterator[Handed]:
    with ExitStack() as stack:
        yield Handed(stack)


def listening(port: int = 0) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), reuse_port=True)


def ports(sockets: tuple[socket.socket, ...]) -> list[int]:
    return [sock.getsockname()[1] for sock in sockets]


def test_names_say_what_a_socket_is_for(handed: Handed) -> None:
    admin, listen = (handed.add(listening()).getsockname()[1] for _ in range(2))
    taken = handed.inherit("admin:listen")
    assert (ports(taken.listen), ports(taken.admin)) == ([listen], [admin])
    assert not any(sock.get_inheritable() or sock.getblocking() for sock in (*taken.listen, *taken.admin))


@pytest.mark.parametrize("names", [None, "", "fastproxy.socket:fastproxy.socket:fastproxy.socket"])
def test_without_names_the_first_address_is_for_listen(handed: Handed, names: str | None) -> None:
    first = handed.add(listening()).getsockname()[1]
    handed.add(listening(first))
    admin = handed.add(listening()).getsockname()[1]
    taken = handed.inherit(names)
    assert (ports(taken.listen), ports(taken.admin)) == ([first, first], [admin])


def test_what_is_for_another_process_is_left_alone(handed: Handed) -> None:
    handed.add(listening())
    assert handed.inherit(LISTEN_PID=str(PID + 1)) == Inherited()
    assert inherit({}, PID) == Inherited()


@pytest.mark.parametrize("number", ["", "0", "-1", "x", "100000"])
def test_a_number_that_is_none_is_refused(handed: Handed, number: str) -> None:
    with pytest.raises(StartError, match="LISTEN_FDS"):
        handed.inherit(LISTEN_FDS=number)


def test_a_descriptor_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(StartError, match="is no socket"):
        inherit({"LISTEN_PID": str(PID), "LISTEN_FDS": "1"}, PID, file.fileno())


# --- what the config says -------------------------------------------------------------------------------


def test_what_the_config_says_is_taken() -> None:
    with listening() as sock:
        port = sock.getsockname()[1]
        for address in (f"127.0.0.1:{port}", f"localhost:{port}", "127.0.0.1:0"):
            check([sock], parse_address(address, to_listen=True), 0o600, "listen.address")


def test_a_socket_that_is_bound_elsewhere_is_refused() -> None:
    """Above all one at all addresses where the config says loopback."""
    with listening() as sock, socket.create_server(("0.0.0.0", 0)) as everywhere, socket.socket() as unbound:
        port = everywhere.getsockname()[1]
        for given, address in (
            (sock, "127.0.0.1:1"),
            (sock, "127.0.0.2:0"),
            (sock, "unix:/run/fastproxy.sock"),
            (sock, "no.such.name.invalid:0"),
            (everywhere, f"127.0.0.1:{port}"),
            (unbound, "0.0.0.0:0"),
        ):
            with pytest.raises(StartError, match=r"is bound to .*, the config says"):
                check([given], parse_address(address, to_listen=True), 0o600, "listen.address")


def test_a_socket_of_another_kind_is_refused() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams,
        listening() as listener,
        socket.create_connection(listener.getsockname()) as connection,
    ):
        datagrams.bind(("127.0.0.1", 0))
        with pytest.raises(StartError, match="ListenStream="):
            check([datagrams], parse_address("127.0.0.1:0", to_listen=True), 0o600, "listen.address")
        with pytest.raises(StartError, match="Accept=no"):
            check([connection], parse_address("127.0.0.1:0", to_listen=True), 0o600, "listen.address")


def test_a_unix_socket_may_let_in_no_more_than_the_config(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    address = parse_address(f"unix:{path}")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
        sock.listen()
        path.chmod(0o666)
        with pytest.raises(StartError, match="SocketMode=0600"):
            check([sock], address, 0o600, "admin.address")
        check([sock], address, 0o666, "listen.address")
        path.chmod(0o600)
        check([sock], address, 0o600, "admin.address")
        path.unlink()  # nobody gets there any more
        check([sock], address, 0o600, "admin.address")


# --- whose they are then --------------------------------------------------------------------------------


def test_one_socket_is_for_all_workers_and_several_are_shared_out() -> None:
    address = parse_address("127.0.0.1:0", to_listen=True)
    with listening() as first, listening() as second:
        listeners = Listeners(address, 0o600)
        listeners.adopt([first])
        listeners.open(3)
        assert [list(listeners.share(index, 3)) for index in range(3)] == [[first]] * 3
        listeners = Listeners(address, 0o600)
        listeners.adopt([first, second])
        listeners.open(3)
        assert [list(listeners.share(index, 3)) for index in range(3)] == [[first], [second], [first]]
        assert list(listeners.share(0, 1)) == [first, second]
