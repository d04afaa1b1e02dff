"""Tokens open the names that they stand under, and an open center the machine that it runs on."""

import hashlib

import pytest

from fastproxy.admin.center.access import Access, token_digest
from fastproxy.admin.center.refusals import NO_TOKEN, NOT_LOCAL, TOKEN_REFUSED, CenterError, Refusal

SONG_TOKEN = "song-token-0123456789"
FLEET_TOKEN = "fleet-token-0123456789"


def access() -> Access:
    song, fleet = token_digest(SONG_TOKEN), token_digest(FLEET_TOKEN)
    return Access({"song": [song, fleet], "chat": [fleet]}, is_open=False)


def refusal_of(access: Access, name: str, authorization: bytes, peer: str = "192.0.2.1") -> Refusal:
    with pytest.raises(CenterError) as caught:
        access.permit(name, authorization, peer)
    assert "token-0123456789" not in str(caught.value)
    return caught.value.refusal


def test_a_token_opens_its_names() -> None:
    judge = access()
    assert judge.permit("song", f"Bearer {SONG_TOKEN}".encode(), "192.0.2.1") == "token:song"
    assert judge.permit("song", f"bearer {FLEET_TOKEN}".encode(), "192.0.2.1") == "token:chat"
    assert judge.permit("chat", f"Bearer {FLEET_TOKEN}".encode(), "192.0.2.1") == "token:chat"


def test_a_wrong_token_and_a_name_without_one_look_the_same() -> None:
    judge = access()
    assert refusal_of(judge, "chat", f"Bearer {SONG_TOKEN}".encode()) is TOKEN_REFUSED
    assert refusal_of(judge, "nobody", f"Bearer {SONG_TOKEN}".encode()) is TOKEN_REFUSED
    assert refusal_of(judge, "song", b"Bearer guessed") is TOKEN_REFUSED
    digest = hashlib.sha256(SONG_TOKEN.encode()).hexdigest()
    assert refusal_of(judge, "song", f"Bearer sha256:{digest}".encode()) is NO_TOKEN
    assert refusal_of(judge, "song", f"Bearer {digest}".encode()) is TOKEN_REFUSED


@pytest.mark.parametrize(
    "authorization",
    [b"", b"Bearer", b"Bearer ", b"Basic c29uZzp0b2tlbg==", SONG_TOKEN.encode(), b"Bearer a b"],
)
def test_no_token_is_told_apart(authorization: bytes) -> None:
    assert refusal_of(access(), "song", authorization) is NO_TOKEN


def test_an_open_center_is_open_to_its_machine_only() -> None:
    judge = Access({}, is_open=True)
    assert judge.permit("song", b"", "127.0.0.1") == "open:127.0.0.1"
    assert judge.permit("song", b"", "::1") == "open:::1"
    assert judge.permit("song", b"", "unix") == "open:unix"
    for peer in ("192.0.2.1", "10.0.0.1", "::ffff:192.0.2.1", "", "localhost"):
        assert refusal_of(judge, "song", b"", peer) is NOT_LOCAL


def test_tokens_and_open_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="either"):
        Access({"song": [bytes(32)]}, is_open=True)
    with pytest.raises(ValueError, match="either"):
        Access({}, is_open=False)


def test_a_token_may_be_configured_by_its_digest() -> None:
    digest = hashlib.sha256(SONG_TOKEN.encode())
    assert token_digest(f"sha256:{digest.hexdigest().upper()}") == token_digest(SONG_TOKEN) == digest.digest()


@pytest.mark.parametrize(
    "text", ["", "short", "sha256:", "sha256:" + "0" * 63, "with space 0123456789", "x" * 513]
)
def test_what_is_no_token_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(ValueError, match="a token is") as caught:
        token_digest(text)
    assert "0123456789" not in str(caught.value)
