"""Leaving HTTP on a connection, as far as heads tell of it (RFC 9110, section 7.8).

Upgrade is a matter of each hop, so it doesn't travel with the other fields: what a peer asks for is read into
`RequestHead.upgrade`, what an answer goes over to into `ResponseHead.upgrade`, and written anew for the next
hop. What passes after the 101 is the business of `tunnel.py`. Pure: bytes in, values out.
"""

from __future__ import annotations

import re

from fastproxy.errors import RESPONSE_MALFORMED, ProxyError
from fastproxy.model import RequestHead, ResponseHead

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_PROTOCOL = re.compile(_TOKEN + rb"(?:/" + _TOKEN + rb")?")
_STILL_HTTP = frozenset((b"h2c", b"h2", b"http", b"tls"))
"""Names of protocols that would carry HTTP in turn. Asking for them may be ignored, and is: requests must not
get past the judgement of a proxy inside a tunnel."""


def protocols(upgrade: bytes) -> bytes:
    """Return the protocols of an Upgrade field that can be gone over to, in lower case; b"" for none."""
    named = [each.strip(b" \t") for each in upgrade.lower().split(b",")]
    return b", ".join(
        [each for each in named if _PROTOCOL.fullmatch(each) and each.partition(b"/")[0] not in _STILL_HTTP]
    )


def upgrade_lines(head: RequestHead | ResponseHead) -> bytes:
    """Return the lines that ask the next hop to leave HTTP, or tell it so; b"" when nobody wants to."""
    return b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade if head.upgrade else b""


def check_switch(asked: bytes, head: ResponseHead) -> None:
    """Refuse a 101 that goes over to what nobody asked for.

    Args:
        asked: `RequestHead.upgrade` of the request.
        head: of the 101.

    Raises:
        ProxyError: RESPONSE_MALFORMED.
    """
    if not set(head.upgrade.split(b", ")) <= set(asked.split(b", ")):
        raise ProxyError(RESPONSE_MALFORMED, "a change to a protocol that nobody asked for")
