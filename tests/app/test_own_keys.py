"""The private keys of a proxy while it runs."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from fastproxy.app.in_role import InRole
from fastproxy.app.own_keys import OwnKeys
from fastproxy.app.running import Proxy
from fastproxy.config.key_files import next_of
from fastproxy.config.load import load
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import OwnKey
from fastproxy.policy.pattern import parse_pattern
from fastproxy.telemetry.key_uses import OWN, KeyUses, Row
from fastproxy.wire.identity import PrivateKey

A, B, C = b"a" * 32, b"b" * 32, b"c" * 32


def write(file: Path, key: bytes) -> None:
    new = file.with_name("new")
    new.touch(mode=0o600)
    new.write_text(key.hex())
    new.rename(file)


def key_of(name: str, file: Path, key: bytes) -> OwnKey:
    write(file, key)
    return OwnKey(name, (Secret(key),), file)


def keys_of(own: OwnKeys, name: str) -> list[bytes]:
    return [key.public_key for key in own.all_of(name)]


def public(*keys: bytes) -> list[bytes]:
    return [PrivateKey(key).public_key for key in keys]


def make(*own: OwnKey, holds_neighbours: bool = False) -> OwnKeys:
    return OwnKeys(own, KeyUses(lambda: 7.0), holds_neighbours=holds_neighbours)


def test_a_changed_key_is_taken_and_told_of(tmp_path: Path) -> None:
    file = tmp_path / "web.key"
    own = make(key_of("web", file, A), OwnKey("other", (Secret(C),), None))
    told: list[frozenset[str]] = []
    own.on_change(told.append)
    asyncio.run(own.look())
    assert told == []
    write(file, B)
    asyncio.run(own.look())
    asyncio.run(own.look())
    assert told == [{"web"}]
    assert own.current("web").public_key == public(B)[0]
    assert keys_of(own, "other") == public(C)


def test_who_starts_later_begins_with_what_the_files_hold_by_then(tmp_path: Path) -> None:
    config = key_of("web", tmp_path / "web.key", A)
    write(tmp_path / "web.key", B)
    assert keys_of(make(config), "web") == public(B)


def test_a_receiver_holds_the_keys_beside_its_file_and_a_caller_does_not(tmp_path: Path) -> None:
    config = key_of("in", tmp_path / "in.key", A)
    write(next_of(tmp_path / "in.key"), B)
    assert keys_of(make(config, holds_neighbours=True), "in") == public(A, B)
    assert keys_of(make(config), "in") == public(A)


def test_a_key_that_stands_in_two_files_counts_once(tmp_path: Path) -> None:
    """Two keys with one id can't be told apart in an envelope."""
    own = make(key_of("in", tmp_path / "in.key", A), key_of("in", tmp_path / "in2.key", A))
    assert keys_of(own, "in") == public(A)


def test_two_names_never_get_the_same_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    own = make(key_of("web", tmp_path / "web.key", A), key_of("mail", tmp_path / "mail.key", B))
    write(tmp_path / "mail.key", A)
    with caplog.at_level(logging.WARNING):
        asyncio.run(own.look())
    assert keys_of(own, "mail") == public(B)
    assert "mail and web have the same key" in str(caplog.records[0].__dict__)


def test_files_that_cannot_be_used_at_the_start_leave_what_the_config_had(tmp_path: Path) -> None:
    """As for a worker that takes another one's place later."""
    web, mail = key_of("web", tmp_path / "web.key", A), key_of("mail", tmp_path / "mail.key", B)
    write(tmp_path / "mail.key", A)
    own = make(web, mail)
    assert (keys_of(own, "web"), keys_of(own, "mail")) == (public(A), public(B))
    (tmp_path / "web.key").unlink()
    assert keys_of(make(web), "web") == public(A)


def test_what_is_wrong_with_a_file_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "web.key"
    own = make(key_of("web", file, A))
    file.chmod(0o644)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            asyncio.run(own.look())
        assert keys_of(own, "web") == public(A)
        assert len(caplog.records) == 1
        file.chmod(0o600)
        asyncio.run(own.look())
        file.chmod(0o644)
        asyncio.run(own.look())
    assert len(caplog.records) == 2
    assert A.hex() not in str([record.__dict__ for record in caplog.records])


def test_using_a_key_is_counted() -> None:
    uses = KeyUses(lambda: 7.0)
    own = OwnKeys((OwnKey("web", (Secret(A),), None),), uses, holds_neighbours=False)
    assert own.is_lasting
    assert own.use("web") is own.current("web")
    (use,) = uses.all()
    assert (use.row, use.made, use.open, use.last_unix_s) == (
        Row(OWN, "web", PrivateKey(A).key_id.hex()), 1, 0, 7.0,
    )  # fmt: skip


@pytest.mark.parametrize("caller_first", [True, False])
def test_a_caller_never_gets_by_with_a_key_of_the_receiver_itself(tmp_path: Path, caller_first: bool) -> None:
    """Nor does it keep the receiver from knowing its callers: in whichever order the files came."""
    write(tmp_path / "in.key", A)
    (tmp_path / "callers").mkdir()
    config = {
        "role": "in",
        "listen": {"address": f"unix:{tmp_path}/in", "accept": ["http"]},
        "private_key": {"file": "in.key"},
        "callers_dir": "callers",
        "services": {"api": {"endpoints": ["127.0.0.1:1"]}},
        "privileges": [{"callers": ["*"], "services": ["api"]}],
        "log": {"access": "off"},
    }
    (tmp_path / "callers" / "web.pub").write_text(public(C)[0].hex())
    (tmp_path / "in.yaml").write_text(json.dumps(config))
    snapshot = load(tmp_path / "in.yaml", check_pattern=parse_pattern)

    async def main() -> None:
        proxy = Proxy(snapshot, asyncio.get_running_loop())
        role = proxy._role
        assert isinstance(role, InRole)
        assert role.envelopes is not None
        for caller_now in (caller_first, not caller_first):
            if caller_now:
                (tmp_path / "callers" / "false.pub").write_text(public(B)[0].hex())
                await role._known.look()
            else:
                write(next_of(tmp_path / "in.key"), B)
                await role.own_keys.look()
        receiver = role.envelopes._receiver
        assert list(receiver._callers) == [PrivateKey(C).key_id]
        assert set(receiver._private_keys) == {PrivateKey(A).key_id, PrivateKey(B).key_id}
        await proxy.start(())
        await proxy.drain()

    asyncio.run(main())
