"""The two messages inside TLS: the same terms as in the handshake, without keys."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.wire.link.handshake import MAGIC as NOISE_MAGIC
from fastproxy.wire.link.hello import MAGIC, HelloInitiator, HelloResponder
from fastproxy.wire.link.terms import LENGTH, MAX_MESSAGE_BYTES, OPENING, build_choice, build_params
from tests.wire.link.parties import (
    CALLER_PARAMS,
    RECEIVER_PARAMS,
    label_of,
    make_initiator,
    make_responder,
    opened,
    refused,
)

MESSAGE_1 = HelloInitiator(CALLER_PARAMS).message
MESSAGE_2 = HelloResponder(RECEIVER_PARAMS).answer(MESSAGE_1)[0]


def test_both_sides_agree_however_the_messages_are_cut() -> None:
    initiator, responder = HelloInitiator(CALLER_PARAMS), HelloResponder(RECEIVER_PARAMS)
    for size in range(len(MESSAGE_1)):
        assert responder.message_bytes(MESSAGE_1[:size]) == 0
    assert responder.message_bytes(MESSAGE_1 + b"more") == len(MESSAGE_1)
    message_2, receiver = responder.answer(MESSAGE_1)
    for byte in message_2[:-1]:
        assert initiator.finish(bytes((byte,))) is None
    finished = initiator.finish(message_2[-1:] + b"first record")
    assert finished is not None
    caller, rest = finished
    assert rest == b"first record"
    assert caller[2:] == (b"", 1, 0, RECEIVER_PARAMS)
    assert receiver[2:] == (b"", 1, 0, CALLER_PARAMS)
    assert opened(receiver.opener, caller.sealer.seal(b"request")) == [b"request"]
    assert opened(caller.opener, receiver.sealer.seal(b"response")) == [b"response"]


def test_it_is_not_taken_outside_tls_nor_the_handshake_inside() -> None:
    assert refused(make_responder().message_bytes, MESSAGE_1) == "handshake"
    assert refused(HelloResponder(RECEIVER_PARAMS).message_bytes, make_initiator().message) == "handshake"
    assert MAGIC != NOISE_MAGIC


@pytest.mark.parametrize("size", [0, len(MESSAGE_1) - 7, MAX_MESSAGE_BYTES - 5, 65535])
def test_a_length_that_no_message_has_is_refused_before_the_message_comes(size: int) -> None:
    responder = HelloResponder(RECEIVER_PARAMS)
    assert refused(responder.message_bytes, MESSAGE_1[:4] + LENGTH.pack(size)) == "handshake"


def test_no_version_in_common_is_refused() -> None:
    opening = OPENING.pack(*OPENING.unpack_from(MESSAGE_1)[:2], 2, 0)
    message = opening + MESSAGE_1[OPENING.size :]
    assert refused(HelloResponder(RECEIVER_PARAMS).answer, message) == "version"


@pytest.mark.parametrize(("version", "features"), [(0, 0), (2, 0), (1, 1)])
def test_a_choice_that_was_not_offered_ends_the_link(version: int, features: int) -> None:
    choice = build_choice(version, features, RECEIVER_PARAMS)
    assert refused(HelloInitiator(CALLER_PARAMS).finish, LENGTH.pack(len(choice)) + choice) == "version"


@given(st.binary(max_size=100))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_taken_or_refused(data: bytes) -> None:
    responder = HelloResponder(RECEIVER_PARAMS)

    def take_1() -> None:
        message = OPENING.pack(MAGIC, 8 + len(data), 1, 0) + data
        size_bytes = responder.message_bytes(message)
        assert build_params(responder.answer(message[:size_bytes])[1].params) == data[:12]

    def take_2() -> None:
        assert HelloInitiator(CALLER_PARAMS).finish(LENGTH.pack(len(data)) + data) is not None

    assert label_of(lambda: responder.message_bytes(data)) in ("", "handshake")
    assert label_of(take_1) in ("", "handshake")
    assert label_of(take_2) in ("", "handshake", "version")
