"""Answers of the admin address, refusals among them.

No hop of an exchange refuses here, so a refusal carries no cause of the error table. It is plain text in
words that a person can act on; with the field below, `go tool pprof` shows them instead of a bare status.
Below `/api/` it is a problem document, for programs.
"""

from __future__ import annotations

import msgspec

from fastproxy.model import Response, ResponseHead
from fastproxy.net.http1 import REASONS

_REASONS = REASONS | {202: b"Accepted", 405: b"Method Not Allowed", 409: b"Conflict"}
TEXT = b"text/plain; charset=utf-8"
_SHOWN_BY_PPROF = b"x-go-pprof: 1\r\n"


class AdminError(Exception):
    """A request is refused, or what it asks for has failed.

    Args:
        status: of the answer. words: what is wrong and what to do; never a secret.
        fields: lines for the answer's head, each with its line end.
    """

    def __init__(self, status: int, words: str, fields: bytes = b"") -> None:
        super().__init__(status, words)
        self.status = status
        self.words = words
        self.fields = fields


def refusal(error: AdminError) -> Response:
    """Return the answer that tells of an error."""
    return answer(error.status, TEXT, error.words.encode() + b"\n", error.fields + _SHOWN_BY_PPROF)


def problem(error: AdminError) -> Response:
    """Return the problem document that tells of an error (RFC 9457)."""
    told = {
        "type": "about:blank",
        "title": _REASONS[error.status].decode(),
        "status": error.status,
        "detail": error.words,
    }
    fields = error.fields + b"cache-control: no-store\r\n"
    return answer(error.status, b"application/problem+json", msgspec.json.encode(told) + b"\n", fields)


def answer(status: int, content_type: bytes, content: bytes, fields: bytes = b"") -> Response:
    """Return an answer.

    Args:
        fields: further lines for its head, each with its line end.
    """
    reason = _REASONS[status]
    start = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n%b" % (status, reason, content_type, fields)
    return Response(ResponseHead(status, start), content)
