"""Envelope version 2: the layout of message headers, and of the heads in the first record.

A header has one layout and no optional part, so no field can be unknown, missing or doubled; it is
authenticated as the exact bytes that travel. A head is sealed. Numbers are big-endian.
`docs/wire.md` has the tables. Knows nothing of keys; the HTTP head inside a head is opaque here.
"""

from __future__ import annotations

import re
import struct

from msgspec import Struct

from fastproxy.errors import ENVELOPE_MALFORMED, RESPONSE_BROKEN, RESPONSE_UNSEALED, ProxyError
from fastproxy.wire.records import Chunk

INFO_LABEL = b"fastproxy envelope v2"
PSK_ID = b"fastproxy psk"
EPOCH_BYTES = 16
UNKNOWN_EPOCH = bytes(EPOCH_BYTES)
"""What a sender that hasn't heard from the receiver yet writes as its epoch; no receiver has this one."""

# Request header. Between these offsets stands, in this order, what identifies the session: aead id,
# sender key id, receiver key id, enc; then counter, epoch and expiry; then the receiver's name.
REQUEST_START = b"FPV2\x01\x00"
AEAD_AT, SENDER_AT, RECEIVER_AT, ENC_AT, COUNTER_AT, NAME_AT = 6, 8, 16, 24, 56, 88
COUNTER_EPOCH_EXPIRY = struct.Struct(">Q16sQ")
MAX_COUNTER = 2**56 - 1
MAX_NAME_BYTES = 255

RESPONSE_START = b"FPV2\x02\x00"
RESPONSE_NONCE_BYTES = 12
RESPONSE_HEADER_BYTES = len(RESPONSE_START) + RESPONSE_NONCE_BYTES

SERVICE_RESPONSE, _REFUSAL, _CHALLENGE = b"\x01", b"\x02", b"\x03"
is_token = re.compile(rb"[!-~]{1,255}").fullmatch
"""Whether a field is visible ASCII only: these reach logs and headers."""
_MAX_BUDGET_MS = 2**32 - 1
_BUDGET_AND_LENGTH = struct.Struct(">IB")
PACKED_START = struct.Struct(">IIIB")
"""What a packed record with the head of a request begins with: the record's prefix
(`records.PREFIX`), the budget, the length of the exchange id."""


def name_field(receiver_name: str) -> bytes:
    """Return the receiver's name as headers and the HPKE info hold it: its length, then UTF-8.

    Raises:
        ValueError: it has not between 1 and 255 bytes.
    """
    name = receiver_name.encode()
    if not 1 <= len(name) <= MAX_NAME_BYTES:
        raise ValueError(f"a receiver's name has between 1 and {MAX_NAME_BYTES} bytes")
    return bytes((len(name),)) + name


class RequestHead(Struct, frozen=True, gc=False):
    """The sealed head of a request.

    budget_ms: time left for the exchange, 0 for no limit. exchange_id: for both proxies' logs.
    service: the one called, as it was sent. http: the head of an HTTP/1.1 request, not parsed yet.
    """

    budget_ms: int
    exchange_id: str
    service: str
    http: bytes


class ServiceResponse(Struct, frozen=True, gc=False):
    """The head of an answer that came from the service. http: the head of an HTTP/1.1 response."""

    http: bytes


class Refusal(Struct, frozen=True, gc=False):
    """The head of an answer that the in proxy itself gives. cause: the label of a row of the error table."""

    cause: str
    http: bytes


class Challenge(Struct, frozen=True, gc=False):
    """The request was authentic but not for this epoch; nothing of it was processed. Seal it anew."""

    epoch: bytes


ResponseHead = ServiceResponse | Refusal | Challenge


def service_field(service: str) -> bytes:
    """Return a service's name as the head of a request holds it: its length, then visible ASCII.

    Raises:
        ValueError: a name that is empty, too long or has odd characters.
    """
    name = service.encode()
    if not is_token(name):
        raise ValueError("a name is 1 to 255 visible ASCII characters")
    return b"%c%b" % (len(name), name)


