"""A proxy of several processes: what becomes of calls and counters when one of them ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastproxy.control.board import Board
from tests.e2e.client import Client, fetch, request_bytes
from tests.e2e.conftest import Start
from tests.e2e.nginx import Nginx
from tests.e2e.programs import wait_until
from tests.e2e.proxies import (
    Config,
    ProxyProcess,
    endpoint_of,
    in_config,
    key_of,
    merged,
    out_config,
    write_key,
)
from tests.e2e.services import Conversation, ScriptedService, sized
from tests.e2e.worker_processes import workers_of

ANSWERS = b"hello from nginx"
CALLS = 24
GRACE: Config = {"drain": {"grace_s": 20}}


class Slow:
    """A service that answers when it may."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()

    def __call__(self, conversation: Conversation) -> None:
        conversation.request()
        self.may_answer.wait(30)
        conversation.send(sized(b"in the end"))


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def service(slow: Slow) -> Iterator[ScriptedService]:
    with ScriptedService(slow) as service:
        yield service
        slow.may_answer.set()


def pair(start: Start, endpoint: str, out: Config, inner: Config) -> tuple[ProxyProcess, ProxyProcess]:
    """An out proxy and an in proxy with a link between them, before a service `web`."""
    plain = in_config({"web": [endpoint]}, {"web": key_of("web")})
    receiver = start(merged(plain, {"listen": {"accept": ["link"]}} | inner))
    plain = out_config({"web": []}, key_of("in"), endpoint_of(receiver.listen))
    return start(merged(plain, {"defaults": {"transport": "link"}} | out)), receiver


def call(proxy: ProxyProcess) -> None:
    """Make a call on a connection of its own, which has to go well."""
    answer = fetch(proxy.listen, "GET", "/web/hello")
    assert (answer.status, answer.body) == (200, ANSWERS)


def calls_counted(proxy: ProxyProcess) -> float:
    return proxy.metrics().total("fastproxy_requests_total", outcome="2xx")


def wait_for_workers(proxy: ProxyProcess, count: int, gone: int) -> None:
    """Wait until so many take connections, and one is none of them; the test's time limit bounds it."""
    while proxy.metrics().total("fastproxy_workers") != count or gone in workers_of(proxy.pid):
        pass


def wait_until_gone(processes: list[int]) -> None:
    """Wait until processes have ended that nobody here can wait for; the test's time limit bounds it."""
    for process in processes:
        while _lives(process):
            pass


