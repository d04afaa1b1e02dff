"""A proxy among those who depend on it: a service manager, a load balancer, a job."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.e2e.client import fetch
from tests.e2e.launching import Launched, config_file, ended, launched, standing_in
from tests.e2e.proxies import address_of, endpoint_of, key_of
from tests.supervisor.manager import Manager

NOBODY_KNOWS = {"services": {"api": {"endpoints": ["nobody.invalid:80"]}}}


# --- a service manager ----------------------------------------------------------------------------------


def test_a_service_manager_learns_of_start_life_reload_and_end(tmp_path: Path) -> None:
    with Manager(str(tmp_path / "notify")) as manager:
        environ = {"NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "100000"}
        with launched(config_file(tmp_path), environ=environ) as proxy:
            while "READY" not in (message := manager.hear()):
                assert message == {"WATCHDOG": "1"}
            address = message["STATUS"].split()[2].rstrip(",")
            assert fetch(address_of(address), "GET", "/").status == 404, "it takes connections by then"
            manager.hear_until(WATCHDOG="1")
            manager.hear_until(WATCHDOG="1")
            proxy.process.send_signal(signal.SIGHUP)
            assert int(manager.hear_until(RELOADING="1")["MONOTONIC_USEC"]) > 0
            manager.hear_until(READY="1")
            proxy.process.terminate()
            assert "draining" in manager.hear_until(STOPPING="1")["STATUS"]
            assert proxy.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_sockets_that_were_handed_over_are_used(tmp_path: Path, workers: int) -> None:
    with ExitStack() as stack:
        listener, admin = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        file = config_file(
            tmp_path,
            workers=workers,
            listen={"address": endpoint_of(listener.getsockname())},
            admin={"address": endpoint_of(admin.getsockname())},
        )
        early = stack.enter_context(socket.create_connection(listener.getsockname(), 30))
        early.sendall(b"GET / HTTP/1.1\r\nHost: in\r\n\r\n")  # waits in the queue, for whoever will take it
        proxy = stack.enter_context(launched(file, sockets=[listener, admin]))
        assert proxy.ready()["listen"] == endpoint_of(listener.getsockname())
        assert early.recv(100).startswith(b"HTTP/1.1 404")
        assert fetch(admin.getsockname(), "GET", "/readyz").status == 200
        proxy.process.terminate()
        assert proxy.wait() == 0
        # It is the manager's still: who comes now is served by the next one.
        late = stack.enter_context(socket.create_connection(listener.getsockname(), 30))
        late.sendall(b"GET / HTTP/1.1\r\nHost: in\r\n\r\n")
        stack.enter_context(launched(file, sockets=[listener, admin]))
        assert late.recv(100).startswith(b"HTTP/1.1 404")


def test_a_socket_that_is_not_what_the_config_says_is_refused_with_words(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        launched(config_file(tmp_path, listen={"address": "127.0.0.1:1"}), sockets=[listener]) as proxy,
    ):
        assert proxy.wait() == 1
        assert "make ListenStream= in the socket unit and `listen.address` the same" in said(proxy)


def test_a_socket_for_an_admin_address_that_there_is_none_is_refused(tmp_path: Path) -> None:
    with ExitStack() as stack:
        listener, admin = (stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2))
        file = config_file(tmp_path, admin=None)
        proxy = stack.enter_context(launched(file, sockets=[listener, admin]))
        assert proxy.wait() == 1
        assert "add `admin: {address: …}`" in said(proxy)


# --- a load balancer ------------------------------------------------------------------------------------


def test_before_it_drains_it_says_so_for_a_while_and_serves_on(tmp_path: Path) -> None:
    with launched(config_file(tmp_path, drain={"delay_s": 600})) as proxy:
        listen = address_of(proxy.ready()["listen"])
        proxy.process.terminate()
        proxy.log.wait_for(message="draining")
        answer = proxy.probe()
        assert (answer.status, answer.body) == (503, b"draining\n")
        assert fetch(listen, "GET", "/").status == 404
        proxy.process.terminate()  # for the second time
        assert proxy.wait() == 0
        assert not proxy.log.find(message="a worker has ended; another takes its place")


# --- a job ----------------------------------------------------------------------------------------------


def test_a_command_runs_while_the_proxy_is_ready_and_its_exit_code_is_the_proxys(tmp_path: Path) -> None:
    file, ready = config_file(tmp_path), tmp_path / "ready"
    with launched(file, "--ready-file", ready, "--with", "--", "sh", "-c", f"cat {ready}; exit 7") as proxy:
        assert proxy.wait() == 7
        standing = proxy.output.wait_for(state="ready")
        assert standing["listen"] == proxy.ready()["listen"]
        assert standing["pid"] == proxy.process.pid
    assert not ready.exists()


def test_a_command_does_not_get_keys_that_the_config_takes_from_the_environment(tmp_path: Path) -> None:
    file = config_file(tmp_path, private_key={"env": "OWN_KEY", "file": None})
    environ = {"OWN_KEY": key_of("in").reveal(), "OTHER": "stays"}
    with launched(file, "--with", "--", "env", environ=environ) as proxy:
        assert proxy.wait() == 0
        proxy.output.wait_for(text="OTHER=stays\n")
    assert not [line for line in proxy.output.lines if "OWN_KEY" in line["text"]]


def test_a_command_gets_the_signal_and_the_proxy_serves_until_it_has_ended(tmp_path: Path) -> None:
    go_on = tmp_path / "go_on"
    script = f"trap 'echo told; read line < {go_on}; exit 9' TERM; echo began; while :; do sleep 0.05; done"
    file = config_file(tmp_path)
    os.mkfifo(go_on)
    with launched(file, "--with", "--", "sh", "-c", script) as proxy:
        listen = address_of(proxy.ready()["listen"])
        proxy.output.wait_for(text="began\n")
        proxy.process.terminate()
        proxy.output.wait_for(text="told\n")
        assert fetch(listen, "GET", "/").status == 404, "the job may have calls to make yet"
        assert proxy.probe().status == 200
        go_on.write_text("\n")
        assert proxy.wait() == 9


def test_told_twice_it_ends_a_command_that_does_not_listen(tmp_path: Path) -> None:
    script = "trap 'echo told' TERM; echo began; while :; do sleep 0.05; done"
    with launched(config_file(tmp_path), "--with", "--", "sh", "-c", script) as proxy:
        proxy.output.wait_for(text="began\n")
        proxy.process.terminate()
        proxy.output.wait_for(text="told\n")
        proxy.process.terminate()
        assert proxy.wait() == 128 + signal.SIGKILL


def test_a_command_whose_proxy_does_not_become_ready_is_not_started(tmp_path: Path) -> None:
    file = config_file(tmp_path, **NOBODY_KNOWS)
    done = ended(file, "--ready-timeout", "0.1", "--with", "--", "echo", "began")
    assert done.returncode == 1
    assert "began" not in done.stdout
    assert "no endpoint is known for api" in done.stderr


def test_told_to_end_before_its_command_began_it_does_not_pass_for_done(tmp_path: Path) -> None:
    file = config_file(tmp_path, **NOBODY_KNOWS)
    with launched(file, "--with", "--", "echo", "began") as proxy:
        proxy.ready()
        proxy.process.terminate()
        assert proxy.wait() == 128 + signal.SIGTERM
    assert proxy.output.lines == []


def test_a_command_needs_to_be_asked_for(tmp_path: Path) -> None:
    file = config_file(tmp_path)
    for arguments in (("--with",), ("echo", "began")):
        done = ended(file, *arguments)
        assert done.returncode == 2
        assert "--with -- COMMAND" in done.stderr


# --- the ready file -------------------------------------------------------------------------------------


def test_the_ready_file_comes_when_it_is_ready_and_goes_with_it(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    with launched(config_file(tmp_path, drain={"delay_s": 600}), "--ready-file", ready) as proxy:
        line = proxy.ready()
        standing = standing_in(ready, proxy.process)
        assert standing.pid == proxy.process.pid
        assert (standing.listen, standing.admin, standing.role) == (line["listen"], line["admin"], "in")
        proxy.process.terminate()
        standing_in(ready, proxy.process, "draining")
        proxy.process.terminate()
        assert proxy.wait() == 0
    assert not ready.exists()


def test_a_ready_file_that_cant_be_written_is_told_at_the_start(tmp_path: Path) -> None:
    done = ended(config_file(tmp_path), "--ready-file", tmp_path / "none" / "ready")
    assert done.returncode == 1
    assert "--ready-file" in done.stderr


def said(proxy: Launched) -> str:
    """What a proxy that has ended said on standard error, beside its log."""
    proxy.log.close()
    return "".join(line.get("text", "") for line in proxy.log.lines)
