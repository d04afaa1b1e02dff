"""A request is repeated only where twice is the same as once, or never happened."""

import pytest

from fastproxy import errors
from fastproxy.errors import (
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    CONNECTION_LOST,
    LINK_REFUSED,
    POOL_EXHAUSTED,
    STREAM_REFUSED,
    ProxyError,
)
from fastproxy.policy.retry import may_repeat

NOT_TAKEN = (CONNECT_REFUSED, CONNECT_TIMEOUT, LINK_REFUSED, POOL_EXHAUSTED, STREAM_REFUSED)


def ask(
    failure: ProxyError,
    method: bytes,
    *,
    attempts: int = 1,
    resends: int = 0,
    body_in_hand: bool = True,
    left_s: float = 1.0,
) -> bool:
    return may_repeat(
        failure,
        method,
        attempts=attempts,
        attempts_limit=3,
        resends=resends,
        body_in_hand=body_in_hand,
        left_s=left_s,
    )


@pytest.mark.parametrize("cause", [*NOT_TAKEN, CONNECTION_LOST])
@pytest.mark.parametrize("method", [b"GET", b"POST"])
def test_nothing_was_sent(cause: errors.Cause, method: bytes) -> None:
    assert ask(ProxyError(cause), method)
    assert ask(ProxyError(cause), method, attempts=2, resends=1)
    assert not ask(ProxyError(cause), method, attempts=3)
    assert not ask(ProxyError(cause), method, left_s=0.0)
    assert not ask(ProxyError(cause), method, body_in_hand=False)


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"])
def test_idempotent_requests_are_resent_once(method: bytes) -> None:
    lost = ProxyError(CONNECTION_LOST, sent=True)
    assert ask(lost, method)
    assert not ask(lost, method, resends=1)
    assert not ask(lost, method, body_in_hand=False)
    assert not ask(lost, method, left_s=-1.0)
    assert not ask(lost, method, attempts=3)


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"get", b"CONNECT", b"BREW", b""])
def test_others_never_once_a_byte_may_have_been_read(method: bytes) -> None:
    for cause in errors.TABLE.values():
        assert not ask(ProxyError(cause, sent=True), method)


@pytest.mark.parametrize(
    "cause",
    [cause for cause in errors.TABLE.values() if cause not in (*NOT_TAKEN, CONNECTION_LOST)],
    ids=lambda cause: cause.label,
)
@pytest.mark.parametrize("sent", [False, True])
def test_other_failures_are_final(cause: errors.Cause, sent: bool) -> None:
    assert not ask(ProxyError(cause, sent=sent), b"GET")
