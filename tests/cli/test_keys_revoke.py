"""`fastproxy keys revoke`, by what it does to a folder of callers and says of a config.

That running proxies cut the links stands in `tests/e2e/keys`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fastproxy.wire.identity import PrivateKey, key_id
from tests.cli.conftest import Call

KEYS = {name: PrivateKey(name.encode().ljust(32, b".")).public_key for name in ("web", "web2", "mail")}


@pytest.fixture
def call(pair: Call) -> Call:
    """Commands in a folder with `callers` in it, and an in config that reads it and knows `shop` itself."""
    folder = Path("callers")
    folder.mkdir()
    web = f"# of web\n{KEYS['web'].hex()}\n{KEYS['web2'].hex().upper()} not_after 2090-01-31T00:00:00Z\n"
    (folder / "web.pub").write_text(web)
    (folder / "mail.pub").write_text(KEYS["mail"].hex() + "\n")
    (folder / "broken.pub").write_text("no key\n")
    text = Path("in.yaml").read_text().replace('"web": {public_keys', '"shop": {public_keys')
    Path("in.yaml").write_text(f"callers_dir: callers\n{text}")
    (folder / "broken.pub").unlink()
    return pair


@pytest.mark.parametrize("place", ["callers", "in.yaml"])
@pytest.mark.parametrize("shown", ["key", "key in capitals", "id"])
def test_one_key_of_several_goes_and_the_rest_stays_as_it_is(call: Call, place: str, shown: str) -> None:
    key = KEYS["web2"]
    text = {"key": key.hex(), "key in capitals": key.hex().upper(), "id": key_id(key).hex()}[shown]
    mode = Path("callers/web.pub").stat().st_mode
    result = call("keys", "revoke", place, text)
    assert result.exit_code == 0
    assert key_id(key).hex() in result.output
    assert Path("callers/web.pub").read_text() == f"# of web\n{KEYS['web'].hex()}\n"
    assert Path("callers/web.pub").stat().st_mode == mode
    assert sorted(file.name for file in Path("callers").iterdir()) == ["mail.pub", "web.pub"]


def test_a_callers_last_key_goes_with_its_file(call: Call) -> None:
    assert call("keys", "revoke", "callers", KEYS["mail"].hex()).exit_code == 0
    assert not Path("callers/mail.pub").exists()


def test_a_name_goes_with_all_its_keys_and_where_it_is_named_is_said(call: Call) -> None:
    line = next(
        n for n, text in enumerate(Path("in.yaml").read_text().splitlines(), 1) if "callers: [" in text
    )
    result = call("keys", "revoke", "in.yaml", "web")
    assert result.exit_code == 0
    assert not Path("callers/web.pub").exists()
    assert f"in.yaml:{line}: `privileges` name web" in result.output


def test_a_broken_file_is_in_nobodys_way(call: Call) -> None:
    Path("callers/broken.pub").write_text("no key\n")
    assert call("keys", "revoke", "callers", KEYS["mail"].hex()).exit_code == 0
    assert Path("callers/broken.pub").exists()


@pytest.mark.parametrize("what", ["nobody", "0" * 64, "0" * 16, "../callers/web", "web.pub", "*"])
def test_what_is_not_there_changes_nothing(call: Call, what: str) -> None:
    result = call("keys", "revoke", "callers", what)
    assert result.exit_code == 1
    assert "is not known" in result.output
    assert sorted(file.name for file in Path("callers").iterdir()) == ["mail.pub", "web.pub"]


def test_callers_are_known_at_in_proxies(call: Call) -> None:
    assert "out proxy" in call("keys", "revoke", "out.yaml", "web").output


def test_the_config_itself_is_left_to_people(call: Call) -> None:
    before = Path("in.yaml").read_text()
    result = call("keys", "revoke", "in.yaml", "shop")
    assert result.exit_code == 1
    assert "callers.shop: delete it" in result.output
    assert Path("in.yaml").read_text() == before
