"""Another version of the program takes over from the one that runs: nothing is lost, or nothing happens.

Versions are copies of this one (`programs`). Some wait at a gate, so that a test can look at the moment in
which a program tries itself, or in which the process has left one program and not come to the other yet.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import fastproxy
from tests.e2e.client import fetch
from tests.e2e.conftest import Maker
from tests.e2e.link.test_restarting import Load, check_each_was_made_once, naming
from tests.e2e.programs import (
    begin_upgrade,
    outcome,
    script,
    upgrade,
    version,
    wait_for_workers,
    wait_until,
    workers,
)
from tests.e2e.proxies import Config, Pair, ProxyProcess, in_config, key_of, merged, write_key
from tests.e2e.services import ScriptedService, echo

GRACE: Config = {"drain": {"grace_s": 20}, "workers": 1}
TWO: Config = {"workers": 2}
KINDS = ("post", "get", "post", "big", "chunked")
DOORS = Path(os.environ["XDG_RUNTIME_DIR"]) / "fastproxy"


@pytest.fixture
def service(make: Maker) -> ScriptedService:
    return make.service(echo)


@pytest.fixture
def proxy(tmp_path: Path, service: ScriptedService) -> Iterator[ProxyProcess]:
    """An in proxy of its own, ended as hard as need be."""
    write_key(tmp_path, "in")
    config = merged(in_config({"api": [service.endpoint]}, {"web": key_of("web")}), GRACE)
    proxy = ProxyProcess(tmp_path, config).ready()
    yield proxy
    proxy.kill()


def assert_as_before(proxy: ProxyProcess, former: set[int]) -> None:
    """The same workers serve, and the log says why."""
    proxy.log.wait_for(message="the upgrade is refused; all is as it was")
    assert workers(proxy) == former
    assert proxy.probe("/readyz").status == 200
    metrics = proxy.metrics()
    assert metrics.total("fastproxy_build_info", version=fastproxy.__version__) == 1
    assert metrics.total("fastproxy_upgrades_total", outcome="refused") >= 1
    assert fetch(proxy.listen, "GET", "/").status == 404, "it is answered"
    proxy.stop()


def forget_errors(proxy: ProxyProcess) -> None:
    """Those in its log were what the test wanted."""
    proxy.log.lines = [line for line in proxy.log.lines if line.get("level") != "error"]


# --- without loss -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", ["link", "http"])
def test_no_call_fails_and_no_count_is_lost_while_both_proxies_are_upgraded(
    make: Maker, tmp_path: Path, transport: str
) -> None:
    python = version(tmp_path / "new", "9.8.7")
    service = make.service(naming)
    out: Config = GRACE | TWO | {"defaults": {"transport": transport, "timeout_s": 50}}
    pair = make.pair({"api": [service.endpoint]}, out=out, inner=GRACE | TWO)
    former = {proxy: workers(proxy) for proxy in (pair.out, pair.inner)}
    with Load(pair.address, 3, KINDS) as load:
        for proxy in (pair.out, pair.inner):
            load.wait_for(30)
            code, said = upgrade(proxy.pid, python)
            assert (code, said) == (
                0,
                f"process {proxy.pid}: fastproxy 9.8.7 has taken over from {fastproxy.__version__}, "
                "with 2 worker(s)\n",
            )
            load.wait_for(30)
    assert load.failures == []
    check_each_was_made_once([service], load.made)
    for proxy in (pair.out, pair.inner):
        wait_for_workers(proxy, 2)
        assert not workers(proxy) & former[proxy]
        metrics = proxy.metrics()
        assert metrics.total("fastproxy_build_info", version="9.8.7") == 1
        assert metrics.total("fastproxy_requests_total", outcome="2xx") == load.made
        assert metrics.total("fastproxy_workers_ended_total", how="drained") == 2
        assert metrics.total("fastproxy_upgrades_total", outcome="done") == 1
        assert proxy.probe("/readyz").status == 200


def test_a_program_of_another_format_lets_the_workers_go_that_it_does_not_understand(
    make: Maker, tmp_path: Path
) -> None:
    python = version(tmp_path / "new", "9.9.9", {"supervisor/legacy.py": ("FORMAT = 1", "FORMAT = 2")})
    service = make.service(naming)
    pair = make.pair({"api": [service.endpoint]}, out=GRACE, inner=GRACE)
    former = workers(pair.out)
    with Load(pair.address, 3, KINDS) as load:
        load.wait_for(30)
        assert upgrade(pair.out.pid, python)[0] == 0
        load.wait_for(30)
    assert load.failures == []
    wait_for_workers(pair.out, 1)
    assert not workers(pair.out) & former
    assert 0 < pair.out.metrics().total("fastproxy_requests_total") < load.made, "counted anew"
    gone = "the supervisor is gone; ending, with what is under way"
    assert len(pair.out.log.find(message=gone)) == 1
    forget_errors(pair.out)


def test_upgrades_leave_nothing_behind(proxy: ProxyProcess) -> None:
    def descriptors() -> int:
        return len(os.listdir(f"/proc/{proxy.pid}/fd"))

    def upgrade_well() -> None:
        assert upgrade(proxy.pid)[0] == 0
        wait_for_workers(proxy, 1)

    upgrade_well()
    before = descriptors()
    upgrade_well()
    wait_until(lambda: descriptors() <= before)
    door = DOORS / f"{proxy.pid}.sock"
    assert door.exists()
    proxy.stop()
    assert not door.exists()


def test_the_config_as_it_is_then_is_what_the_new_program_runs(proxy: ProxyProcess) -> None:
    changed = merged(proxy.config, {"workers": 2, "name": "renamed"})
    proxy.file.write_text(json.dumps(changed))
    assert "2 worker(s)" in upgrade(proxy.file)[1]
    wait_for_workers(proxy, 2)


# --- between the programs -----------------------------------------------------------------------------------


GATE = """
import os, sys, time
if any(argument.startswith({at!r}) for argument in sys.argv):
    open({here!r}, "w").close()
    while not os.path.exists({gate!r}):
        time.sleep(0.01)
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""
"""In Python, since a shell lets the signals through that wait for the new program."""


