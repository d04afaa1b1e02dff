"""Once more? Whether a failed attempt may be repeated.

The rule of RFC 9110, section 9.2.2: a request that the next hop may have acted on is sent again only when
doing it twice comes to the same as doing it once.
Knows nothing of endpoints: where the next attempt goes is `balance`'s to say.
"""

from __future__ import annotations

from fastproxy.errors import (
    CONNECT_REFUSED,
    CONNECT_TIMEOUT,
    CONNECTION_LOST,
    LINK_REFUSED,
    POOL_EXHAUSTED,
    STREAM_REFUSED,
    ProxyError,
)

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"TRACE"))
"""RFC 9110, section 9.2.2."""

_NOT_TAKEN = frozenset(
    cause.label for cause in (CONNECT_REFUSED, CONNECT_TIMEOUT, LINK_REFUSED, POOL_EXHAUSTED, STREAM_REFUSED)
)

LONGEST_RESENDS = 1
"""How often a request goes out again that the next hop may have read."""


def may_repeat(
    failure: ProxyError,
    method: bytes,
    *,
    attempts: int,
    attempts_limit: int,
    resends: int,
    body_in_hand: bool,
    left_s: float,
) -> bool:
    """Say whether an exchange may be tried once more after a failed attempt.

    | what happened                                              | method     | repeated                 |
    |------------------------------------------------------------|------------|--------------------------|
    | no connection: refused, timed out, none free               | any        | up to the attempts limit |
    | the next hop has proven that it took nothing               | any        | up to the attempts limit |
    | connection lost before a byte was written                  | any        | up to the attempts limit |
    | connection lost after that                                 | idempotent | once                     |
    |                                                            | other      | never                    |
    | anything else: the next hop answered, or time is up        | any        | never                    |

    And in no case without the body from its first byte, or past the deadline.

    Args:
        failure: what the attempt ended with; its `sent` says whether a byte may have reached the next hop.
        method: as sent.
        attempts: attempts made so far, this one included.
        attempts_limit: attempts allowed in all.
        resends: attempts so far that followed one of which the next hop may have read something.
        body_in_hand: whether the request's body can be sent from its start.
        left_s: seconds until the deadline.
    """
    if not body_in_hand or left_s <= 0 or attempts >= attempts_limit:
        return False
    if not failure.sent and (failure.cause is CONNECTION_LOST or failure.cause.label in _NOT_TAKEN):
        return True
    return failure.cause is CONNECTION_LOST and method in IDEMPOTENT and resends < LONGEST_RESENDS
