"""What is said to differ between two configs: each secret that is another one, and no secret itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastproxy.config.changes import Change, changes
from fastproxy.config.load import load
from fastproxy.config.snapshot import Snapshot
from fastproxy.policy.pattern import parse_pattern
from fastproxy.wire.identity import PrivateKey

KEY = PrivateKey(bytes(range(32))).public_key.hex()
SECRETS = {"OWN": "a1" * 32, "PSK": "a2" * 32, "SIGN": "a3" * 32, "CENTER": "a4" * 16, "ADMIN": "a5" * 16}
"""By the environment variables that have them."""
PATHS = {
    "OWN": "private keys",
    "PSK": "psk of web",
    "SIGN": "compat key sign shared",
    "CENTER": "center.token",
    "ADMIN": "admin.token",
}


def snapshot(folder: Path, secrets: dict[str, str], *, as_literals: bool) -> Snapshot:
    """Load the config of an in proxy with secrets in all places, from the environment or its own text."""

    def source(name: str) -> dict[str, Any]:
        return {"literal": secrets[name], "insecure_literal": True} if as_literals else {"env": name}

    config = {
        "role": "in",
        "name": "in",
        "private_key": source("OWN"),
        "listen": {"address": "127.0.0.1:1", "accept": ["link", "compat"]},
        "callers": {"web": {"public_keys": [KEY], "psk": source("PSK")}},
        "compat": {
            "sign_keys": {"shared": source("SIGN")},
            "callers": {"old": {"sign": ["shared"], "encrypt": []}},
        },
        "center": {"url": "http://127.0.0.1:3", "token": source("CENTER")},
        "admin": {"address": "127.0.0.1:4", "token": source("ADMIN")},
        "services": {"api": {"endpoints": ["127.0.0.1:2"]}},
        "privileges": [{"callers": ["*"], "services": ["*"], "paths": ["/**"]}],
    }
    file = folder / "in.yaml"
    file.write_text(json.dumps(config))
    return load(str(file), check_pattern=parse_pattern, environ={} if as_literals else secrets)


@pytest.mark.parametrize("as_literals", [True, False], ids=["literals", "variables"])
@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_that_is_another_one_is_told_and_not_shown(
    tmp_path: Path, name: str, as_literals: bool
) -> None:
    other = SECRETS | {name: SECRETS[name].replace("a", "b")}
    before, after = (snapshot(tmp_path, one, as_literals=as_literals) for one in (SECRETS, other))
    found = changes(before, after)
    assert [change.path for change in found] == [PATHS[name]]
    assert found[0].takes_processes == (name == "CENTER"), "a process keeps what it tells the center"
    assert not any(secret in repr(found) for secret in (*SECRETS.values(), *other.values()))


def test_secrets_that_come_from_elsewhere_are_no_other_ones(tmp_path: Path) -> None:
    before, after = (snapshot(tmp_path, SECRETS, as_literals=one) for one in (True, False))
    found: list[Change] = changes(before, after)
    assert found
    assert not any(secret in repr(found) for secret in SECRETS.values())


def test_nothing_differs_from_itself(tmp_path: Path) -> None:
    before, after = (snapshot(tmp_path, SECRETS, as_literals=True) for _ in range(2))
    assert changes(before, after) == []