def build_request_head(budget_ms: int, exchange_id: str, service: bytes, http: bytes) -> bytes:
    """Return the meta block of a request's first record.

    Args:
        budget_ms: time left for the exchange, 0 for no limit.
        exchange_id: for both proxies' logs; 1 to 255 visible ASCII characters; whoever makes it sees to that.
        service: the one called, from `service_field`.
        http: the head of an HTTP/1.1 request.

    Raises:
        ValueError: a budget that isn't in 32 bits, or an exchange id that is too long.
    """
    token = exchange_id.encode()
    try:
        start = _BUDGET_AND_LENGTH.pack(budget_ms, len(token))
    except struct.error as exc:
        raise ValueError("the budget does not fit 32 bits, or the exchange id 255 bytes") from exc
    return b"".join((start, token, service, http))


def parse_request_head(meta: bytes) -> RequestHead:
    """Read the meta block of a request's first record.

    Raises:
        ProxyError: ENVELOPE_MALFORMED.
    """
    try:
        budget_ms, id_bytes = _BUDGET_AND_LENGTH.unpack_from(meta)
        id_end = 5 + id_bytes
        service_end = id_end + 1 + meta[id_end]
    except (IndexError, struct.error) as exc:
        raise ProxyError(ENVELOPE_MALFORMED, "the head of the request is cut") from exc
    exchange_id, service = meta[5:id_end], meta[id_end + 1 : service_end]
    if service_end > len(meta):
        raise ProxyError(ENVELOPE_MALFORMED, "the head of the request is cut")
    if not is_token(exchange_id) or not is_token(service):
        raise ProxyError(ENVELOPE_MALFORMED, "exchange id or service is not visible ASCII")
    return RequestHead(budget_ms, exchange_id.decode(), service.decode(), meta[service_end:])


def build_response_head(head: ResponseHead) -> bytes:
    """Return the meta block of a response's first record.

    Raises:
        ValueError: a cause or an epoch that has no place in it.
    """
    if isinstance(head, ServiceResponse):
        return SERVICE_RESPONSE + head.http
    if isinstance(head, Challenge):
        if len(head.epoch) != EPOCH_BYTES or head.epoch == UNKNOWN_EPOCH:
            raise ValueError("an epoch is 16 bytes, not all zero")
        return _CHALLENGE + head.epoch
    cause = head.cause.encode()
    if not is_token(cause):
        raise ValueError("a cause is 1 to 255 visible ASCII characters")
    return b"".join((_REFUSAL, bytes((len(cause),)), cause, head.http))


def parse_response_head(first: Chunk) -> ResponseHead:
    """Read the head in the first chunk of a response. A challenge stands alone in its message.

    Raises:
        ProxyError: RESPONSE_BROKEN.
    """
    meta = first.meta
    kind = meta[:1]
    if kind == SERVICE_RESPONSE:
        return ServiceResponse(meta[1:])
    if kind == _REFUSAL:
        length = meta[1] if len(meta) > 1 else 0
        cause = meta[2 : 2 + length]
        if length and len(cause) == length and is_token(cause):
            return Refusal(cause.decode(), meta[2 + length :])
    if kind == _CHALLENGE and len(meta) == 1 + EPOCH_BYTES and first.last and not first.data:
        epoch = meta[1:]
        if epoch != UNKNOWN_EPOCH:
            return Challenge(epoch)
    raise ProxyError(RESPONSE_BROKEN, "the head of the sealed answer has no known form")


def check_response_start(received: bytes) -> None:
    """Refuse what can't become a response header, as soon as that shows.

    Raises:
        ProxyError: RESPONSE_UNSEALED.
    """
    if not received.startswith(RESPONSE_START) and not RESPONSE_START.startswith(received):
        raise ProxyError(RESPONSE_UNSEALED)
