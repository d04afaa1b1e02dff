"""`fastproxy upgrade`: which proxy is meant, and that nobody else is talked to."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from fastproxy.cli import control
from fastproxy.cli.control import config_file, find
from tests.cli.conftest import Call
from tests.e2e.proxies import ProxyProcess, in_config, key_of, write_key


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    folder = tmp_path_factory.mktemp("in")
    write_key(folder, "in")
    proxy = ProxyProcess(folder, in_config({"web": ["127.0.0.1:1"]}, {"web": key_of("web")})).ready()
    yield proxy
    proxy.stop()


def test_a_proxy_is_found_by_its_process_or_its_config(proxy: ProxyProcess, tmp_path: Path) -> None:
    assert find(str(proxy.pid)) == proxy.pid
    assert find(str(proxy.file)) == proxy.pid
    link = tmp_path / "link.yaml"
    link.symlink_to(proxy.file)
    assert find(str(link)) == proxy.pid
    assert config_file(proxy.pid).samefile(proxy.file)


def test_a_config_that_several_proxies_run_with_is_not_enough(proxy: ProxyProcess) -> None:
    second = ProxyProcess(proxy.file.parent, proxy.config).ready()
    try:
        with pytest.raises(click.ClickException) as caught:
            find(str(proxy.file))
    finally:
        second.stop()
    for pid in (proxy.pid, second.pid):
        assert str(pid) in caught.value.message
    assert find(str(proxy.file)) == proxy.pid


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("1", "process 1 is not a proxy"),
        ("this", "is not a proxy that `fastproxy run` started"),
        ("4194304999", "there is no process 4194304999"),
        ("missing.yaml", "there is no file missing.yaml"),
        (__file__, "no proxy runs with"),
    ],
)
def test_what_is_no_proxy_is_told_so(call: Call, target: str, words: str) -> None:
    result = call("upgrade", str(os.getpid()) if target == "this" else target)
    assert (result.exit_code, words in result.output) == (1, True), result.output


def test_who_only_tries_whether_it_could_take_over_is_no_proxy() -> None:
    command = [sys.executable, "-S", "-c", "input()", "-m", "fastproxy.supervisor", __file__, "--try", "3"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        with pytest.raises(LookupError):
            config_file(process.pid)
        process.communicate(b"\n")


def test_nobody_is_talked_to_who_is_not_that_process(call: Call, proxy: ProxyProcess) -> None:
    door = Path(os.environ["XDG_RUNTIME_DIR"]) / "fastproxy" / f"{proxy.pid}.sock"
    hidden = door.rename(door.with_suffix(".hidden"))
    with socket.socket(socket.AF_UNIX) as impostor:
        impostor.bind(str(door))
        impostor.listen()
        impostor.settimeout(20)
        result = call("upgrade", str(proxy.pid))
        door.unlink()
        hidden.rename(door)
        assert (result.exit_code, "takes no commands" in result.output) == (1, True), result.output
        with impostor.accept()[0] as connection:
            assert connection.recv(100) == b"", "not a word"


def test_an_interpreter_that_is_nowhere_is_told_before_anybody_is_asked(
    call: Call, proxy: ProxyProcess
) -> None:
    result = call("upgrade", str(proxy.pid), "--python", "/nowhere/python")
    assert (result.exit_code, "there is no program /nowhere/python" in result.output) == (2, True)


def test_a_process_says_itself_where_its_door_is(
    proxy: ProxyProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one in a container does: its ids and its files have other names here."""
    folder = tmp_path / str(os.getpid())
    (folder / "root" / "run" / "fastproxy").mkdir(parents=True)
    (folder / "environ").write_bytes(b"A=1\0XDG_RUNTIME_DIR=/nowhere\0\0")
    (folder / "status").write_text(f"Name:\tpython\nNSpid:\t{os.getpid()}\t1\n")
    monkeypatch.setattr(control, "PROCESSES", tmp_path)
    with socket.socket(socket.AF_UNIX) as door, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder / "root" / "run" / "fastproxy")
        door.bind("1.sock")
        door.listen()
        with control._door_of(os.getpid()) as sock:
            assert sock.getpeername() == "1.sock"
