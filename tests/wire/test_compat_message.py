"""The protobuf messages of wire format v1: one form each, and whatever has another is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.errors import ENVELOPE_MALFORMED, RESPONSE_UNSEALED, ProxyError
from fastproxy.wire.compat.message import (
    RequestSettings,
    ResponseSettings,
    decode_request,
    decode_response,
    encode_request,
    encode_request_settings,
    encode_response,
    encode_response_settings,
)

NAMES = st.text(max_size=60).map(str.encode)
PAYLOADS = st.one_of(st.binary(max_size=200), st.integers(100, 20_000).map(bytes))
ALGORITHMS = st.one_of(st.integers(0, 2), st.integers(0, 2**31 - 1))
REQUEST_SETTINGS = st.builds(
    RequestSettings, st.booleans(), st.booleans(), NAMES, st.booleans(), NAMES, ALGORITHMS
)
RESPONSE_SETTINGS = st.builds(ResponseSettings, st.booleans(), st.booleans(), NAMES, ALGORITHMS)

# A request, field by field, as protobuf lays it out.
FIELDS = (
    b"\x0a\x04abcd",
    b"\x10\x01",
    b"\x1a\x07payload",
    b"\x20\x01",
    b"\x2a\x02s1",
    b"\x30\x01",
    b"\x3a\x04k128",
    b"\x40\x01",
)
WHOLE = b"".join(FIELDS)
RESPONSE_FIELDS = (b"\x0a\x07payload", b"\x10\x01", b"\x18\x01", b"\x22\x04k128", b"\x28\x01")
RESPONSE = b"".join(RESPONSE_FIELDS)


def assert_malformed(message: bytes) -> None:
    with pytest.raises(ProxyError) as refused:
        decode_request(message)
    assert refused.value.cause is ENVELOPE_MALFORMED


def assert_unsealed(message: bytes) -> None:
    with pytest.raises(ProxyError) as refused:
        decode_response(message)
    assert refused.value.cause is RESPONSE_UNSEALED


def test_a_request_has_these_bytes() -> None:
    request = decode_request(WHOLE)
    assert (request.sign, request.payload) == (b"abcd", b"payload")
    assert request.settings == RequestSettings(True, True, b"s1", True, b"k128", 1)
    assert request.answer == RESPONSE[len(RESPONSE_FIELDS[0]) :]
    assert encode_request(b"abcd", b"payload", encode_request_settings(request.settings)) == WHOLE


def test_a_response_has_these_bytes() -> None:
    response = decode_response(RESPONSE)
    assert response.payload == b"payload"
    assert response.settings == ResponseSettings(True, True, b"k128", 1)
    assert encode_response(b"payload", encode_response_settings(response.settings)) == RESPONSE


def test_what_is_zero_is_absent() -> None:
    assert encode_request(b"", b"", encode_request_settings(RequestSettings())) == b""
    assert encode_response(b"", encode_response_settings(ResponseSettings())) == b""
    assert decode_request(b"").settings == RequestSettings()
    assert decode_response(b"").settings == ResponseSettings()


@given(NAMES, PAYLOADS, REQUEST_SETTINGS)
@settings(max_examples=100, deadline=None)
def test_a_request_round_trips(sign: bytes, payload: bytes, says: RequestSettings) -> None:
    sign = sign if says.sign_enable else b""
    request = decode_request(encode_request(sign, payload, encode_request_settings(says)))
    assert (request.sign, request.payload, request.settings) == (sign, payload, says)
    assert decode_response(request.answer).settings == ResponseSettings(
        says.compress, says.encrypt_enable, says.encrypt_key_name, says.compress_algorithm
    )


@given(PAYLOADS, RESPONSE_SETTINGS)
@settings(max_examples=100, deadline=None)
def test_a_response_round_trips(payload: bytes, says: ResponseSettings) -> None:
    response = decode_response(encode_response(payload, encode_response_settings(says)))
    assert (response.payload, response.settings) == (payload, says)


@given(
    st.one_of(
        st.binary(max_size=60),
        st.lists(st.sampled_from([*FIELDS, *RESPONSE_FIELDS, b"\x80", b"\x00"]), max_size=9).map(b"".join),
    )
)
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_or_the_one_form_of_what_they_mean(message: bytes) -> None:
    with contextlib.suppress(ProxyError):
        request = decode_request(message)
        assert (
            encode_request(request.sign, request.payload, encode_request_settings(request.settings))
            == message
        )
    with contextlib.suppress(ProxyError):
        response = decode_response(message)
        assert encode_response(response.payload, encode_response_settings(response.settings)) == message


def test_each_field_may_be_missing_but_the_flag_of_a_signature() -> None:
    for index in range(len(FIELDS)):
        rest = b"".join(FIELDS[:index] + FIELDS[index + 1 :])
        if FIELDS[index] == b"\x20\x01":
            assert_malformed(rest)
        else:
            decode_request(rest)


@pytest.mark.parametrize("index", range(len(FIELDS)))
def test_a_field_that_comes_twice_is_refused(index: int) -> None:
    field = FIELDS[index]
    emptied = field[:1] + b"\x00"
    for second in (field, emptied):
        assert_malformed(WHOLE + second)
        assert_malformed(second + WHOLE)
        assert_malformed(b"".join((*FIELDS[: index + 1], second, *FIELDS[index + 1 :])))


@pytest.mark.parametrize("index", range(len(RESPONSE_FIELDS)))
def test_a_field_of_a_response_that_comes_twice_is_refused(index: int) -> None:
    field = RESPONSE_FIELDS[index]
    assert_unsealed(RESPONSE + field)
    assert_unsealed(b"".join((*RESPONSE_FIELDS[: index + 1], field, *RESPONSE_FIELDS[index + 1 :])))


def test_fields_out_of_order_are_refused() -> None:
    assert_malformed(b"".join(reversed(FIELDS)))
    assert_unsealed(b"".join(reversed(RESPONSE_FIELDS)))


def test_a_cut_message_is_refused_unless_it_ends_with_a_field() -> None:
    ends = {len(b"".join(FIELDS[:count])) for count in range(4, 9)} | {0}
    for size in range(len(WHOLE) + 1):
        if size in ends:
            decode_request(WHOLE[:size])
        else:
            assert_malformed(WHOLE[:size])
    response_ends = {len(b"".join(RESPONSE_FIELDS[:count])) for count in range(6)}
    for size in range(len(RESPONSE) + 1):
        if size not in response_ends:
            assert_unsealed(RESPONSE[:size])


@pytest.mark.parametrize(
    "tail",
    [
        pytest.param(b"\x48\x01", id="unknown field"),
        pytest.param(b"\x4a\x01x", id="unknown counted field"),
        pytest.param(b"\x0d\x00\x00\x00\x00", id="wire type 5"),
        pytest.param(b"\x40\x80\x01" + b"\x00", id="trailing byte"),
        pytest.param(b"\x40\x81\x00", id="number longer than needed"),
        pytest.param(b"\x40\x00", id="zero written out"),
        pytest.param(b"\x40" + b"\xff" * 9 + b"\x01", id="negative int32"),
        pytest.param(b"\x40\xff\xff\xff\xff\x0f", id="more than an int32"),
        pytest.param(b"\x40" + b"\xff" * 11 + b"\x01", id="number of twelve bytes"),
        pytest.param(b"\x40" + b"\x80" * 5000, id="number without end"),
        pytest.param(b"\x40", id="number cut"),
        pytest.param(b"\x40\xff", id="number cut in its middle"),
        pytest.param(b"\xc0\x00\x01", id="tag longer than needed"),
        pytest.param(b"\x42\x01\x01", id="number as a counted field"),
    ],
)
def test_a_last_field_of_another_form_is_refused(tail: bytes) -> None:
    decode_request(b"".join(FIELDS[:7]))
    assert_malformed(b"".join(FIELDS[:7]) + tail)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"\x10\x02", id="flag of two"),
        pytest.param(b"\x10\x00", id="flag of zero"),
        pytest.param(b"\x20\x81\x00", id="flag longer than needed"),
        pytest.param(b"\x12\x01\x01", id="flag as a counted field"),
        pytest.param(b"\x18\x07", id="payload as a number"),
        pytest.param(b"\x1a\x00", id="empty payload written out"),
        pytest.param(b"\x1a\x87\x00payload", id="length longer than needed"),
        pytest.param(b"\x1a\xff\xff\xff\xff\x07p", id="length of 2 GiB"),
        pytest.param(b"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01p", id="negative length"),
        pytest.param(b"\x0a\x02\xff\xfe\x20\x01", id="signature not UTF-8"),
        pytest.param(b"\x2a\x02\xc3\x28", id="sign key name not UTF-8"),
        pytest.param(b"\x3a\x02\xc3\x28", id="encrypt key name not UTF-8"),
        pytest.param(b"\x2a\x80\x02" + b"n" * 256, id="key name of 256 bytes"),
        pytest.param(b"\x0a\x04abcd", id="signature without its flag"),
        pytest.param(b"<html>502 Bad Gateway</html>", id="an error page"),
    ],
)
def test_a_message_of_another_form_is_refused(message: bytes) -> None:
    assert_malformed(message)


def test_an_error_page_is_no_response() -> None:
    assert_unsealed(b"<html>502 Bad Gateway</html>")
    assert_unsealed(b"\x22\x80\x02" + b"n" * 256)


def test_what_has_no_place_in_a_message_is_not_encoded() -> None:
    with pytest.raises(ValueError, match="255 bytes"):
        encode_request_settings(RequestSettings(sign_key_name=b"n" * 256))
    for algorithm in (-1, 2**31):
        with pytest.raises(ValueError, match="int32"):
            encode_response_settings(ResponseSettings(compress_algorithm=algorithm))
