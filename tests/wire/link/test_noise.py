"""The key agreement: against a public vector and against an independent implementation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from noise.connection import Keypair, NoiseConnection

from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.noise import LinkKeys, NoiseInitiator, NoiseResponder, rekeyed
from fastproxy.wire.link.records import WORD_BYTES, Opener, Sealer
from tests.wire.link.parties import CALLER_KEY, LOW_ORDER, PSK, RECEIVER_KEY, ephemeral

VECTOR: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent.parent / "data" / "noise_ikpsk2.json").read_text()
)
PROLOGUE = b"prologue"


def of_vector(field: str) -> bytes:
    value = VECTOR[field]
    return bytes.fromhex(value[0] if isinstance(value, list) else value)


def vector_parties() -> tuple[NoiseInitiator, NoiseResponder]:
    initiator = NoiseInitiator(
        PrivateKey(of_vector("init_static")),
        of_vector("init_remote_static"),
        of_vector("init_psks"),
        of_vector("init_prologue"),
        PrivateKey(of_vector("init_ephemeral")),
    )
    return initiator, NoiseResponder(PrivateKey(of_vector("resp_static")), of_vector("resp_prologue"))


def vector_messages() -> list[tuple[bytes, bytes]]:
    return [
        (bytes.fromhex(message["payload"]), bytes.fromhex(message["ciphertext"]))
        for message in VECTOR["messages"]
    ]


def test_both_sides_say_and_understand_the_messages_of_the_vector() -> None:
    assert VECTOR["protocol_name"] == "Noise_IKpsk2_25519_AESGCM_SHA256"
    (payload_1, message_1), (payload_2, message_2), *_ = vector_messages()
    initiator, responder = vector_parties()
    assert initiator.write(payload_1) == message_1
    assert responder.read(message_1) == payload_1
    assert responder.peer_public_key == PrivateKey(of_vector("init_static")).public_key
    ours, keys = responder.write(of_vector("resp_psks"), PrivateKey(of_vector("resp_ephemeral")), payload_2)
    assert ours == message_2
    assert initiator.read(message_2) == (payload_2, keys)


def test_records_under_its_keys_are_the_transport_messages_of_the_vector() -> None:
    (payload_1, _), (_, message_2), *transport = vector_messages()
    initiator, _ = vector_parties()
    initiator.write(payload_1)
    _, keys = initiator.read(message_2)
    sealers = [Sealer(keys.from_initiator), Sealer(keys.from_responder)]
    openers = [Opener(keys.from_initiator), Opener(keys.from_responder)]
    assert len(transport) == 4
    for number, (payload, ciphertext) in enumerate(transport):
        record = sealers[number % 2].seal(payload)
        assert record[WORD_BYTES:] == ciphertext
        assert list(openers[number % 2].feed(record)) == [payload]


def other(key: PrivateKey, *, is_initiator: bool, psk: bytes) -> NoiseConnection:
    """The other implementation, about to begin; it draws its own ephemeral key."""
    connection = NoiseConnection.from_name(b"Noise_IKpsk2_25519_AESGCM_SHA256")
    connection.set_psks(psk)
    connection.set_prologue(PROLOGUE)
    if is_initiator:
        connection.set_as_initiator()
        connection.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, RECEIVER_KEY.public_key)
    else:
        connection.set_as_responder()
    connection.set_keypair_from_private_bytes(Keypair.STATIC, bytes.fromhex(key.reveal()))
    connection.start_handshake()
    return connection


def exchange_and_rekey(keys: LinkKeys, theirs: NoiseConnection, *, we_initiate: bool) -> None:
    """Records both ways, before and after a rekey of each direction."""
    sending, receiving = (
        (keys.from_initiator, keys.from_responder)
        if we_initiate
        else (keys.from_responder, keys.from_initiator)
    )
    sealer, opener = Sealer(sending), Opener(receiving)
    for _ in range(2):
        for text in (b"one", b"two"):
            assert theirs.decrypt(sealer.seal(text)[WORD_BYTES:]) == text
            ciphertext = theirs.encrypt(text)
            assert list(opener.feed(len(ciphertext).to_bytes(4, "big") + ciphertext)) == [text]
        sealer.rekey()
        opener.rekey()
        theirs.rekey_inbound_cipher()
        theirs.rekey_outbound_cipher()


@pytest.mark.parametrize("psk", [bytes(32), PSK], ids=["no psk", "psk"])
def test_the_other_implementation_answers_what_this_one_begins(psk: bytes) -> None:
    initiator = NoiseInitiator(CALLER_KEY, RECEIVER_KEY.public_key, psk, PROLOGUE, ephemeral(1))
    theirs = other(RECEIVER_KEY, is_initiator=False, psk=psk)
    assert theirs.read_message(initiator.write(b"hello")) == b"hello"
    payload, keys = initiator.read(bytes(theirs.write_message(b"welcome")))
    assert payload == b"welcome"
    exchange_and_rekey(keys, theirs, we_initiate=True)


@pytest.mark.parametrize("psk", [bytes(32), PSK], ids=["no psk", "psk"])
def test_this_implementation_answers_what_the_other_one_begins(psk: bytes) -> None:
    theirs = other(CALLER_KEY, is_initiator=True, psk=psk)
    responder = NoiseResponder(RECEIVER_KEY, PROLOGUE)
    assert responder.read(bytes(theirs.write_message(b"hello"))) == b"hello"
    assert responder.peer_public_key == CALLER_KEY.public_key
    message_2, keys = responder.write(psk, ephemeral(2), b"welcome")
    assert theirs.read_message(message_2) == b"welcome"
    exchange_and_rekey(keys, theirs, we_initiate=False)


def test_keys_of_a_direction_never_come_back() -> None:
    keys = {key := bytes(32)} | {key := rekeyed(key) for _ in range(50)}
    assert len(keys) == 51


def test_keys_do_not_show_themselves() -> None:
    assert repr(LinkKeys(PSK, PSK)) == "LinkKeys(secret)"


@pytest.mark.parametrize("point", LOW_ORDER)
def test_points_of_low_order_are_refused_wherever_they_stand(point: bytes) -> None:
    with pytest.raises(LinkError) as error:
        NoiseInitiator(CALLER_KEY, point, PSK, PROLOGUE, ephemeral(1)).write(b"")
    assert error.value.label == "handshake"
    initiator = NoiseInitiator(CALLER_KEY, RECEIVER_KEY.public_key, PSK, PROLOGUE, ephemeral(1))
    message_1 = initiator.write(b"")
    with pytest.raises(LinkError):
        NoiseResponder(RECEIVER_KEY, PROLOGUE).read(point + message_1[32:])
    responder = NoiseResponder(RECEIVER_KEY, PROLOGUE)
    responder.read(message_1)
    message_2, _ = responder.write(PSK, ephemeral(2), b"")
    with pytest.raises(LinkError):
        initiator.read(point + message_2[32:])
