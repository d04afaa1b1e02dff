"""`fastproxy keys`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fastproxy.config.key_dates import shown_date
from fastproxy.config.keys import read_public_key_file
from fastproxy.wire.identity import PrivateKey, key_id
from tests.cli.conftest import Call


def test_new_writes_a_pair_and_prints_the_public_key_only(call: Call) -> None:
    result = call("keys", "new", "web", "-d", "keys")
    assert result.exit_code == 0
    private_text = Path("keys/web.key").read_text().strip()
    private_key = PrivateKey.parse(private_text)
    assert Path("keys/web.key").stat().st_mode & 0o777 == 0o600
    assert Path("keys/web.pub").read_text().strip() == private_key.public_key.hex()
    assert private_key.public_key.hex() in result.output
    assert private_text not in result.output


def test_new_makes_another_key_each_time(call: Call) -> None:
    call("keys", "new", "a")
    call("keys", "new", "b")
    assert Path("a.key").read_text() != Path("b.key").read_text()


@pytest.mark.parametrize("there", ["web.key", "web.pub"])
def test_new_never_overwrites(call: Call, there: str) -> None:
    Path(there).write_text("precious")
    result = call("keys", "new", "web")
    assert result.exit_code == 1
    assert "is there already" in result.output
    assert Path(there).read_text() == "precious"
    assert len(list(Path().iterdir())) == 1


def test_new_refuses_names_that_lead_elsewhere(call: Call) -> None:
    assert call("keys", "new", "../web").exit_code == 1
    assert not Path("../web.key").exists()


def test_show_gives_the_same_of_both_files_and_never_the_private_key(call: Call) -> None:
    call("keys", "new", "web")
    private_key = PrivateKey.parse(Path("web.key").read_text())
    result = call("keys", "show", "web.key", "web.pub")
    first, second = result.output.splitlines()
    assert (
        first == second == f"web  {private_key.public_key.hex()}  id {key_id(private_key.public_key).hex()}"
    )


def test_show_says_what_is_wrong(call: Call) -> None:
    call("keys", "new", "web")
    Path("web.key").chmod(0o640)
    result = call("keys", "show", "web.key")
    assert result.exit_code == 1
    assert "chmod 600 web.key" in result.output
    assert call("keys", "show", "none.key").exit_code == 1


def test_new_with_days_dates_the_public_key_and_prints_it_as_configs_take_it(call: Call) -> None:
    before_s = time.time()
    output = call("keys", "new", "web", "--days", "90").output
    ((key, last_s),) = read_public_key_file(Path("web.pub")).items()
    assert int(before_s) <= last_s - 90 * 86_400 <= time.time()
    assert f"{{key: {key.hex()}, not_after: {shown_date(last_s)}}}" in output
    assert PrivateKey.parse(Path("web.key").read_text()).public_key == key
    shown = call("keys", "show", "web.pub", "web.key").output.splitlines()
    assert shown[0] == f"{shown[1]}  not_after {shown_date(last_s)}"


@pytest.mark.parametrize("days", ["0", "-3", "x", "40000"])
def test_new_takes_no_other_days(call: Call, days: str) -> None:
    assert call("keys", "new", "web", "--days", days).exit_code == 2
    assert not list(Path().iterdir())
