"""What is weak about an agreement with a caller is named, and nothing else."""

from __future__ import annotations

from fastproxy.wire.compat.keys import EncryptKey, SignKey
from fastproxy.wire.compat.sealing import CompatCaller
from fastproxy.wire.compat.weaknesses import (
    CLAIMED,
    PADDING_ORACLE,
    SHARED_SIGN_KEY,
    SHORT_SIGN_KEY,
    UNENCRYPTED,
    UNSIGNED,
    weaknesses,
)

LONG = SignKey("long", b"a secret of at least sixteen bytes")
OTHER = SignKey("other", b"another secret of sixteen bytes")
ENCRYPT = EncryptKey("k", b"0123456789abcdef")


def labels(*callers: CompatCaller) -> list[tuple[str, str]]:
    return [(weakness.caller, weakness.label) for weakness in weaknesses(callers)]


def test_a_caller_with_keys_of_its_own_has_no_weakness() -> None:
    assert labels(CompatCaller("a", (LONG,), (ENCRYPT,)), CompatCaller("b", (OTHER,), (ENCRYPT,))) == []


def test_each_weakness_is_named() -> None:
    assert labels(CompatCaller("a", (), ())) == [("a", UNSIGNED), ("a", UNENCRYPTED)]
    assert labels(CompatCaller("a", (), (ENCRYPT,))) == [("a", UNSIGNED), ("a", PADDING_ORACLE)]
    assert labels(CompatCaller("a", (LONG,), ())) == [("a", UNENCRYPTED)]
    assert labels(CompatCaller("a", (SignKey("s", b"abcd"),), (ENCRYPT,))) == [("a", SHORT_SIGN_KEY)]


def test_a_shared_secret_is_found_whatever_its_names() -> None:
    renamed = SignKey("renamed", b"a secret of at least sixteen bytes")
    callers = [CompatCaller("a", (OTHER, LONG), (ENCRYPT,)), CompatCaller("b", (renamed,), (ENCRYPT,))]
    found = weaknesses(callers)
    assert [(weakness.caller, weakness.label) for weakness in found] == [
        ("a", SHARED_SIGN_KEY),
        ("b", SHARED_SIGN_KEY),
    ]
    assert "with b:" in found[0].words
    assert {weakness.label for weakness in found} <= CLAIMED


def test_no_secret_is_in_the_words() -> None:
    short = SignKey("s", b"abcd")
    found = weaknesses([CompatCaller("a", (short,), ()), CompatCaller("b", (short,), ())])
    assert found
    assert not any("abcd" in weakness.words for weakness in found)
