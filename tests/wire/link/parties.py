"""Two parties of a link with fixed keys, and short ways to let them meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.errors import LinkError
from fastproxy.wire.link.frames import HEADER, HEADER_BYTES, LENGTH_BITS, LENGTH_MASK
from fastproxy.wire.link.handshake import (
    MAC_BYTES,
    MAGIC,
    NO_PSK,
    Initiator,
    Responder,
    mac_bytes,
    mac_key,
    prologue,
)
from fastproxy.wire.link.noise import NoiseInitiator, NoiseResponder
from fastproxy.wire.link.records import AnyOpener
from fastproxy.wire.link.terms import LENGTH, OPENING, Established, Params

NAME = "search-in"
CALLER_KEY = PrivateKey(b"\x11" * 32)
RECEIVER_KEY = PrivateKey(b"\x22" * 32)
STRANGER_KEY = PrivateKey(b"\x33" * 32)
OTHER_RECEIVER_KEY = PrivateKey(b"\x66" * 32)
PSK = b"\x55" * 32
CALLER_PARAMS = Params(1 << 20, 1 << 24, 0)
RECEIVER_PARAMS = Params(1 << 19, 1 << 23, 4096)
LOW_ORDER = (
    bytes(32),
    b"\1" + bytes(31),
    bytes.fromhex("ecffffffffffffffffffffffffffffff" + "ff" * 15 + "7f"),
)
"""Points of low order: 0, 1 and p - 1 (RFC 7748, section 6.1)."""


class Link(NamedTuple):
    """A link that was made: both sides of it, and the two messages."""

    caller: Established
    receiver: Established
    message_1: bytes
    message_2: bytes


class Frame(NamedTuple):
    """A frame; kind with its flags."""

    kind: int
    stream: int
    payload: bytes


def ephemeral(number: int) -> PrivateKey:
    """An ephemeral key; those of different numbers differ."""
    return PrivateKey(number.to_bytes(32, "big"))


def make_initiator(
    number: int = 1,
    *,
    key: PrivateKey = CALLER_KEY,
    name: str = NAME,
    receiver: PrivateKey = RECEIVER_KEY,
    psk: bytes = NO_PSK,
) -> Initiator:
    """The caller, about to send message 1."""
    return Initiator(key, name, receiver.public_key, psk, CALLER_PARAMS, ephemeral(number))


def make_responder(
    *, name: str = NAME, keys: tuple[PrivateKey, ...] = (RECEIVER_KEY,), psk: bytes = NO_PSK
) -> Responder:
    """A receiver that knows the one caller."""
    return Responder(name, keys, {CALLER_KEY.public_key: psk}.get, RECEIVER_PARAMS)


def answer(responder: Responder, message: bytes, number: int = 2) -> tuple[bytes, Established]:
    """What a receiver does with the first bytes of a connection: all three steps."""
    size_bytes = responder.message_bytes(message)
    if size_bytes != len(message):
        raise LinkError("handshake", "cut, or followed by something")
    return responder.answer(message, responder.check(message), ephemeral(number))


def make_link(number: int = 1, *, psk: bytes = NO_PSK) -> Link:
    """A link between the two; links of different numbers have different keys."""
    initiator = make_initiator(number, psk=psk)
    message_2, receiver = answer(make_responder(psk=psk), initiator.message)
    finished = initiator.finish(message_2)
    assert finished is not None
    return Link(finished[0], receiver, initiator.message, message_2)


def refused(act: Callable[..., object], *args: object) -> str:
    """The label of the error that this raises."""
    with pytest.raises(LinkError) as error:
        act(*args)
    return error.value.label


def label_of(act: Callable[[], object]) -> str:
    """The label of the error that this ends in, or nothing when it doesn't."""
    try:
        act()
    except LinkError as error:
        return error.label
    return ""


def opened(opener: AnyOpener, *pieces: bytes) -> list[bytes]:
    """The plaintexts in these pieces of a stream of bytes."""
    return [plaintext for piece in pieces for plaintext in opener.feed(piece)]


def taken(opener: AnyOpener, *pieces: bytes) -> tuple[list[bytes], str]:
    """The plaintexts in these pieces until one is refused, and the label of the error that refuses it."""
    plaintexts: list[bytes] = []
    try:
        for piece in pieces:
            for plaintext in opener.feed(piece):
                plaintexts.append(plaintext)  # those before the error count
    except LinkError as error:
        return plaintexts, error.label
    return plaintexts, ""


def flipped(message: bytes, bit: int) -> bytes:
    """A message with one bit changed."""
    changed = bytearray(message)
    changed[bit >> 3] ^= 1 << (bit & 7)
    return bytes(changed)


def with_mac(message: bytes, receiver: PrivateKey = RECEIVER_KEY) -> bytes:
    """A message 1 with its check made anew: anyone who knows the receiver's public key can."""
    return message[:-MAC_BYTES] + mac_bytes(mac_key(receiver.public_key), message[:-MAC_BYTES])


def odd_message_1(
    payload: bytes, *, versions: int = 1, features: int = 0, key: PrivateKey = CALLER_KEY
) -> tuple[bytes, NoiseInitiator]:
    """A message 1 as an initiator would make it that says other things."""
    size_bytes = OPENING.size + 96 + len(payload) + MAC_BYTES
    opening = OPENING.pack(MAGIC, (size_bytes - 6) & 0xFFFF, versions, features)
    noise = NoiseInitiator(
        key, RECEIVER_KEY.public_key, NO_PSK, prologue(NAME.encode(), opening), ephemeral(1)
    )
    return with_mac(opening + noise.write(payload) + bytes(MAC_BYTES)), noise


def odd_message_2(message_1: bytes, payload: bytes, number: int = 2) -> bytes:
    """The receiver's answer to a message 1, when it says other things."""
    opening = message_1[: OPENING.size]
    noise = NoiseResponder(RECEIVER_KEY, prologue(NAME.encode(), opening))
    noise.read(message_1[OPENING.size : -MAC_BYTES])
    sealed, _ = noise.write(NO_PSK, ephemeral(number), payload)
    return LENGTH.pack(len(sealed)) + sealed


def frames_of(plaintext: bytes) -> list[Frame]:
    """The frames of a record."""
    frames, at = [], 0
    while at < len(plaintext):
        word, stream = HEADER.unpack_from(plaintext, at)
        end = at + HEADER_BYTES + (word & LENGTH_MASK)
        frames.append(Frame(word >> LENGTH_BITS, stream, plaintext[at + HEADER_BYTES : end]))
        at = end
    assert at == len(plaintext)
    return frames
