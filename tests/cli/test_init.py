"""`fastproxy init`: what it writes can be used as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastproxy.config.load import load
from fastproxy.config.snapshot import InSnapshot, OutSnapshot
from fastproxy.policy.pattern import parse_pattern
from fastproxy.wire.identity import PrivateKey
from tests.cli.conftest import Call


def loaded() -> tuple[OutSnapshot, InSnapshot]:
    out, inside = (load(name, check_pattern=parse_pattern) for name in ("out.yaml", "in.yaml"))
    assert isinstance(out, OutSnapshot)
    assert isinstance(inside, InSnapshot)
    return out, inside


def test_the_pair_fits_together(pair: Call) -> None:
    out, inside = loaded()
    assert str(out.services["api"].endpoints[0]) == str(inside.listen) == "127.0.0.1:8033"
    receiver = out.services["api"].receiver
    assert receiver is not None
    assert receiver.name == inside.config.name
    receiver_key = PrivateKey(inside.private_keys[0].reveal()).public_key
    caller_key = PrivateKey(out.caller_keys["web"].reveal()).public_key
    assert receiver.public_keys == (receiver_key,)
    assert inside.callers["web"].public_keys == (caller_key,)
    assert str(inside.services["search"].endpoints[0]) == "s:80"


@pytest.mark.parametrize(
    ("receiver", "listen"), [("10.1.2.3:7000", "0.0.0.0:7000"), ("[2001:db8::1]:7000", "[::]:7000")]
)
def test_two_machines(call: Call, receiver: str, listen: str) -> None:
    result = call("init", "--caller", "web", "--service", "api=127.0.0.1:8000", "--receiver", receiver)
    assert result.exit_code == 0
    assert "Move in.yaml and services-in.key" in result.output
    out, inside = loaded()
    assert (str(out.services["api"].endpoints[0]), str(inside.listen)) == (receiver, listen)


def test_the_next_steps_are_commands(call: Call) -> None:
    result = call("init", "--caller", "web", "--service", "api=127.0.0.1:8000", "-d", "shop")
    for command in (
        "fastproxy run shop/in.yaml",
        "fastproxy run shop/out.yaml",
        "curl -i http://127.0.0.1:8034/api/",
    ):
        assert command in result.output
    assert Path("shop/web.key").read_text().strip() not in result.output


def test_names_that_yaml_would_take_for_something_else(call: Call) -> None:
    assert (
        call("init", "--caller", "5", "--service", "null=127.0.0.1:1", "--service", "1e3=h:2").exit_code == 0
    )
    out, inside = loaded()
    assert out.caller_keys.keys() == inside.callers.keys() == {"5"}
    assert out.services.keys() == inside.services.keys() == {"null", "1e3"}


@pytest.mark.parametrize("there", ["out.yaml", "in.yaml", "web.key", "web.pub", "services-in.key"])
def test_nothing_is_overwritten(call: Call, there: str) -> None:
    Path(there).write_text("precious")
    result = call("init", "--caller", "web", "--service", "api=127.0.0.1:8000")
    assert result.exit_code == 1
    assert f"{there} is there already" in result.output
    assert [file.name for file in Path().iterdir()] == [there]


def test_force_replaces_configs_and_keeps_keys(pair: Call) -> None:
    before = Path("web.key").read_text()
    result = pair("init", "--caller", "web", "--service", "other=127.0.0.1:1", "--force")
    assert result.exit_code == 0
    assert Path("web.key").read_text() == before
    assert loaded()[1].services.keys() == {"other"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--caller", "two words", "--service", "api=127.0.0.1:8000"),
        ("--caller", "services-in", "--service", "api=127.0.0.1:8000"),
        ("--caller", "web", "--service", "api"),
        ("--caller", "web", "--service", "api=http://x/"),
        ("--caller", "web", "--service", "a=h:1", "--service", "a=h:2"),
        ("--caller", "web", "--service", "a=h:1", "--receiver", "h"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    call: Call, arguments: tuple[str, ...]
) -> None:
    assert call("init", *arguments).exit_code == 1
    assert not list(Path().iterdir())
