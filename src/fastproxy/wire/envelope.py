"""Envelope version 2: the layout of message headers, and of the heads in the first record.

A header has one layout and no optional part, so no field can be unknown, missing or doubled; it is
authenticated as the exact bytes that travel. A head is sealed. Numbers are big-endian.
`docs/wire.md` has the tables. Knows nothing of keys; the HTTP head inside a head is opaque here.
"""

from __future__ import annotations

import re
import struct
from functools import lru_cache

from msgspec import Struct

from fastproxy.errors import ENVELOPE_MALFORMED, RESPONSE_BROKEN, RESPONSE_UNSEALED, ProxyError
from fastproxy.wire.records import WORD, Chunk

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

_SERVICE_RESPONSE, _REFUSAL, _CHALLENGE = b"\x01", b"\x02", b"\x03"
_TOKEN = re.compile(rb"[!-~]{1,255}")
_MAX_BUDGET_MS = 2**32 - 1


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
    service: the one called. http: the head of an HTTP/1.1 request, not parsed yet.
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


def build_request_head(head: RequestHead) -> bytes:
    """Return the meta block of a request's first record.

    Raises:
        ValueError: a budget that isn't in 32 bits; a name that is empty, too long or has odd characters.
    """
    if not 0 <= head.budget_ms <= _MAX_BUDGET_MS:
        raise ValueError("the budget does not fit 32 bits")
    return b"".join(
        (WORD.pack(head.budget_ms), _token_field(head.exchange_id), _service_field(head.service), head.http)
    )


def _token_field(token: str) -> bytes:
    """Return a counted field: its length, then visible ASCII."""
    text = token.encode()
    if _TOKEN.fullmatch(text) is None:
        raise ValueError("exchange id and service are 1 to 255 visible ASCII characters")
    return b"%c%b" % (len(text), text)


_service_field = lru_cache(1024)(_token_field)  # the names of services come from the config


def parse_request_head(meta: bytes) -> RequestHead:
    """Read the meta block of a request's first record.

    Raises:
        ProxyError: ENVELOPE_MALFORMED.
    """
    try:
        id_end = 5 + meta[4]
        service_end = id_end + 1 + meta[id_end]
    except IndexError as exc:
        raise ProxyError(ENVELOPE_MALFORMED, "the head of the request is cut") from exc
    exchange_id, service = meta[5:id_end], meta[id_end + 1 : service_end]
    if service_end > len(meta):
        raise ProxyError(ENVELOPE_MALFORMED, "the head of the request is cut")
    if _TOKEN.fullmatch(exchange_id) is None or _TOKEN.fullmatch(service) is None:
        raise ProxyError(ENVELOPE_MALFORMED, "exchange id or service is not visible ASCII")
    budget_ms: int = WORD.unpack_from(meta)[0]
    return RequestHead(budget_ms, exchange_id.decode(), service.decode(), meta[service_end:])


def build_response_head(head: ResponseHead) -> bytes:
    """Return the meta block of a response's first record.

    Raises:
        ValueError: a cause or an epoch that has no place in it.
    """
    if isinstance(head, ServiceResponse):
        return _SERVICE_RESPONSE + head.http
    if isinstance(head, Challenge):
        if len(head.epoch) != EPOCH_BYTES or head.epoch == UNKNOWN_EPOCH:
            raise ValueError("an epoch is 16 bytes, not all zero")
        return _CHALLENGE + head.epoch
    cause = head.cause.encode()
    if not _is_token(cause):
        raise ValueError("a cause is 1 to 255 visible ASCII characters")
    return b"".join((_REFUSAL, bytes((len(cause),)), cause, head.http))


def parse_response_head(first: Chunk) -> ResponseHead:
    """Read the head in the first chunk of a response. A challenge stands alone in its message.

    Raises:
        ProxyError: RESPONSE_BROKEN.
    """
    meta = first.meta
    kind = meta[:1]
    if kind == _SERVICE_RESPONSE:
        return ServiceResponse(meta[1:])
    if kind == _REFUSAL:
        length = meta[1] if len(meta) > 1 else 0
        cause = meta[2 : 2 + length]
        if length and len(cause) == length and _is_token(cause):
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


def _is_token(field: bytes) -> bool:
    """Visible ASCII only: these fields reach logs and headers."""
    return _TOKEN.fullmatch(field) is not None
