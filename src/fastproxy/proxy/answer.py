"""The one place where an error becomes an answer.

A status, a `Proxy-Status` header (RFC 9209), and a problem document (RFC 9457) that names hop, phase and
cause in words that a person can act on. Never a secret, a stack trace or bytes of the peer's.
"""

from __future__ import annotations

from math import ceil

import msgspec

from fastproxy.errors import ProxyError
from fastproxy.model import Response, ResponseHead
from fastproxy.net.http1 import REASONS, write_fields
from fastproxy.proxy.fields import ERROR_MESSAGE, PROXY_NAME

_ENCODER = msgspec.json.Encoder()
_UNQUOTED = str.maketrans({"\\": "\\\\", '"': '\\"'})


def answer_to(
    error: ProxyError,
    *,
    hop: str,
    role: str,
    exchange_id: str,
    trace_id: str = "",
    for_original: bool = False,
) -> Response:
    """Make the response that tells a caller what went wrong.

    Args:
        error: what was raised.
        hop: name of this proxy. role: "out" or "in".
        exchange_id: "" when the request never became an exchange. trace_id: "" when it has none.
        for_original: whether to say it in the header fields of the Go original as well.

    Returns:
        A whole response; Content-Length and Connection are for the connection to add.
    """
    cause = error.cause
    problem: dict[str, object] = {
        "type": f"urn:fastproxy:error:{cause.label}",
        "title": cause.title,
        "status": cause.status,
        "detail": error.detail or cause.title,
        "cause": cause.label,
        "hop": role,
        "proxy": hop,
        "phase": error.phase,
        "advice": cause.advice,
    }
    if exchange_id:
        problem["exchange"] = exchange_id
    if trace_id:
        problem["trace_id"] = trace_id
    details = f"{cause.label} in {error.phase}" + (f": {error.detail}" if error.detail else "")
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
        (b"proxy-status", f'{hop}; error={cause.proxy_error}; details="{_quotable(details)}"'.encode()),
    ]
    if for_original:
        headers.append((ERROR_MESSAGE, _printable(error.detail or cause.title).encode()))
        headers.append((PROXY_NAME, f"{role}_proxy".encode()))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % max(1, ceil(error.retry_after_s))))
    reason = REASONS.get(cause.status, b"")
    start = b"HTTP/1.1 %d %b\r\n%b" % (cause.status, reason, write_fields(headers))
    return Response(ResponseHead(cause.status, start, has_date=False), _ENCODER.encode(problem))


def _quotable(text: str) -> str:
    """What may stand in a string of a structured field: printable ASCII (RFC 8941, section 3.3.3)."""
    return _printable(text).translate(_UNQUOTED)


def _printable(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text)