def _lives(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# --- several at a time ----------------------------------------------------------------------------------


def test_workers_share_the_calls_and_show_their_counters_as_one(start: Start, nginx: Nginx) -> None:
    out, inner = pair(start, nginx.endpoint, {"workers": 3}, {"workers": 2})
    assert [len(workers_of(proxy.pid)) for proxy in (out, inner)] == [3, 2]
    for _ in range(CALLS):
        call(out)
    for proxy, workers in ((out, 3), (inner, 2)):
        assert calls_counted(proxy) == CALLS
        metrics = proxy.metrics()
        assert metrics.total("fastproxy_workers") == workers
        assert metrics.total("fastproxy_endpoints") == 1, "that all of them know is one"
        for name in ("supervisor", *(f"worker {number}" for number in range(workers))):
            assert metrics.total("fastproxy_process_resident_bytes", process=name) > 1 << 20


def test_workers_share_a_unix_socket(start: Start, nginx: Nginx, tmp_path: Path) -> None:
    out, _ = pair(
        start, nginx.endpoint, {"workers": 2, "listen": {"address": f"unix:{tmp_path}/s"}}, {"workers": 1}
    )
    killed = workers_of(out.pid)[0]
    call(out)
    os.kill(killed, signal.SIGKILL)
    for _ in range(CALLS):
        call(out)
    wait_for_workers(out, 2, killed)


# --- a worker ends --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["out", "in"])
def test_a_killed_worker_is_replaced_and_its_counters_stay(start: Start, nginx: Nginx, role: str) -> None:
    out, inner = pair(start, nginx.endpoint, {"workers": 2}, {"workers": 2})
    proxy = out if role == "out" else inner
    for _ in range(CALLS):
        call(out)
    assert calls_counted(proxy) == CALLS
    for killed in workers_of(proxy.pid):  # whoever has counted them
        os.kill(killed, signal.SIGKILL)
        wait_for_workers(proxy, 2, killed)
        assert calls_counted(proxy) == CALLS
    call(out)
    assert calls_counted(proxy) == CALLS + 1
    metrics = proxy.metrics()
    assert metrics.total("fastproxy_workers_ended_total", how="unasked") == 2
    line = proxy.log.wait_for(message="a worker has ended; another takes its place")
    assert line["how"] == "was ended by SIGKILL"


def test_what_comes_while_a_worker_is_gone_waits_for_the_next_one(start: Start, nginx: Nginx) -> None:
    out, _ = pair(start, nginx.endpoint, {"workers": 1}, {"workers": 1})
    call(out)
    os.kill(out.worker, signal.SIGKILL)
    for _ in range(3):
        call(out)


def test_a_worker_that_hangs_is_found_and_replaced(start: Start, nginx: Nginx) -> None:
    out, _ = pair(start, nginx.endpoint, {"workers": 2, "worker_hang_s": 5}, {"workers": 1})
    hanging = workers_of(out.pid)[0]
    os.kill(hanging, signal.SIGSTOP)
    line = out.log.wait_for(message="a worker hangs; it is replaced")
    assert line["pid"] == hanging
    wait_for_workers(out, 2, hanging)
    for _ in range(CALLS):
        call(out)


@pytest.mark.parametrize("role", ["out", "in"])
def test_what_was_under_way_in_a_killed_worker_is_counted(
    start: Start, service: ScriptedService, role: str
) -> None:
    out, inner = pair(start, service.endpoint, {"workers": 1} | GRACE, {"workers": 1} | GRACE)
    proxy = out if role == "out" else inner
    with Client(out.listen) as first, Client(out.listen) as second:
        for client in (first, second):
            client.send(request_bytes("POST", "/web/", b"x"))
        service.wait_for_requests(2)
        wait_until(lambda: shown_in_flight(proxy) == 2)
        killed = proxy.worker
        os.kill(killed, signal.SIGKILL)
        line = proxy.log.wait_for(message="a worker has ended; another takes its place")
        assert line["in_flight"] == 2
        wait_for_workers(proxy, 1, killed)
        assert proxy.metrics().total("fastproxy_exchanges_lost_total") == 2


def shown_in_flight(proxy: ProxyProcess) -> int:
    """What the only worker of a proxy shows on the board of its supervisor to be under way."""
    fds = Path(f"/proc/{proxy.pid}/fd").iterdir()
    fd = next(fd for fd in fds if "fastproxy-board" in os.readlink(fd))  # the mapping has one of its own
    with fd.open("r+b") as board:
        return Board(board.fileno()).slot(0).in_flight


# --- the supervisor ends --------------------------------------------------------------------------------


def test_workers_whose_supervisor_is_killed_end_with_what_is_under_way(
    start: Start, service: ScriptedService, slow: Slow
) -> None:
    out, _ = pair(start, service.endpoint, {"workers": 2} | GRACE, {"workers": 1} | GRACE)
    workers = workers_of(out.pid)
    with Client(out.listen) as client:
        client.send(request_bytes("GET", "/web/"))
        service.wait_for_requests(1)
        os.kill(out.pid, signal.SIGKILL)
        out.log.wait_for(message="the supervisor is gone; ending, with what is under way")
        slow.may_answer.set()
        answer = client.answer()
        assert (answer.status, answer.body) == (200, b"in the end")
    wait_until_gone(workers)
    out.log.close()
    assert not [line for line in out.log.lines if "Traceback" in line.get("text", "")]


def test_a_signal_to_all_of_a_group_drains_it(
    start: Start, service: ScriptedService, slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = subprocess.Popen.__init__
    with monkeypatch.context() as patch:  # so that it has a group of its own, as in a terminal
        patch.setattr(
            subprocess.Popen,
            "__init__",
            lambda *given, **named: plain(*given, **named, process_group=0),
        )
        out, _ = pair(start, service.endpoint, {"workers": 2} | GRACE, {"workers": 1} | GRACE)
    with Client(out.listen) as client:
        client.send(request_bytes("GET", "/web/"))
        service.wait_for_requests(1)
        os.killpg(out.pid, signal.SIGINT)
        out.log.wait_for(message="draining")
        slow.may_answer.set()
        assert client.answer().body == b"in the end"
    assert out.wait() == 0
    assert not out.log.find(level="error")
    assert out.log.find(message="stopped")


def test_a_second_signal_cuts_off_what_is_under_way(start: Start, service: ScriptedService) -> None:
    out, _ = pair(start, service.endpoint, {"workers": 2} | GRACE, {"workers": 1} | GRACE)
    with Client(out.listen) as client:
        client.send(request_bytes("GET", "/web/"))
        service.wait_for_requests(1)
        os.kill(out.pid, signal.SIGTERM)
        out.log.wait_for(message="draining")
        os.kill(out.pid, signal.SIGTERM)
        assert client.is_closed()
    assert out.wait() == 0
    assert out.log.find(message="told twice to end; what is under way is cut off")


# --- a start that fails ---------------------------------------------------------------------------------


def plant(folder: Path, in_workers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this run by each worker at its start."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(
        f"import os, signal, sys\nif 'fastproxy.app.worker' in sys.orig_argv:\n    {in_workers}\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(folder / "site"), prepend=":")


def plain_out(**changes: Any) -> Config:
    return merged(out_config({"web": []}, key_of("in"), "127.0.0.1:1"), changes)


def ended(folder: Path, config: Config, *before: str) -> subprocess.CompletedProcess[str]:
    """Run a proxy that can't start, until none of its processes has its standard error open any more."""
    write_key(folder, "web")
    file = folder / "out.yaml"
    file.write_text(json.dumps(config))
    command = [*before, sys.executable, "-m", "fastproxy", "run", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
    return done


def test_told_to_end_while_it_starts_it_ends(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "signal.pause()", monkeypatch)
    proxy = ProxyProcess(tmp_path, plain_out(workers=3))
    try:
        while len(workers := workers_of(proxy.pid)) < 3:
            pass
        proxy.signal()
        assert proxy.wait() == 0
        wait_until_gone(workers)
        assert not proxy.log.lines
    finally:
        proxy.kill()


def test_workers_that_can_not_start_are_told_of_and_none_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, "os._exit(7)", monkeypatch)
    done = ended(tmp_path, plain_out(workers=3))
    assert done.returncode == 1
    assert "a worker ended with exit code 7 at its start" in done.stderr


def test_a_port_that_is_taken_is_told_of_and_no_process_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = endpoint_of(taken.getsockname())
        done = ended(tmp_path, plain_out(workers=3, admin={"address": address}))
        assert done.returncode == 1
        assert address in done.stderr


def test_a_config_that_can_not_be_used_starts_nothing(tmp_path: Path) -> None:
    done = ended(tmp_path, plain_out(workers=-1, worker_hang_s=0))
    assert done.returncode == 2
    assert "workers" in done.stderr
    assert "worker_hang_s" in done.stderr


@pytest.mark.parametrize("count", [7, 10, 13, 16])
def test_too_few_descriptors_are_told_of(tmp_path: Path, count: int) -> None:
    done = ended(tmp_path, plain_out(workers=3), "sh", "-c", f'ulimit -n {count} && exec "$@"', "sh")
    assert done.returncode == 1
    assert "Too many open files" in done.stderr
