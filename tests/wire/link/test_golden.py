"""The wire format of the link stands still: transcripts are understood, and said again in the same bytes."""

from __future__ import annotations

import json
from hashlib import blake2s
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fastproxy.wire.envelope import parse_request_head, parse_response_head
from fastproxy.wire.link.frames import PING, REKEY, REQUEST, RESPONSE
from fastproxy.wire.link.hello import HelloInitiator, HelloResponder
from fastproxy.wire.link.terms import Established, Params
from fastproxy.wire.records import Chunk
from tests.wire.link.make_transcript import (
    CASES,
    RECORDS,
    Transcript,
    answer,
    complete,
    derived,
    finish,
    initiator,
    inside_tls,
    responder,
)
from tests.wire.link.parties import Frame, frames_of, opened

ROOT = Path(__file__).parent.parent.parent.parent
TRANSCRIPTS: list[Transcript] = json.loads((ROOT / "tests" / "data" / "link_v1.json").read_text())
SEALED, PLAIN = TRANSCRIPTS[:-1], TRANSCRIPTS[-1]
EACH = pytest.mark.parametrize("transcript", SEALED, ids=[transcript["name"] for transcript in SEALED])


def message(transcript: Transcript, number: int) -> bytes:
    return bytes.fromhex(transcript[f"message_{number}"])


def check_records(transcript: Transcript, caller: Established, receiver: Established) -> None:
    """Each side opens what the other one says, to the frames that stand there."""
    openers = {"caller": receiver.opener, "receiver": caller.opener}
    for said in transcript["records"]:
        (plaintext,) = opened(openers[said["from"]], bytes.fromhex(said["record"]))
        frames = frames_of(plaintext)
        assert frames == [
            Frame(int(kind, 16), stream, bytes.fromhex(payload)) for kind, stream, payload in said["frames"]
        ]
        if frames[-1].kind == REKEY:
            openers[said["from"]].rekey()


def test_every_case_has_its_transcript() -> None:
    for transcript, case in zip(SEALED, CASES, strict=True):
        assert transcript | case == transcript
    assert all(len(transcript["records"]) == len(RECORDS) for transcript in TRANSCRIPTS)


def test_frames_of_every_kind_and_flag_are_said() -> None:
    kinds = [each.kind for _, frames in RECORDS for each in frames]
    assert {kind >> 4 for kind in kinds} == set(range(1, 13))
    assert {kind & 15 for kind in kinds} >= {0, 1, 2, 4, 8}
    rekeys = [sender for sender, frames in RECORDS for each in frames if each.kind == REKEY]
    assert sorted(rekeys) == ["caller", "receiver"]
    for sender in rekeys:
        last = [each for each, _ in RECORDS][::-1].index(sender)
        assert REKEY not in [each.kind for each in RECORDS[-1 - last][1]], (
            "a record follows under the new key"
        )


@EACH
def test_it_is_understood(transcript: Transcript) -> None:
    assert responder(transcript).message_bytes(message(transcript, 1)) == len(message(transcript, 1))
    message_2, receiver = answer(transcript, message(transcript, 1))
    assert message_2 == message(transcript, 2)
    caller = finish(initiator(transcript), message(transcript, 2))
    assert caller.params == tuple(transcript["receiver_params"])
    assert receiver.params == tuple(transcript["caller_params"])
    assert receiver.peer_public_key.hex() == transcript["caller_public_key"]
    check_records(transcript, caller, receiver)


@EACH
def test_it_is_said_in_the_same_bytes(transcript: Transcript) -> None:
    assert complete(transcript) == transcript


@EACH
def test_the_secrets_are_derived_as_written_down(transcript: Transcript) -> None:
    secrets = derived(transcript, message(transcript, 1), message(transcript, 2))
    assert secrets == {name: transcript[name] for name in secrets}


def test_a_link_inside_tls_is_understood_and_said_in_the_same_bytes() -> None:
    receiver = HelloResponder(Params(*PLAIN["receiver_params"])).answer(message(PLAIN, 1))[1]
    caller = finish(HelloInitiator(Params(*PLAIN["caller_params"])), message(PLAIN, 2))
    assert (receiver.params, caller.params) == (
        tuple(PLAIN["caller_params"]),
        tuple(PLAIN["receiver_params"]),
    )
    check_records(PLAIN, caller, receiver)
    assert inside_tls() == PLAIN


def test_the_heads_in_it_are_those_of_the_envelope() -> None:
    heads = 0
    for _, frames in RECORDS:
        for kind, _, payload in frames:
            meta = payload[4 : 4 + int.from_bytes(payload[:4], "big")]
            if kind & 0xF0 == REQUEST:
                assert parse_request_head(meta).exchange_id == "4bf92f3577b34da6"
                heads += 1
            elif kind & 0xF0 == RESPONSE:
                parse_response_head(Chunk(meta, b"", last=False))
                heads += 1
    assert heads > 5


def test_the_first_transcript_opens_by_hand() -> None:
    """As docs/wire.md explains it, with nothing of the package."""
    transcript = SEALED[0]
    message_1 = message(transcript, 1)
    assert message_1[:4] == b"\xfbfp\x01"
    assert int.from_bytes(message_1[4:6], "big") == len(message_1) - 6
    public_key = bytes.fromhex(transcript["receiver_public_key"])
    key = blake2s(b"fastproxy link mac1" + public_key).digest()
    assert blake2s(message_1[:-16], key=key, digest_size=16).digest() == message_1[-16:]

    counts = {"caller": 0, "receiver": 0}
    keys = {sender: bytes.fromhex(transcript[f"{sender}_key"]) for sender in counts}
    for said in transcript["records"]:
        sender, record = said["from"], bytes.fromhex(said["record"])
        assert record[:4] == (len(record) - 4).to_bytes(4, "big")
        nonce = counts[sender].to_bytes(12, "big")
        counts[sender] += 1
        plaintext = AESGCM(keys[sender]).decrypt(nonce, record[4:], None)
        if plaintext[-8:] == bytes.fromhex("b000000000000000"):
            nonce = bytes(4) + b"\xff" * 8
            keys[sender] = AESGCM(keys[sender]).encrypt(nonce, bytes(32), None)[:32]
            assert keys[sender].hex() == transcript[f"second_{sender}_key"]
    first = AESGCM(bytes.fromhex(transcript["caller_key"])).decrypt(
        bytes(12), bytes.fromhex(transcript["records"][0]["record"])[4:], None
    )
    assert first[:16] == bytes((PING, 0, 0, 8, 0, 0, 0, 0)) + b"12345678"
    assert first[16] == REQUEST | 1
    assert first.endswith(b"\r\n\r\nparam=hello")


def test_the_worked_example_of_the_documentation_is_the_first_transcript() -> None:
    text = "".join((ROOT / "docs" / "wire.md").read_text().split())
    transcript = SEALED[0]
    fields = (
        "prologue",
        "mac_key",
        "message_1",
        "message_2",
        "caller_key",
        "receiver_key",
        "second_caller_key",
    )
    for field in fields:
        assert transcript[field] in text, f"docs/wire.md does not show {field}"
    for number in (0, 1):
        assert transcript["records"][number]["record"] in text
        for kind, _, payload in transcript["records"][number]["frames"]:
            assert payload in text, f"docs/wire.md does not show a frame of kind {kind}"
    assert message(PLAIN, 1).hex() in text
    assert message(PLAIN, 2).hex() in text