class Gate:
    """A program that waits until it is let in, where its command line has an option."""

    def __init__(self, folder: Path, python: str, at: str) -> None:
        self._gate, self._here = folder / "open", folder / "here"
        text = GATE.format(at=at, here=str(self._here), gate=str(self._gate), python=python)
        self.python = script(folder / "gate", text, interpreter=f"{sys.executable} -S")

    def wait(self) -> None:
        """Wait until a program stands before it."""
        wait_until(self._here.exists)

    def open(self) -> None:
        """Let it in."""
        self._gate.touch()


def test_exchanges_go_on_and_nothing_is_forgotten_while_the_process_is_in_no_program(
    make: Maker, tmp_path: Path
) -> None:
    """At a proxy that listens on Unix sockets, whose files stay where they are."""
    service = make.service(echo)
    sockets = {kind: {"address": f"unix:{DOORS}/{kind}"} for kind in ("listen", "admin")}
    pair = make.pair({"api": [service.endpoint]}, out=GRACE | sockets, inner=GRACE)
    for _ in range(5):
        assert pair.fetch("POST", "/api/", b"before").body == b"before"
    gate = Gate(tmp_path, version(tmp_path / "new", "9.8.7"), "--take-over")
    upgrading = begin_upgrade(pair.out.pid, gate.python)
    gate.wait()
    for _ in range(5):
        assert pair.fetch("POST", "/api/", b"between").body == b"between"
    os.kill(pair.out.pid, signal.SIGHUP)  # waits for the new program
    gate.open()
    assert outcome(upgrading)[0] == 0
    pair.out.log.wait_for(message="reloaded")
    assert pair.out.metrics().total("fastproxy_requests_total") == 10


def test_a_signal_to_end_between_the_programs_is_obeyed_by_the_second(
    proxy: ProxyProcess, tmp_path: Path
) -> None:
    gate = Gate(tmp_path, version(tmp_path / "new", "9.8.7"), "--take-over")
    upgrading = begin_upgrade(proxy.pid, gate.python)
    gate.wait()
    former = workers(proxy)
    proxy.signal()
    gate.open()
    assert proxy.wait() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in former)
    code, said = outcome(upgrading)
    assert (code, "the proxy ends" in said) == (1, True), said


