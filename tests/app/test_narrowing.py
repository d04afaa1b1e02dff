"""Whom a worker that drains beside a newer config trusts: never more than either says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest

from fastproxy.app.narrowing import narrowed
from fastproxy.config.load import load
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot
from fastproxy.policy.pattern import parse_pattern
from tests.e2e.proxies import key_of, write_key

WEB, SHOP = (key_of(name).public_key.hex() for name in ("web", "shop"))
PSK = {"literal": "11" * 32, "insecure_literal": True}


def of_in(folder: Path, **changes: Any) -> InSnapshot:
    """Load the config of an in proxy with these sections."""
    write_key(folder, "in")
    config = {
        "role": "in",
        "name": "in",
        "private_key": {"file": "in.key"},
        "listen": {"address": "127.0.0.1:1", "accept": ["link", "http"]},
        "callers": {"web": {"public_keys": [WEB]}, "shop": {"public_keys": [SHOP]}},
        "services": {"api": {"endpoints": ["127.0.0.1:2"]}},
        "privileges": [{"callers": ["*"], "services": ["*"], "paths": ["/**"]}],
    }
    return cast(InSnapshot, loaded(folder, config | changes))


def of_out(folder: Path, *keys: str) -> OutSnapshot:
    """Load the config of an out proxy whose receiver has these keys."""
    write_key(folder, "desk")
    config = {
        "role": "out",
        "name": "out",
        "caller": "desk",
        "private_key": {"file": "desk.key"},
        "listen": {"address": "127.0.0.1:1"},
        "receivers": {"in": {"endpoints": ["127.0.0.1:2"], "public_keys": list(keys)}},
        "services": {"api": {"receiver": "in"}},
    }
    return cast(OutSnapshot, loaded(folder, config))


def loaded(folder: Path, config: dict[str, Any]) -> Snapshot:
    (folder / "proxy.yaml").write_text(json.dumps(config))
    return load(str(folder / "proxy.yaml"), check_pattern=parse_pattern)


def test_a_config_that_trusts_as_much_or_more_changes_nothing(tmp_path: Path) -> None:
    own = of_in(tmp_path)
    assert narrowed(own, own) == own
    keys = {"web": WEB, "shop": SHOP, "new": WEB[::-1]}
    more = {name: {"public_keys": [key]} for name, key in keys.items()}
    assert narrowed(own, of_in(tmp_path, callers=more)) == own
    assert narrowed(own, of_in(tmp_path, workers=7)) == own
    out = of_out(tmp_path, WEB)
    assert narrowed(out, of_out(tmp_path, WEB, SHOP)) == out
    assert narrowed(out, own) == out


def test_who_is_gone_is_trusted_no_more_and_nobody_comes(tmp_path: Path) -> None:
    own = of_in(tmp_path)
    left = narrowed(
        own, of_in(tmp_path, callers={"shop": {"public_keys": [SHOP]}, "new": {"public_keys": [WEB]}})
    )
    assert isinstance(left, InSnapshot)
    assert list(left.callers) == ["shop"]
    assert [grant.callers for grant in left.grants] == [("shop",)]
    assert left.services == own.services


@pytest.mark.parametrize("other", [{"public_keys": [WEB[::-1]]}, {"public_keys": [WEB[::-1]], "psk": PSK}])
def test_a_caller_with_other_keys_proves_itself_by_none(tmp_path: Path, other: dict[str, Any]) -> None:
    left = narrowed(of_in(tmp_path), of_in(tmp_path, callers={"web": other}))
    assert isinstance(left, InSnapshot)
    assert not left.callers


def test_another_psk_is_asked_for(tmp_path: Path) -> None:
    newer = of_in(tmp_path, callers={"web": {"public_keys": [WEB], "psk": PSK}})
    left = narrowed(of_in(tmp_path), newer)
    assert isinstance(left, InSnapshot)
    assert left.callers["web"].psk == newer.callers["web"].psk is not None


def test_privileges_are_those_of_the_newer_config(tmp_path: Path) -> None:
    fewer = [{"callers": ["web"], "services": ["api"], "paths": ["/x"]}]
    newer = of_in(tmp_path, privileges=fewer)
    left = narrowed(of_in(tmp_path, enforce="report"), newer)
    assert isinstance(left, InSnapshot)
    assert left.grants == newer.grants
    assert left.config.enforce == "enforce"


def test_a_receiver_whose_key_is_gone_is_called_no_more(tmp_path: Path) -> None:
    left = narrowed(of_out(tmp_path, WEB, SHOP), of_out(tmp_path, SHOP))
    assert isinstance(left, OutSnapshot)
    receiver = left.services["api"].receiver
    assert receiver is not None
    assert [key.hex() for key in receiver.public_keys] == [SHOP]
    assert not narrowed(of_out(tmp_path, WEB), of_out(tmp_path, SHOP)).services


@pytest.mark.parametrize(
    ("own", "newer", "left"),
    [
        ([], [], []),
        ([], [1], [1]),
        ([1], [], [1]),
        ([1, 2], [2, 3], [2]),
        ([1], [2], [2]),
    ],
    ids=["all", "fewer", "more", "both", "others: an empty list would let all in"],
)
def test_who_may_connect_no_more_is_let_in_by_none(
    tmp_path: Path, own: list[int], newer: list[int], left: list[int]
) -> None:
    def listening(uids: list[int]) -> InSnapshot:
        return of_in(tmp_path, listen={"address": f"unix:{tmp_path}/in", "allowed_uids": uids})

    assert narrowed(listening(own), listening(newer)).config.listen.allowed_uids == left
