"""Until when? The deadline of an exchange, from all who have a say in it.

The earliest wins: the route's timeout, an absolute time or a budget named by the caller, and the budget that
the out proxy sealed into the request. Inside a process a deadline is a point on the monotonic clock; between
processes only the remaining budget travels, since their clocks don't agree.
Knows nothing of timers or of what is done when a deadline passes.
"""

from __future__ import annotations

import re

from fastproxy.errors import DEADLINE_EXCEEDED, MALFORMED_REQUEST, ProxyError

DEAD_TIME_HEADER = b"request_dead_time"
BUDGET_HEADER = b"fastproxy-timeout-ms"

# Fifteen digits hold any time that makes sense, and bound what is handed to int().
_WHOLE_NUMBER = re.compile(rb"[0-9]{1,15}")


def set_deadline(
    now_s: float,
    now_unix_s: float,
    timeout_s: float,
    *,
    dead_time: bytes | None = None,
    timeout_ms: bytes | None = None,
    sealed_budget_ms: int = 0,
) -> float:
    """Set the deadline of an exchange when its request arrives.

    Args:
        now_s: monotonic time in seconds.
        now_unix_s: seconds since 1970 by the wall clock.
        timeout_s: the route's timeout.
        dead_time: value of the header `request_dead_time`, absolute, in whole seconds since 1970.
        timeout_ms: value of the header `fastproxy-timeout-ms`, the caller's budget.
        sealed_budget_ms: the budget from the envelope; 0 for none.

    Returns:
        The deadline as monotonic time in seconds.

    Raises:
        ProxyError: MALFORMED_REQUEST for a header that is no number, DEADLINE_EXCEEDED when it has passed.
    """
    left_s = timeout_s
    if sealed_budget_ms:
        left_s = min(left_s, sealed_budget_ms / 1000)
    if timeout_ms is not None:
        left_s = min(left_s, _whole_number(timeout_ms, BUDGET_HEADER) / 1000)
    if dead_time is not None:
        left_s = min(left_s, _whole_number(dead_time, DEAD_TIME_HEADER) - now_unix_s)
    if left_s <= 0:
        raise ProxyError(
            DEADLINE_EXCEEDED,
            "the deadline had passed when the request arrived",
            numbers={"timeout_s": timeout_s, "budget_left_s": left_s},
        )
    return now_s + left_s


def deadline_passed(phase: str) -> ProxyError:
    """The error of an exchange whose time is used up.

    Args:
        phase: what is about to be done, or was being done.
    """
    return ProxyError(DEADLINE_EXCEEDED, f"the time was used up in phase {phase}", phase=phase)


def _whole_number(value: bytes, header: bytes) -> int:
    if _WHOLE_NUMBER.fullmatch(value) is None:
        raise ProxyError(MALFORMED_REQUEST, f"the header {header.decode()} must be a whole number")
    return int(value)