def test_a_worker_that_dies_between_the_programs_is_counted_by_the_second(
    proxy: ProxyProcess, tmp_path: Path
) -> None:
    gate = Gate(tmp_path, version(tmp_path / "new", "9.8.7"), "--take-over")
    upgrading = begin_upgrade(proxy.pid, gate.python)
    gate.wait()
    (worker,) = workers(proxy)
    os.kill(worker, signal.SIGKILL)
    gate.open()
    assert outcome(upgrading)[0] == 0
    assert proxy.metrics().total("fastproxy_workers_ended_total", how="unasked") == 1
    assert worker not in workers(proxy)


def test_the_command_that_runs_with_a_proxy_does_not_notice(tmp_path: Path) -> None:
    write_key(tmp_path, "in")
    file, ready, go_on = tmp_path / "in.yaml", tmp_path / "ready", tmp_path / "go-on"
    file.write_text(json.dumps(in_config({"api": ["127.0.0.1:1"]}, {"web": key_of("web")}) | GRACE))
    os.mkfifo(go_on)
    job = ["sh", "-c", f"read line < {go_on}; exit 7"]
    options = [f"--ready-file={ready}", "--with", "--", *job]
    with subprocess.Popen([sys.executable, "-m", "fastproxy", "run", str(file), *options]) as proxy:
        try:
            wait_until(ready.exists)
            before = json.loads(ready.read_text())
            assert upgrade(file, version(tmp_path / "new", "9.8.7"))[0] == 0
            assert json.loads(ready.read_text()) == before
            go_on.write_text("\n")  # waits until somebody reads: the job is there
            assert proxy.wait(60) == 7
        finally:
            proxy.kill()
    assert not ready.exists()


# --- refused ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["echo this is not for you >&2", "exit 3"], "this is not for you"),
        (["exit 3"], "status 3"),
        (["exit 0"], "has no fastproxy that can take over"),
    ],
)
def test_a_program_that_does_not_start_is_refused_with_its_words(
    proxy: ProxyProcess, tmp_path: Path, lines: list[str], words: str
) -> None:
    former = workers(proxy)
    code, said = upgrade(proxy.pid, script(tmp_path / "new", *lines))
    assert (code, words in said) == (1, True), said
    assert_as_before(proxy, former)


@pytest.mark.parametrize(
    ("file", "change", "words"),
    [
        ("control/board.py", ("import mmap", "import mmap_that_nobody_has"), "mmap_that_nobody_has"),
        ("app/running.py", ("import asyncio\n", "raise SystemError('of workers only')\n"), "exit code 1"),
    ],
)
def test_a_version_that_does_not_import_is_refused(
    proxy: ProxyProcess, tmp_path: Path, file: str, change: tuple[str, str], words: str
) -> None:
    former = workers(proxy)
    code, said = upgrade(proxy.pid, version(tmp_path / "new", "9.8.7", {file: change}))
    assert (code, words in said) == (1, True), said
    assert_as_before(proxy, former)


def test_a_config_that_the_new_program_can_not_use_is_refused_with_its_problems(proxy: ProxyProcess) -> None:
    former = workers(proxy)
    proxy.file.write_text(json.dumps(merged(proxy.config, {"limits": {"conections": 3}})))
    code, said = upgrade(proxy.pid)
    assert (code, "conections" in said) == (1, True), said
    assert_as_before(proxy, former)


def test_what_an_interpreter_prints_as_it_starts_is_not_taken_for_the_config(
    proxy: ProxyProcess, tmp_path: Path
) -> None:
    prints = 'case "$*" in *--try*) echo loaded;; esac'
    code, said = upgrade(proxy.pid, script(tmp_path / "new", prints, f'exec {sys.executable} "$@"'))
    assert code == 0, said
    assert fetch(proxy.listen, "GET", "/").status == 404, "it is answered"


def test_a_trial_by_hand_prints_no_keys(proxy: ProxyProcess) -> None:
    command = [sys.executable, "-P", "-m", "fastproxy.supervisor", str(proxy.file), "--try"]
    done = subprocess.run(command, capture_output=True, timeout=60)
    assert done.returncode == 1
    assert done.stdout == b""


