"""`fastproxy migrate`: files of the original in, files that `check` and `run` take out."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from fastproxy.config.keys import public_from_private
from fastproxy.config.load import load
from fastproxy.config.snapshot import InSnapshot, OutSnapshot
from fastproxy.policy.pattern import parse_pattern
from tests.cli.conftest import Call

DATA = Path(__file__).parents[1] / "data"
FILES = (str(DATA / "fast_proxy_out.yaml"), str(DATA / "fast_proxy_in.yaml"))
SERVICES = ("--service", "token_service=127.0.0.1:9001", "--service", "search_service=127.0.0.1:9002")
COMPAT = ("--transport", "compat")


@pytest.mark.parametrize("transport", [(), *(("--transport", name) for name in ("link", "http", "compat"))])
def test_the_example_becomes_a_pair_that_check_takes(call: Call, transport: tuple[str, ...]) -> None:
    result = call("migrate", *FILES, *SERVICES, *transport, "-d", "new")
    assert result.exit_code == 0, result.output
    assert "fastproxy run new/in.yaml" in result.output
    checked = call("check", "new/out.yaml", "new/in.yaml")
    assert checked.exit_code == 0, checked.output
    assert "out proxy for song_service, chat_service at 127.0.0.1:8034, 2 service(s)" in checked.output
    for file in (*Path("new/keys").iterdir(), Path("new/keys")):
        assert stat.S_IMODE(file.stat().st_mode) & 0o077 == 0, file


def test_with_compat_one_side_can_move_first(call: Call) -> None:
    result = call("migrate", *FILES, *SERVICES, "--transport", "compat")
    assert "`trust_claimed_caller` is set: chat_service shares the sign key" in result.output
    assert "compat protects weakly" in result.output
    snapshot = load("out.yaml", check_pattern=parse_pattern)
    assert isinstance(snapshot, OutSnapshot)
    assert {service.settings.transport for service in snapshot.services.values()} == {"compat"}


def test_link_is_the_default(call: Call) -> None:
    call("migrate", *FILES, *SERVICES)
    snapshot = load("out.yaml", check_pattern=parse_pattern)
    assert isinstance(snapshot, OutSnapshot)
    assert {service.settings.transport for service in snapshot.services.values()} == {"link"}


@pytest.mark.parametrize("transport", ["link", "http"])
def test_each_side_knows_the_other_by_a_fresh_key(call: Call, transport: str) -> None:
    assert call("migrate", *FILES, *SERVICES, "--transport", transport).exit_code == 0
    out, inside = (load(name, check_pattern=parse_pattern) for name in ("out.yaml", "in.yaml"))
    assert isinstance(out, OutSnapshot)
    assert isinstance(inside, InSnapshot)
    assert {service.settings.transport for service in out.services.values()} == {transport}
    assert inside.config.listen.accept == [transport]
    for name, secret in out.caller_keys.items():
        assert inside.callers[name].public_keys == (public_from_private(secret),)
    receiver = out.services["token_service"].receiver
    assert receiver is not None
    assert receiver.public_keys == (public_from_private(inside.private_keys[0]),)
    assert inside.compat is None


def test_what_became_of_each_setting_is_shown_on_demand(call: Call) -> None:
    assert "fastHttp.enable" not in call("migrate", *FILES, *SERVICES, *COMPAT, "-d", "one").output
    output = call("migrate", *FILES, *SERVICES, *COMPAT, "-d", "two", "--explain").output
    cells = [[cell.strip() for cell in line.split("│")] for line in output.splitlines() if "│" in line]
    rows = {row[2]: row for row in cells}
    assert rows["fastHttp.enable"][4] == "dropped"
    assert rows["application.port"][3:5] == ["8033", "listen.address"]
    assert not rows["signKeyConfig.sign.key.room.v1"][3]
    assert "…" not in output  # of two long names that are cut short nobody knows which is which
    assert "abcd" not in output


def test_routes_are_explained_as_the_original_decided_them(call: Call) -> None:
    call("migrate", *FILES, *SERVICES, *COMPAT)
    url = "/token_service/api/service"
    assert "10 per s, burst 10" in call("explain", "in.yaml", "--caller", "song_service", "POST", url).output
    assert call("explain", "in.yaml", "--caller", "chat_service", "POST", url).exit_code == 1
    sent = call("explain", "out.yaml", "--caller", "song_service", "POST", url).output
    assert "compat, sign sign.key.room.v1, encrypt encrypt.key.room.v2, compress gzip" in sent


def test_the_center_knows_where_the_rest_is(call: Call) -> None:
    result = call("migrate", FILES[1], *COMPAT, "--center", "http://127.0.0.1:8080/")
    assert result.exit_code == 0, result.output
    snapshot = load("in.yaml", check_pattern=parse_pattern)
    assert isinstance(snapshot, InSnapshot)
    assert snapshot.center is not None
    assert {service.center_name for service in snapshot.services.values()} == set(snapshot.services)
    explained = call("explain", "in.yaml", "--caller", "song_service", "POST", "/token_service/api/service")
    assert "those of token_service at the center" in explained.output


@pytest.mark.parametrize("there", ["out.yaml", "in.yaml", "keys/sign.key.room.v1.secret"])
def test_nothing_is_overwritten(call: Call, there: str) -> None:
    Path("keys").mkdir(mode=0o700)
    Path(there).write_text("precious")
    result = call("migrate", *FILES, *SERVICES, *COMPAT)
    assert result.exit_code == 1
    assert f"{there} is there already" in result.output
    assert [file for file in Path().rglob("*") if file.is_file()] == [Path(there)]
    assert call("migrate", *FILES, *SERVICES, *COMPAT, "--force").exit_code == 0
    assert Path(there).read_text() != "precious"


def test_force_keeps_private_keys_that_others_may_know_by_now(call: Call) -> None:
    call("migrate", *FILES, *SERVICES, "--transport", "http")
    keys = {file: file.read_text() for file in Path("keys").iterdir()}
    assert len(keys) == 3
    Path("in.yaml").write_text("broken")
    assert call("migrate", *FILES, *SERVICES, "--transport", "http", "--force").exit_code == 0
    assert {file: file.read_text() for file in Path("keys").iterdir()} == keys
    assert call("check", "in.yaml", "out.yaml").exit_code == 0


def test_what_breaks_off_costs_no_private_key(call: Call) -> None:
    call("migrate", *FILES, *SERVICES, "--transport", "http")
    keys = {file: file.read_text() for file in Path("keys").iterdir()}
    Path("in.yaml").unlink()
    Path("in.yaml").mkdir()  # which no file can replace
    result = call("migrate", *FILES, *SERVICES, "--transport", "http", "--force")
    assert result.exit_code == 1
    assert "can't be written" in result.output
    assert {file: file.read_text() for file in Path("keys").iterdir()} == keys


def test_links_are_replaced_not_followed(call: Call) -> None:
    Path("precious").write_text("precious")
    Path("out.yaml").symlink_to("precious")
    Path(".in.yaml.new").symlink_to("precious")
    assert "out.yaml is there already" in call("migrate", *FILES, *SERVICES, *COMPAT).output
    assert call("migrate", *FILES, *SERVICES, *COMPAT, "--force").exit_code == 0
    assert Path("precious").read_text() == "precious"
    assert not Path("out.yaml").is_symlink()
    assert sorted(path.name for path in Path().iterdir()) == ["in.yaml", "keys", "out.yaml", "precious"]


@pytest.mark.parametrize("trap", ["a link", "open to all", "a file"])
def test_keys_go_into_no_folder_that_others_control(call: Call, trap: str) -> None:
    elsewhere, keys = Path("elsewhere"), Path("new/keys")
    elsewhere.mkdir()
    Path("new").mkdir()
    match trap:
        case "a link":
            keys.symlink_to(elsewhere.absolute())
        case "open to all":
            keys.mkdir()
            keys.chmod(0o777)
        case _:
            keys.write_text("")
    result = call("migrate", *FILES, *SERVICES, *COMPAT, "-d", "new", "--force")
    assert result.exit_code == 1
    assert "new/keys" in result.output
    assert list(elsewhere.iterdir()) == []
    assert os.listdir("new") == ["keys"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*FILES,), "--service token_service=HOST:PORT --service search_service=HOST:PORT"),
        ((*FILES, *SERVICES, *COMPAT, FILES[0]), "named twice"),
        ((*FILES, *SERVICES, *COMPAT, "none.yaml"), "can't be read"),
        ((*FILES, "--service", "a=h"), "HOST:PORT"),
        ((*FILES, "--service", "a b=h:1"), "is not a name"),
        ((*FILES, "--service", "a=h:1", "--service", "a=h:2"), "given twice"),
        ((*FILES, "--center", "https://c"), "http://HOST:PORT"),
        ((FILES[0], "--transport", "http", "--service", "a"), "no in proxy's file"),
        ((*FILES, "--transport", "lnk"), "'link', 'http', 'compat'"),
        ((), "Missing argument"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    call: Call, arguments: tuple[str, ...], words: str
) -> None:
    result = call("migrate", *arguments)
    assert result.exit_code in (1, 2)
    assert words in result.output
    assert not list(Path().iterdir())


def test_bad_files_are_refused_with_all_that_is_wrong(call: Call) -> None:
    Path("latin.yaml").write_bytes(b"proxy: \xe9\n")
    Path("twice.yaml").write_text("rpc: {serviceHeaderName: X}\nrpc: {}\n")
    assert "not UTF-8" in call("migrate", "latin.yaml", *SERVICES).output
    result = call("migrate", "twice.yaml", *SERVICES)
    assert result.exit_code == 1
    assert "twice.yaml:2: rpc: this key was already set at line 1" in result.output
    assert "twice.yaml:1: `serviceConfig` is missing" in result.output
    assert not Path("out.yaml").exists()


def test_a_folder_that_cannot_be_written_is_said(call: Call) -> None:
    Path("file").write_text("")
    result = call("migrate", *FILES, *SERVICES, "-d", "file/inside")
    assert result.exit_code == 1
    assert "can't be written" in result.output
