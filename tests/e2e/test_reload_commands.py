"""Reloads asked for by commands and over the admin address: who may ask, and what they are told."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.e2e.client import Address, Answer, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.programs import UPGRADE_S, upgrade
from tests.e2e.proxies import Config, Pair
from tests.e2e.services import ScriptedService, answering, sized

ONE: Config = {"workers": 1}


@pytest.fixture(scope="module")
def service(make_shared: Maker) -> ScriptedService:
    """Answers at once."""
    return make_shared.service(answering(sized(b"served")))


def granted(*paths: str) -> Config:
    """Privileges for these paths alone."""
    return {"privileges": [{"callers": ["*"], "services": ["*"], "paths": list(paths)}]}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of fastproxy."""
    return subprocess.run(
        [sys.executable, "-m", "fastproxy", *arguments], capture_output=True, text=True, timeout=60
    )


def ask(address: Address, method: str, path: str, *headers: str) -> Answer:
    """Ask the admin address."""
    with Client(address) as client:
        client.send(request_bytes(method, path, b"" if method == "POST" else None, headers, host="localhost"))
        return client.answer(method)


@pytest.mark.parametrize("target", ["file", "pid"])
def test_diff_tells_what_reload_does(make: Maker, service: ScriptedService, target: str) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner=ONE)
    named = str(pair.inner.file) if target == "file" else str(pair.inner.pid)
    done = command("diff", named)
    assert (done.returncode, done.stdout) == (0, "A reload would be taken: nothing changes.\n")
    pair.inner.write({"defaults": {"timeout_s": 7}} | granted("/x"))
    for name, words in (("diff", "A reload would be taken"), ("reload", "Reloaded")):
        done = command(name, named)
        assert done.returncode == 0, done.stderr
        first, *changes = done.stdout.splitlines()
        assert first == f"{words}: the workers go on with it; no connection is closed."
        assert "  defaults.timeout_s: 15.0 -> 7.0" in changes
        assert '  privileges[0].paths: ["/**"] -> ["/x"]' in changes
    assert pair.fetch("GET", "/api/x").status == 200
    assert pair.fetch("GET", "/api/y").status == 403
    pair.inner.write({"workers": 2})
    assert "workers: 1 -> 2   (takes new workers)" in command("diff", named).stdout


def test_a_config_that_is_wrong_is_refused_with_its_reasons(make: Maker, service: ScriptedService) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner=ONE)
    pair.inner.write({"privileges": [{"callers": ["*"], "services": ["nowhere"]}]})
    for name in ("diff", "reload"):
        done = command(name, str(pair.inner.file))
        assert done.returncode == 1
        assert "serves on with the former one" in done.stderr
        assert "nowhere" in done.stderr
    pair.inner.log.lines.remove(pair.inner.log.wait_for(level="error"))
    assert pair.fetch("GET", "/api/x").status == 200


def test_a_diff_takes_its_turn(make: Maker, service: ScriptedService) -> None:
    """Else an upgrade could end what it has begun, and a reload change under it what it compares with."""
    pair = make.pair({"api": [service.endpoint]}, inner=ONE)
    text = pair.inner.file.read_text()
    pair.inner.file.unlink()
    os.mkfifo(pair.inner.file)
    diff = subprocess.Popen(
        [sys.executable, "-m", "fastproxy", "diff", str(pair.inner.pid)], stdout=subprocess.PIPE, text=True
    )
    with pair.inner.file.open("w") as fifo:  # opens when the diff has begun to read
        code, said = upgrade(pair.inner.pid)
        fifo.write(text)
    assert code == 1
    assert "a reload, a diff or an upgrade is under way" in said
    assert "nothing changes" in diff.communicate(timeout=UPGRADE_S)[0]
    pair.inner.file.unlink()
    pair.inner.file.write_text(text)


def test_who_has_the_token_may_reload_over_http(make: Maker, service: ScriptedService) -> None:
    admin: Config = {"admin": {"token": {"literal": "s3cret-s3cret-s3cret", "insecure_literal": True}}}
    pair = make.pair({"api": [service.endpoint]}, inner=ONE | admin)
    address, token = pair.inner.admin, "Authorization: Bearer s3cret-s3cret-s3cret"
    pair.inner.write(granted("/x"))
    assert ask(address, "POST", "/api/v1/reload").status == 401
    assert ask(address, "POST", "/api/v1/reload", "Authorization: Bearer other").status == 401
    assert ask(address, "POST", "/api/v1/reload", token, "Origin: http://evil.example").status == 403
    assert ask(address, "GET", "/api/v1/reload", token).status == 405
    assert pair.fetch("GET", "/api/y").status == 200, "nothing has changed yet"
    assert json.loads(ask(address, "GET", "/api/v1/diff", token).body)["how"] == "in place"
    told = json.loads(ask(address, "POST", "/api/v1/reload", token).body)
    assert told["how"] == "in place"
    assert {change["path"] for change in told["changes"]} == {"privileges[0].paths"}
    assert pair.fetch("GET", "/api/y").status == 403
    pair.inner.write({"privileges": [{"callers": ["*"], "services": ["nowhere"]}]})
    refused = ask(address, "POST", "/api/v1/reload", token)
    assert refused.status == 409
    assert b"nowhere" in refused.body
    pair.inner.log.lines.remove(pair.inner.log.wait_for(level="error"))


@pytest.mark.parametrize("admin", [{}, {"open": ["profiles"]}])
def test_what_is_open_for_profiles_is_not_for_changes(
    make: Maker, service: ScriptedService, admin: Config
) -> None:
    pair: Pair = make.pair({"api": [service.endpoint]}, inner=ONE | {"admin": admin})
    for method, path in (("POST", "/api/v1/reload"), ("GET", "/api/v1/diff")):
        assert ask(pair.inner.admin, method, path).status == 403


def test_the_answer_comes_when_the_admin_address_itself_moves(make: Maker, service: ScriptedService) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner=ONE)
    first, second = str(pair.folder / "one.sock"), str(pair.folder / "two.sock")
    pair.inner.reload({"admin": {"address": f"unix:{first}"}})
    pair.inner.write({"admin": {"address": f"unix:{second}"}})
    assert json.loads(ask(first, "POST", "/api/v1/reload").body)["how"] == "in place"
    assert ask(second, "GET", "/readyz").status == 200
    pair.inner.admin = second


def test_a_reload_goes_on_when_whoever_asked_for_it_hangs_up(make: Maker, service: ScriptedService) -> None:
    pair = make.pair({"api": [service.endpoint]}, inner=ONE)
    socket_path = str(pair.folder / "admin.sock")
    pair.inner.reload({"admin": {"address": f"unix:{socket_path}"}})
    pair.inner.admin = socket_path
    pair.inner.write(granted("/x"))
    wanted = pair.inner.file.read_text()
    pair.inner.file.unlink()
    os.mkfifo(pair.inner.file)
    before = len(pair.inner.log.find(message="reloaded"))
    with Client(socket_path) as client:
        client.send(request_bytes("POST", "/api/v1/reload", b"", host="localhost"))
        pipe = pair.inner.file.open("w")  # waits until it is about to be read
    assert ask(socket_path, "GET", "/healthz").status == 200  # by then the end of that connection is seen
    with pipe:
        pipe.write(wanted)
    pair.inner.log.wait_for_more(before, message="reloaded")
    assert pair.fetch("GET", "/api/y").status == 403
    pair.inner.file.unlink()
    pair.inner.file.write_text(wanted)
    assert command("diff", str(pair.inner.pid)).stdout == "A reload would be taken: nothing changes.\n"
