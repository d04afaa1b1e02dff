"""The heads in the first record: round trips, and that a head which is cut or odd is refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.errors import ENVELOPE_MALFORMED, RESPONSE_BROKEN, ProxyError
from fastproxy.wire.envelope import (
    Challenge,
    Refusal,
    RequestHead,
    ResponseHead,
    ServiceResponse,
    build_request_head,
    build_response_head,
    name_field,
    parse_request_head,
    parse_response_head,
    service_field,
)
from fastproxy.wire.records import Chunk

TOKENS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
RESPONSE_HEADS = st.one_of(
    st.binary(max_size=50).map(ServiceResponse),
    st.builds(Refusal, TOKENS, st.binary(max_size=50)),
    st.binary(min_size=16, max_size=16).filter(any).map(Challenge),
)


@given(st.integers(0, 2**32 - 1), TOKENS, TOKENS, st.binary(max_size=100))
@settings(max_examples=60, deadline=None)
def test_a_request_head_round_trips(budget_ms: int, exchange_id: str, service: str, http: bytes) -> None:
    meta = build_request_head(budget_ms, exchange_id, service_field(service), http)
    assert parse_request_head(meta) == RequestHead(budget_ms, exchange_id, service, http)


@given(RESPONSE_HEADS)
@settings(max_examples=60, deadline=None)
def test_a_response_head_round_trips(head: ResponseHead) -> None:
    assert parse_response_head(Chunk(build_response_head(head), b"", True)) == head


def test_a_cut_request_head_is_refused() -> None:
    whole = build_request_head(1, "id", service_field("service"), b"")
    for size in range(len(whole)):
        with pytest.raises(ProxyError) as refused:
            parse_request_head(whole[:size])
        assert refused.value.cause is ENVELOPE_MALFORMED


@pytest.mark.parametrize("odd", [b"", b"a b", b"a\r\nb", b"\xc3\xa4", b"\0", b"a\x7f"])
def test_fields_that_reach_logs_and_headers_are_visible_ascii(odd: bytes) -> None:
    field = bytes((len(odd),)) + odd
    for meta in (bytes(4) + field + b"\x01s", bytes(4) + b"\x01e" + field):
        with pytest.raises(ProxyError) as refused:
            parse_request_head(meta)
        assert refused.value.cause is ENVELOPE_MALFORMED
    with pytest.raises(ProxyError) as broken:
        parse_response_head(Chunk(b"\x02" + field, b"", True))
    assert broken.value.cause is RESPONSE_BROKEN
    with pytest.raises(ValueError, match="visible ASCII"):
        service_field(odd.decode())
    with pytest.raises(ValueError, match="visible ASCII"):
        build_response_head(Refusal(odd.decode(), b""))


@pytest.mark.parametrize(
    "first",
    [
        Chunk(b"", b"", True),
        Chunk(b"\x00", b"", True),
        Chunk(b"\x04HTTP", b"", True),
        Chunk(b"\x02", b"", True),
        Chunk(b"\x02\x05abc", b"", True),
        Chunk(b"\x03" + bytes(16), b"", True),
        Chunk(b"\x03" + b"e" * 15, b"", True),
        Chunk(b"\x03" + b"e" * 17, b"", True),
        Chunk(b"\x03" + b"e" * 16, b"data", True),
        Chunk(b"\x03" + b"e" * 16, b"", False),
    ],
)
def test_a_response_head_of_no_known_form_is_refused(first: Chunk) -> None:
    with pytest.raises(ProxyError) as refused:
        parse_response_head(first)
    assert refused.value.cause is RESPONSE_BROKEN


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_head_or_a_row_of_the_error_table(meta: bytes) -> None:
    for parse in (parse_request_head, lambda meta: parse_response_head(Chunk(meta, b"", True))):
        with contextlib.suppress(ProxyError):
            parse(meta)


def test_an_exchange_id_fits_its_field() -> None:
    with pytest.raises(ValueError, match="255 bytes"):
        build_request_head(0, "e" * 256, service_field("service"), b"")


@pytest.mark.parametrize("budget_ms", [-1, 2**32])
def test_a_budget_fits_32_bits(budget_ms: int) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        build_request_head(budget_ms, "id", service_field("service"), b"")


@pytest.mark.parametrize("name", ["", "n" * 256, "ä" * 128])
def test_a_receiver_name_has_1_to_255_bytes(name: str) -> None:
    with pytest.raises(ValueError, match="between 1 and 255"):
        name_field(name)