def test_an_upgrade_in_the_middle_of_an_upgrade_is_refused(proxy: ProxyProcess, tmp_path: Path) -> None:
    gate = Gate(tmp_path, version(tmp_path / "new", "9.8.7"), "--try")
    first = begin_upgrade(proxy.pid, gate.python)
    gate.wait()
    code, said = upgrade(proxy.pid)
    assert (code, "under way" in said) == (1, True), said
    os.kill(proxy.pid, signal.SIGHUP)
    gate.open()
    assert outcome(first)[0] == 0
    proxy.log.wait_for(message="reloaded")
    order = [line["message"] for line in proxy.log.lines]
    assert order.index("reloaded") > order.index("upgraded"), "it was asked of the program before"
    assert proxy.metrics().total("fastproxy_build_info", version="9.8.7") == 1


def test_a_signal_to_end_while_the_new_program_tries_itself_ends_both(
    proxy: ProxyProcess, tmp_path: Path
) -> None:
    gate = Gate(tmp_path, version(tmp_path / "new", "9.8.7"), "--try")
    upgrading = begin_upgrade(proxy.pid, gate.python)
    gate.wait()
    everybody = workers(proxy)
    assert len(everybody) == 2, "a worker, and the program that tries itself"
    proxy.stop()
    assert not any(Path(f"/proc/{pid}").exists() for pid in everybody)
    code, said = outcome(upgrading)
    assert (code, "the proxy ends" in said) == (1, True), said


# --- taken over, but without workers ------------------------------------------------------------------------


def shy_version(folder: Path, reason: Path) -> str:
    """A version whose workers don't take connections as long as there is a reason: a file."""
    start = "        try:\n            proxy = Proxy("
    shy = (
        f"        try:\n            if begin.listeners and os.path.exists({str(reason)!r}):\n"
        "                raise StartError('too shy')\n            proxy = Proxy("
    )
    return version(folder, "9.8.7", {"app/worker.py": (start, shy)})


def test_the_former_workers_serve_on_until_those_of_the_new_program_start(
    make: Maker, tmp_path: Path
) -> None:
    service = make.service(echo)
    with Pair(tmp_path, {"api": [service.endpoint]}, out=GRACE, inner=GRACE) as pair:
        reason = tmp_path / "reason"
        reason.touch()
        former = workers(pair.out)
        code, said = upgrade(pair.out.pid, shy_version(tmp_path / "new", reason))
        assert (code, "too shy" in said, "the former ones serve on" in said) == (1, True, True), said
        for _ in range(5):
            assert pair.fetch("POST", "/api/", b"content").body == b"content"
        assert former <= workers(pair.out)
        assert pair.out.probe("/readyz").status == 200
        reason.unlink()
        pair.out.log.wait_for(message="upgraded")
        wait_until(lambda: not workers(pair.out) & former)
        for _ in range(5):
            assert pair.fetch("POST", "/api/", b"content").body == b"content"
        assert pair.out.metrics().total("fastproxy_requests_total") == 10
        forget_errors(pair.out)


def test_a_better_program_can_take_over_from_one_whose_workers_do_not_start(
    proxy: ProxyProcess, tmp_path: Path
) -> None:
    (tmp_path / "reason").touch()
    assert upgrade(proxy.pid, shy_version(tmp_path / "shy", tmp_path / "reason"))[0] == 1
    deadline_s = time.monotonic() + 60
    code, said = upgrade(proxy.pid, version(tmp_path / "better", "9.8.8"))
    while code and "under way" in said and time.monotonic() < deadline_s:  # it is just trying again
        code, said = upgrade(proxy.pid, str(tmp_path / "better" / "python"))
    assert (code, "9.8.8 has taken over from 9.8.7" in said) == (0, True), said


def test_a_signal_to_end_while_the_new_workers_do_not_start_drains_the_former_ones(
    proxy: ProxyProcess, tmp_path: Path
) -> None:
    (tmp_path / "reason").touch()
    former = workers(proxy)
    assert upgrade(proxy.pid, shy_version(tmp_path / "new", tmp_path / "reason"))[0] == 1
    proxy.signal()
    assert proxy.wait() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in former)
