"""`wait` and `stop`: what a script says around a proxy."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from fastproxy.supervisor.ready_file import Standing, own_identity
from tests.cli.conftest import Call
from tests.e2e.launching import config_file, launched

OWN = Standing("ready", *own_identity(), "in", "in", "127.0.0.1:8033", "")


def written(path: Path, standing: Standing) -> str:
    path.write_bytes(msgspec.json.encode(standing))
    return str(path)


def test_wait_returns_once_a_proxy_is_ready_however_it_is_named(call: Call, tmp_path: Path) -> None:
    ready, admin = tmp_path / "ready", tmp_path / "admin.sock"
    file = config_file(tmp_path, admin={"address": f"unix:{admin}"})
    with launched(file, "--ready-file", ready) as proxy:
        assert call("wait", str(ready)).exit_code == 0  # though it is only starting
        listen = proxy.ready()["listen"]
        for target in (f"unix:{admin}", "ready", "./ready", listen):
            assert call("wait", target, "--timeout", "0").exit_code == 0, target
    with launched(config_file(tmp_path)) as proxy:
        port = proxy.ready()["admin"].rpartition(":")[2]
        for target in (f"http://127.0.0.1:{port}", f"http://localhost:{port}/readyz"):
            assert call("wait", target).exit_code == 0, target


def test_wait_says_what_is_missing_when_its_time_is_over(call: Call, tmp_path: Path) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        drains = written(tmp_path / "drains", replace(OWN, state="draining"))
        gone = written(tmp_path / "gone", replace(OWN, started_ticks=1))
        (tmp_path / "other").write_text("other")
        for target, words in (
            (address, f"nobody takes connections at {address}"),
            (f"http://{address}", f"the admin address {address} does not answer"),
            ("unix:/none.sock", "the admin address unix:/none.sock does not answer"),
            (str(tmp_path / "none"), "No such file"),
            (str(tmp_path / "other"), "is not a file that `fastproxy run --ready-file` has written"),
            (drains, "the proxy in is draining"),
            (gone, "of a proxy that is gone"),
        ):
            done = call("wait", target, "--timeout", "0.05")
            assert done.exit_code == 1, target
            assert "not ready within 0.05 s" in done.stderr
            assert words in done.stderr


def test_wait_passes_on_why_a_proxy_is_not_ready(call: Call, tmp_path: Path) -> None:
    file = config_file(tmp_path, services={"api": {"endpoints": ["nobody.invalid:80"]}})
    with launched(file) as proxy:
        done = call("wait", f"http://{proxy.ready()['admin']}", "--timeout", "0")
        assert "no endpoint is known for api" in done.stderr
        assert done.exit_code == 1


def test_the_number_of_a_process_in_another_container_means_nothing_here(call: Call, tmp_path: Path) -> None:
    elsewhere = written(tmp_path / "ready", replace(OWN, pid_namespace=1, started_ticks=1))
    assert call("wait", elsewhere, "--timeout", "0").exit_code == 0
    done = call("stop", elsewhere)
    assert done.exit_code == 1
    assert "runs in another container" in done.output


@pytest.mark.parametrize("target", ["http://", "http://x:1/metrics", "unix:relative", "host:port"])
def test_wait_for_something_that_cant_be_asked_is_a_mistake(call: Call, target: str) -> None:
    assert call("wait", target).exit_code == 2


@pytest.mark.parametrize("by", ["ready file", "process id"])
def test_stop_returns_once_a_proxy_has_ended(call: Call, tmp_path: Path, by: str) -> None:
    ready = tmp_path / "ready"
    with launched(config_file(tmp_path), "--ready-file", ready) as proxy:
        assert call("wait", str(ready)).exit_code == 0
        target = str(ready) if by == "ready file" else str(proxy.process.pid)
        assert call("stop", target).exit_code == 0
        assert proxy.process.wait(0) == 0, "it is gone when the command returns"
        assert not ready.exists()
        assert call("stop", target).exit_code == 1


def test_stop_says_when_a_proxy_takes_longer(call: Call, tmp_path: Path) -> None:
    with launched(config_file(tmp_path, drain={"delay_s": 600})) as proxy:
        proxy.ready()
        done = call("stop", str(proxy.process.pid), "--timeout", "0.05")
        assert done.exit_code == 1
        assert "it goes on draining" in done.stderr


def test_stop_ends_nothing_but_proxies(call: Call, tmp_path: Path) -> None:
    ready = written(tmp_path / "old", replace(OWN, started_ticks=1))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as other:
        for target, words in (
            (str(other.pid), "is not a proxy"),
            (str(os.getpid()), "is not a proxy"),
            (ready, "of a proxy that has ended"),
            (str(tmp_path / "none"), "there is no ready file"),
            (str(2**30), "there is no process"),
            (str(2**70), "there is no process"),
            ("0", "there is no process"),
        ):
            done = call("stop", target)
            assert done.exit_code == 1, target
            assert words in done.output
        assert other.poll() is None
        other.communicate(b"\n")
    assert other.returncode == 0
