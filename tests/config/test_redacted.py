"""A config that is shown has every setting, and no secret from wherever it came."""

from __future__ import annotations

import json

import msgspec
import pytest

from fastproxy.config.redacted import REDACTED, redacted
from tests.config.conftest import Folder

KEY, PSK = "4a" * 32, "5b" * 32


def literal(secret: str) -> str:
    return f'{{literal: "{secret}", insecure_literal: true}}'


def test_an_out_proxys_secrets_are_not_among_its_settings(folder: Folder) -> None:
    snapshot = folder.load(f"""\
role: out
caller: web
private_key: {literal(KEY)}
services:
  api:
    receiver: {{name: in, public_keys: [{folder.key("in")}], psk: {literal(PSK)}}}
    endpoints: ["127.0.0.1:8033"]
""")
    config, is_cut = redacted(snapshot, 10)
    shown = json.dumps(config)
    assert KEY not in shown
    assert PSK not in shown
    assert config["private_key"]["literal"] == REDACTED
    assert (config["services"]["api"]["timeout_s"], config["limits"]["in_flight"]) == (15.0, 10_000)
    assert not is_cut


def test_of_very_many_callers_some_are_shown(folder: Folder) -> None:
    callers = "\n".join(
        f"  c{number}: {{public_keys: [{folder.key(f'c{number}')}], psk: {literal(f'{number:02x}' * 32)}}}"
        for number in range(1, 6)
    )
    folder.key("in")
    snapshot = folder.load(f"""\
role: in
private_key: {{file: in.key}}
callers:
{callers}
services:
  api: {{endpoints: ["127.0.0.1:1"]}}
""")
    config, is_cut = redacted(snapshot, 3)
    assert list(config["callers"]) == ["c1", "c2", "c3"]
    assert is_cut
    assert config["callers"]["c1"]["psk"] == REDACTED
    assert "01" * 32 not in json.dumps(config)
    assert redacted(snapshot, 5)[1] is False


def test_what_nobody_has_thought_of_is_not_shown() -> None:
    from fastproxy.config.redacted import _shown  # noqa: PLC0415 - the hook itself

    with pytest.raises(NotImplementedError):
        msgspec.to_builtins({"new": object()}, enc_hook=_shown)
