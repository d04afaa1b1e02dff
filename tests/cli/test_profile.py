"""`fastproxy profile` at a running proxy, and where it finds none."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastproxy.cli.control import is_ours, running
from fastproxy.cli.profile_target import find_target
from fastproxy.telemetry.profiling import pprof
from tests.cli.conftest import Call
from tests.e2e.proxies import ProxyProcess, in_config, key_of, merged, reserved_port, write_key

TOKEN = "0123456789abcdef-token"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    write_key(folder, "in")
    token = folder / "admin.token"
    token.write_text(TOKEN + "\n")
    token.chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def proxy(folder: Path) -> Iterator[ProxyProcess]:
    """An in proxy with a token and an admin port that its config says."""
    with reserved_port() as port:
        admin = {"address": f"127.0.0.1:{port}", "token": {"file": "admin.token"}}
        config = merged(in_config({"web": ["127.0.0.1:1"]}, {"web": key_of("web")}), {"admin": admin})
        proxy = ProxyProcess(folder, config).ready()
        yield proxy
        proxy.stop()


@pytest.mark.parametrize("which", ["supervisor", "worker"])
def test_the_id_of_a_process_is_enough(call: Call, proxy: ProxyProcess, which: str) -> None:
    pid = proxy.pid if which == "supervisor" else proxy.worker
    result = call("profile", str(pid), "--kind", "wall", "--seconds", "0.3", "-o", "w.pb.gz")
    assert result.exit_code == 0, result.output
    profile = pprof.read(Path("w.pb.gz").read_bytes(), 2**24)
    assert profile.types[profile.shown].what == "time"
    for words in (
        "time: ",
        "with callees",
        "asyncio.runners.Runner.run",
        "go tool pprof -http :8081 w.pb.gz",
    ):
        assert words in result.output
    assert TOKEN not in result.output


def test_what_a_reader_should_know_is_said(call: Call, proxy: ProxyProcess) -> None:
    result = call("profile", str(proxy.pid), "--kind", "heap", "--seconds", "0.1")
    assert result.exit_code == 0, result.output
    assert re.search(r"worker 0: allocated in \d+\.\d+ s", result.output)


def test_a_flame_graph_of_an_address_with_a_token(call: Call, proxy: ProxyProcess, folder: Path) -> None:
    url = f"http://127.0.0.1:{proxy.admin[1]}"
    token = ("--token-file", str(folder / "admin.token"))
    result = call("profile", url, "--kind", "block", "--seconds", "0.1", "--flamegraph", *token)
    assert result.exit_code == 0, result.output
    (file,) = Path().glob("block-*.html")
    assert file.read_text().startswith("<!doctype html>")
    assert f"{file}: open it in a browser" in result.output


def test_what_the_proxy_refuses_is_said_in_its_words(call: Call, proxy: ProxyProcess) -> None:
    result = call("profile", f"http://127.0.0.1:{proxy.admin[1]}", "--seconds", "0.1")
    assert result.exit_code == 1
    assert "401" in result.output
    assert "admin.token" in result.output
    assert not list(Path().iterdir())


def test_a_token_in_a_url_is_taken_and_not_shown() -> None:
    target = find_target(f"http://x:{TOKEN}@127.0.0.1:9090/")
    assert (target.token, target.address.port) == (TOKEN, 9090)
    assert TOKEN not in repr(target)
    assert find_target("unix:/run/admin.sock").address.is_unix


@pytest.mark.parametrize("password", ["0123456789%0d%0aabcdef", "0123456789%E2%82%ACabcdef"])
def test_what_can_be_no_token_is_told_of_and_not_shown(
    call: Call, proxy: ProxyProcess, password: str
) -> None:
    result = call("profile", f"http://x:{password}@127.0.0.1:{proxy.admin[1]}")
    assert (result.exit_code, "no token" in result.output) == (1, True)
    assert "0123456789" not in result.output


@pytest.mark.parametrize("target", ["https://h:1", "http://h", "http://h:1/debug", "h", "ftp://h:1"])
def test_what_is_no_target_is_a_usage_error(call: Call, target: str) -> None:
    assert call("profile", target).exit_code == 2


def test_other_processes_and_none_are_told_apart(call: Call) -> None:
    result = call("profile", str(os.getpid()))
    assert (result.exit_code, "is not a proxy" in result.output) == (1, True)
    result = call("profile", "4194305")  # above the largest id that Linux gives
    assert (result.exit_code, "no process" in result.output) == (1, True)


def test_a_config_that_leaves_the_port_open_is_told_of(
    call: Call, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("free")
    write_key(folder, "in")
    proxy = ProxyProcess(folder, in_config({"web": ["127.0.0.1:1"]}, {"web": key_of("web")})).ready()
    result = call("profile", str(proxy.pid))
    proxy.stop()
    assert (result.exit_code, "leaves the admin port to the system" in result.output) == (1, True)


def test_a_token_file_that_others_can_read_is_refused(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "loose.token"
    file.write_text(TOKEN)
    file.chmod(0o644)
    result = call("profile", "127.0.0.1:1", "--token-file", str(file))
    assert (result.exit_code, "read by others" in result.output) == (1, True)
    assert TOKEN not in result.output


def test_what_answers_otherwise_is_told_of(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    result = call("profile", f"127.0.0.1:{port}")
    assert (result.exit_code, "does not answer" in result.output) == (1, True)


def test_a_file_that_can_not_be_written_is_told_of_before_anything_is_asked(call: Call) -> None:
    result = call("profile", "127.0.0.1:1", "-o", "missing/x.pb.gz")
    assert (result.exit_code, "missing/x.pb.gz can't be written" in result.output) == (1, True)
    assert "does not answer" not in result.output


def test_a_kind_has_its_bounds(call: Call) -> None:
    assert call("profile", "127.0.0.1:1", "--kind", "heap", "--seconds", "61").exit_code == 2
    assert call("profile", "127.0.0.1:1", "--seconds", "301").exit_code == 2
    assert call("profile", "127.0.0.1:1", "--kind", "goroutine").exit_code == 2


def test_nothing_is_read_for_a_process_of_another_user(call: Call, tmp_path: Path) -> None:
    """It could name any config, and that config any secret that only the user who asks may read."""
    secret = tmp_path / "secret"
    secret.write_text(TOKEN)
    secret.chmod(0o600)
    config = tmp_path / "in.yaml"
    config.write_text(f"admin: {{address: 127.0.0.1:9, token: {{file: {secret}}}}}")
    posing = ["/bin/sh", "-c", "read line", "-m", "fastproxy.supervisor", str(config)]
    with subprocess.Popen(posing, stdin=subprocess.PIPE, user=65534) as process:
        try:
            assert not is_ours(process.pid)
            assert str(process.pid) not in running()
            result = call("profile", str(process.pid))
            assert result.exit_code == 1
            assert "belongs to another user" in result.output
            assert "secret" not in result.output
        finally:
            process.kill()
