"""The earliest deadline wins."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastproxy.errors import DEADLINE_EXCEEDED, MALFORMED_REQUEST, ProxyError
from fastproxy.policy.deadline import deadline_passed, set_deadline

NOW_S, NOW_UNIX_S = 50.0, 1_800_000_000.25


@pytest.mark.parametrize(
    ("dead_time", "timeout_ms", "sealed_budget_ms", "left_s"),
    [
        (None, None, 0, 2.0),
        (b"1800000001", None, 0, 0.75),
        (b"1800000100", None, 0, 2.0),
        (b"999999999999999", b"999999999999999", 0xFFFFFFFF, 2.0),
        (None, b"150", 0, 0.15),
        (None, None, 1999, 1.999),
        (b"1800000001", b"700", 800, 0.7),
        (b"1800000001", b"800", 700, 0.7),
    ],
)
def test_the_earliest_wins(
    dead_time: bytes | None, timeout_ms: bytes | None, sealed_budget_ms: int, left_s: float
) -> None:
    deadline_s = set_deadline(
        NOW_S,
        NOW_UNIX_S,
        2.0,
        dead_time=dead_time,
        timeout_ms=timeout_ms,
        sealed_budget_ms=sealed_budget_ms,
    )
    assert deadline_s == pytest.approx(NOW_S + left_s)


@pytest.mark.parametrize("dead_time", [b"1800000000", b"1799999999", b"0"])
def test_a_dead_time_that_has_passed(dead_time: bytes) -> None:
    with pytest.raises(ProxyError) as refusal:
        set_deadline(NOW_S, NOW_UNIX_S, 2.0, dead_time=dead_time)
    assert refusal.value.cause is DEADLINE_EXCEEDED
    assert refusal.value.phase == "deadline"


def test_a_budget_of_nothing() -> None:
    with pytest.raises(ProxyError) as refusal:
        set_deadline(NOW_S, NOW_UNIX_S, 2.0, timeout_ms=b"0")
    assert refusal.value.cause is DEADLINE_EXCEEDED


GARBAGE = [b"", b"-1", b"+1", b"1.5", b"1e3", b" 1", b"1 ", b"1_0", b"0x10", b"1\n", b"1,2", b"soon",
           b"9" * 16, "١".encode(), b"\xff"]  # fmt: skip


@pytest.mark.parametrize("value", GARBAGE)
def test_garbage_is_malformed(value: bytes) -> None:
    for headers in ({"dead_time": value}, {"timeout_ms": value}):
        with pytest.raises(ProxyError) as refusal:
            set_deadline(NOW_S, NOW_UNIX_S, 2.0, **headers)  # type: ignore[arg-type]
        assert refusal.value.cause is MALFORMED_REQUEST


@given(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=20))
def test_no_header_lengthens_the_route_timeout(dead_time: bytes | None, timeout_ms: bytes | None) -> None:
    try:
        deadline_s = set_deadline(NOW_S, NOW_UNIX_S, 2.0, dead_time=dead_time, timeout_ms=timeout_ms)
    except ProxyError:
        return
    assert NOW_S < deadline_s <= NOW_S + 2.0


def test_used_up_time_is_an_error_that_names_the_phase() -> None:
    error = deadline_passed("connect")
    assert error.cause is DEADLINE_EXCEEDED
    assert error.phase == "connect"
    assert "connect" in error.detail
