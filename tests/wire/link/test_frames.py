"""Frames: what is built is read again, and what has another form is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.wire.link import frames
from fastproxy.wire.link.frames import (
    ACK,
    COMPRESSED,
    DATA,
    END,
    EXPECTS,
    GOAWAY,
    IDLE,
    MAX_CREDIT_BYTES,
    PAD,
    REQUEST,
    build_goaway,
    build_interim,
    build_refused,
    build_reset,
    build_window,
    frame,
    parse_goaway,
    parse_interim,
    parse_label,
    parse_window,
)
from tests.wire.link.parties import Frame, frames_of, label_of, refused

LABELS = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=255)
PARSERS = (parse_window, parse_goaway, parse_label, parse_interim)


def test_a_header_is_kind_flags_length_and_stream() -> None:
    assert frame(REQUEST | END | EXPECTS, 0x01020304, b"abc") == bytes.fromhex("15000003 01020304 616263")
    assert frame(PAD, 0, bytes(0x1FF)) == bytes.fromhex("c00001ff 00000000") + bytes(0x1FF)


def test_kinds_and_flags_have_places_of_their_own() -> None:
    kinds = [frames.REQUEST, frames.RESPONSE, DATA, frames.TRAILERS, frames.INTERIM, frames.RESET]
    kinds += [frames.WINDOW, frames.PING, GOAWAY, frames.REFUSED, frames.REKEY, PAD]
    assert [kind >> 4 for kind in kinds] == list(range(1, 13))
    assert [kind & 15 for kind in kinds] == [0] * 12
    assert (END, COMPRESSED, EXPECTS, ACK) == (1, 2, 4, 8)


@given(
    st.lists(
        st.builds(Frame, st.integers(1, 255), st.integers(0, 2**32 - 1), st.binary(max_size=300)), max_size=8
    )
)
@settings(max_examples=100, deadline=None)
def test_frames_that_follow_each_other_are_told_apart(expected: list[Frame]) -> None:
    assert frames_of(b"".join(frame(*each) for each in expected)) == expected


@given(st.integers(1, MAX_CREDIT_BYTES))
def test_credit(credit_bytes: int) -> None:
    assert parse_window(build_window(credit_bytes)) == credit_bytes


@pytest.mark.parametrize("credit_bytes", [0, MAX_CREDIT_BYTES + 1, 2**32 - 1])
def test_credit_that_no_window_takes_is_refused(credit_bytes: int) -> None:
    assert refused(parse_window, build_window(credit_bytes)) == "window"


@given(st.integers(0, 2**32 - 1), st.integers(0, IDLE))
def test_a_goodbye(last_stream: int, reason: int) -> None:
    assert parse_goaway(build_goaway(last_stream, reason)) == (last_stream, reason)


def test_a_goodbye_for_no_known_reason_is_refused() -> None:
    assert refused(parse_goaway, build_goaway(7, IDLE + 1)) == "frame"


@given(LABELS)
def test_a_label(label: str) -> None:
    assert parse_label(build_reset(label)) == label
    if label:
        assert parse_label(build_refused(label)) == label


def test_a_refusal_has_a_label() -> None:
    with pytest.raises(ValueError, match="label"):
        build_refused("")


@pytest.mark.parametrize("label", ["x" * 256, "two words", "line\n", "ü", "\0"])
def test_a_label_of_another_form_is_not_built(label: str) -> None:
    for build in (build_reset, build_refused):
        with pytest.raises(ValueError, match="label"):
            build(label)


@pytest.mark.parametrize(
    "payload", [b"", b"\x01", b"\x01ab", b"\x02a", b"\x01 ", b"\x01\n", b"\x01\xff", b"\0a"]
)
def test_a_label_of_another_form_is_refused(payload: bytes) -> None:
    assert refused(parse_label, payload) == "frame"


@given(st.integers(100, 199).filter(lambda status: status != 101), st.binary(max_size=50))
def test_an_interim_answer(status: int, fields: bytes) -> None:
    assert parse_interim(build_interim(status, fields)) == (status, fields)


@pytest.mark.parametrize("status", [0, 99, 101, 200, 65535])
def test_an_interim_answer_of_another_status_is_refused(status: int) -> None:
    assert refused(parse_interim, build_interim(status, b"")) == "frame"


@pytest.mark.parametrize("parse", [parse_window, parse_goaway])
@pytest.mark.parametrize("size", [0, 3, 6])
def test_a_payload_of_another_length_is_refused(parse: object, size: int) -> None:
    assert callable(parse)
    assert refused(parse, b"\x01" * size) == "frame"


def test_an_interim_answer_that_is_cut_is_refused() -> None:
    assert refused(parse_interim, b"\0") == "frame"


@given(st.binary(max_size=20))
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_taken_or_refused(payload: bytes) -> None:
    for parse in PARSERS:
        assert label_of(lambda parse=parse: parse(payload)) in ("", "frame", "window")  # type: ignore[misc]
