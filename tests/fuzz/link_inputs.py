"""What a stranger, a caller or a receiver can send while a link is made, and records after that.

The first byte of an input says what the rest is. As no fuzzer guesses a seal, most ways give what it sends a
true one, so that what lies behind is reached too.
"""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.wire.link.frames import parse_goaway, parse_interim, parse_label, parse_window
from fastproxy.wire.link.handshake import MAC_BYTES, MAGIC, mac_bytes, mac_key
from fastproxy.wire.link.hello import MAGIC as HELLO_MAGIC
from fastproxy.wire.link.hello import HelloInitiator, HelloResponder
from fastproxy.wire.link.records import MAX_PLAINTEXT_BYTES, Opener, PlainOpener, Sealer
from fastproxy.wire.link.terms import LENGTH, MAX_MESSAGE_BYTES, OPENING, Established
from tests.wire.link.parties import (
    CALLER_PARAMS,
    RECEIVER_KEY,
    RECEIVER_PARAMS,
    answer,
    label_of,
    make_initiator,
    make_responder,
    odd_message_1,
    odd_message_2,
    with_mac,
)

LABELS = {"", "mac", "handshake", "unknown_caller", "version", "record", "frame", "window"}
MESSAGE_1 = make_initiator().message
RESPONDER = make_responder()
HELLO_RESPONDER = HelloResponder(RECEIVER_PARAMS)
KEY = bytes(32)
PARSERS: tuple[Callable[[bytes], object], ...] = (parse_window, parse_goaway, parse_label, parse_interim)


def first_bytes(data: bytes) -> None:
    """What a stranger sends: bytes of any kind, to a port that takes links."""
    size_bytes = RESPONDER.message_bytes(data)
    assert size_bytes <= min(len(data), MAX_MESSAGE_BYTES)
    if size_bytes:
        answer(RESPONDER, data[:size_bytes])
        raise AssertionError("nobody guesses a message 1")


def checked_bytes(data: bytes) -> None:
    """What a stranger sends that knows the receiver's public key."""
    opening = OPENING.pack(MAGIC, (OPENING.size - 6 + len(data) + MAC_BYTES) & 0xFFFF, 1, 0)
    message = opening + data
    answer(RESPONDER, message + mac_bytes(mac_key(RECEIVER_KEY.public_key), message))
    raise AssertionError("nobody guesses a sealed key")


def changed_message(data: bytes) -> None:
    """A message 1 of the caller, with bytes changed on the way and the check made anew."""
    changed = bytearray(MESSAGE_1)
    for at, value in zip(data[::2], data[1::2], strict=False):
        changed[at % len(changed)] ^= value
    answer(RESPONDER, with_mac(bytes(changed)))
    assert changed[:-MAC_BYTES] == MESSAGE_1[:-MAC_BYTES], "a change was not found"


def callers_words(data: bytes) -> None:
    """A message 1 of a caller that says odd things: versions, features, params."""
    words = data[:8].ljust(8, b"\0")
    versions, features = int.from_bytes(words[:4], "big"), int.from_bytes(words[4:], "big")
    message, _ = odd_message_1(data[8:], versions=versions, features=features)
    message_2, established = answer(RESPONDER, message)
    check(established)
    assert versions & 1
    assert len(message_2) <= MAX_MESSAGE_BYTES


def answer_bytes(data: bytes) -> None:
    """What comes back to a caller from whoever isn't the receiver, in two pieces."""
    initiator = make_initiator()
    cut = data[0] if data else 0
    for piece in (data[1:cut], data[max(cut, 1) :]):
        assert initiator.finish(piece) is None, "nobody guesses a message 2"


def receivers_words(data: bytes) -> None:
    """A message 2 of the receiver that says odd things."""
    if len(data) > 2 * MAX_MESSAGE_BYTES:
        return
    finished = make_initiator().finish(odd_message_2(MESSAGE_1, data) + b"behind")
    if finished is not None:
        check(finished[0])
        assert finished[1] == b"behind"


def hello(data: bytes) -> None:
    """The messages inside TLS, of both sides."""
    message = OPENING.pack(HELLO_MAGIC, (8 + len(data)) & 0xFFFF, 1, 0) + data
    size_bytes = HELLO_RESPONDER.message_bytes(message)
    if size_bytes:
        check(HELLO_RESPONDER.answer(message[:size_bytes])[1])
    finished = HelloInitiator(CALLER_PARAMS).finish(LENGTH.pack(len(data) & 0xFFFF) + data)
    if finished is not None:
        check(finished[0])


def record_bytes(data: bytes) -> None:
    """Records by whoever has no key, in pieces of odd sizes; inside TLS they are taken for what they say."""
    piece_bytes = data[0] + 1 if data else 1
    plain, sealed = PlainOpener(), Opener(KEY)
    for at in range(1, len(data), piece_bytes):
        for plaintext in plain.feed(data[at : at + piece_bytes]):
            assert 0 < len(plaintext) <= MAX_PLAINTEXT_BYTES
    for at in range(1, len(data), piece_bytes):
        assert list(sealed.feed(data[at : at + piece_bytes])) == [], "nobody guesses a record"


def changed_records(data: bytes) -> None:
    """Records with a rekey between them, of which a piece is changed, sent twice or left out."""
    start, size_bytes, how, *text = data.ljust(4, b"a")
    sealer, opener = Sealer(KEY), Opener(KEY)
    texts = [bytes(text), b"rekey", b"last"]
    stream = sealer.seal(texts[0]) + sealer.seal(texts[1])
    sealer.rekey()
    stream += sealer.seal(texts[2])
    end = start + size_bytes
    piece = stream[start:end]
    changed = (bytes(byte ^ 1 for byte in piece), piece * 2, b"")[how % 3]
    opened = []
    for plaintext in opener.feed(stream[:start] + changed + stream[end:]):
        opened.append(plaintext)
        assert opened == texts[: len(opened)], "what opens is what was sealed"
        if len(opened) == 2:
            opener.rekey()


def payloads(data: bytes) -> None:
    """The payloads of frames; the first byte says of which kind."""
    if data:
        PARSERS[data[0] % len(PARSERS)](data[1:])


WAYS = (
    first_bytes,
    checked_bytes,
    changed_message,
    callers_words,
    answer_bytes,
    receivers_words,
    hello,
    record_bytes,
    changed_records,
    payloads,
)


def check(established: Established) -> None:
    """A link that was made has terms within their bounds."""
    assert established.version == 1
    assert established.features == 0
    assert max(established.params[:2]) < 2**31


def take(data: bytes) -> None:
    """Take one input: a valid result or a `LinkError`, nothing else."""
    label = label_of(lambda: WAYS[data[0] % len(WAYS)](data[1:])) if data else ""
    assert label in LABELS, label
