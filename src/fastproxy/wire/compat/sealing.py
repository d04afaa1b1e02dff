"""Wire format v1, as the Go original speaks it: sealing and opening whole messages.

A payload is encrypted, then compressed, then signed, each where sender and receiver have agreed on it. The
format is weak by construction: its IV is fixed, a message can be replayed, and neither path, headers nor
responses are signed. `docs/wire.md` says what that means; `weaknesses` names it per caller.

Rules: the receiver's own config decides what a caller must do, never the flags in a message. A message that
claims less is refused; one that does more is held to it. Everything that depends on a secret fails in one
way, IDENTITY_UNPROVEN without a detail. What is signed is neither decompressed nor decrypted before that.
Knows nothing of HTTP: the caller's name, the body and the limits are arguments.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from msgspec import Struct

from fastproxy.errors import (
    BODY_TOO_LARGE,
    COMPRESSION_BROKEN,
    IDENTITY_UNPROVEN,
    RESPONSE_BODY_TOO_LARGE,
    RESPONSE_BROKEN,
    RESPONSE_UNSEALED,
    Cause,
    ProxyError,
)
from fastproxy.wire.compat.keys import BLOCK_BYTES, EncryptKey, SignKey
from fastproxy.wire.compat.message import (
    RequestMessage,
    RequestSettings,
    ResponseSettings,
    decode_request,
    decode_response,
    encode_request,
    encode_request_settings,
    encode_response,
)
from fastproxy.wire.compat.payload import COMPRESSION_IDS, TooLargeError, compress, decompress
from fastproxy.wire.compressors import BrokenDataError

_Key = TypeVar("_Key", SignKey, EncryptKey)


@dataclass(frozen=True, slots=True)
class _Faults:
    """What is wrong when a payload doesn't open."""

    decryption: Cause
    decompression: Cause
    too_large: Cause


_REQUEST_FAULTS = _Faults(IDENTITY_UNPROVEN, COMPRESSION_BROKEN, BODY_TOO_LARGE)
_UNSIGNED_FAULTS = _Faults(IDENTITY_UNPROVEN, IDENTITY_UNPROVEN, BODY_TOO_LARGE)
"""For requests that are encrypted but not signed: whoever tries paddings sees one failure only."""
_RESPONSE_FAULTS = _Faults(RESPONSE_BROKEN, RESPONSE_BROKEN, RESPONSE_BODY_TOO_LARGE)

_STAND_IN = SignKey("stand-in", bytes(32))
"""Signs where there is no key, so that an unknown name takes the time of a known one. It proves nothing."""


@dataclass(frozen=True, slots=True)
class CompatCaller:
    """What a receiver demands of one caller.

    name: the caller's. sign: the keys with one of which it must sign; none: it needn't. encrypt: the same for
    encryption. Several while a key is being replaced.
    """

    name: str
    sign: tuple[SignKey, ...]
    encrypt: tuple[EncryptKey, ...]


class CompatSender:
    """Seals the requests of one caller, and opens their responses."""

    __slots__ = ("_compression_id", "_encrypt", "_settings", "_sign")

    def __init__(
        self,
        sign: SignKey | None,
        encrypt: EncryptKey | None,
        compression_id: int | None,
    ) -> None:
        """Make a sender.

        Args:
            sign: signs, if the caller does.
            encrypt: encrypts, and must have encrypted the response, if the caller does.
            compression_id: 0 for snappy, 1 for gzip, None for none. The response may use any of them.

        Raises:
            ValueError: an unknown compression id, a name longer than 255 bytes.
        """
        if compression_id is not None and compression_id not in COMPRESSION_IDS:
            raise ValueError(f"{compression_id} is no compression of wire format v1")
        self._sign = sign
        self._encrypt = encrypt
        self._compression_id = compression_id
        self._settings = encode_request_settings(
            RequestSettings(
                compress=compression_id is not None,
                sign_enable=sign is not None,
                sign_key_name=sign.wire_name if sign else b"",
                encrypt_enable=encrypt is not None,
                encrypt_key_name=encrypt.wire_name if encrypt else b"",
                compress_algorithm=compression_id or 0,
            )
        )

    def seal(self, body: bytes) -> bytes:
        """Return the message that carries this request body."""
        payload = _seal_payload(body, self._encrypt, self._compression_id)
        sign = self._sign.sign(payload) if self._sign else b""
        return encode_request(sign, payload, self._settings)

    def open_response(self, message: bytes, limit_bytes: int) -> bytes:
        """Return the body of a response; nothing proves who sent it.

        Args:
            message: what came back.
            limit_bytes: how long the body may be.

        Raises:
            ProxyError: RESPONSE_UNSEALED, it isn't of the format, or not encrypted although the request was;
                RESPONSE_BROKEN, it doesn't open; RESPONSE_BODY_TOO_LARGE.
        """
        response = decode_response(message)
        settings = response.settings
        key = self._encrypt
        if settings.encrypt_enable != (key is not None):
            raise ProxyError(RESPONSE_UNSEALED, "it is not encrypted as the request was")
        if key is not None and settings.encrypt_key_name != key.wire_name:
            raise ProxyError(RESPONSE_BROKEN, "it names another key than the request")
        if settings.compress_algorithm not in COMPRESSION_IDS:
            raise ProxyError(RESPONSE_BROKEN, "it names an unknown compression")
        return _open_payload(response.payload, key, settings, limit_bytes, _RESPONSE_FAULTS)


class CompatAnswer:
    """Seals the response to one request, as the request was sealed."""

    __slots__ = ("_compression_id", "_encrypt", "_settings")

    def __init__(self, encrypt: EncryptKey | None, compression_id: int | None, settings: bytes) -> None:
        """Answer under this key and compression, which the encoded settings name."""
        self._encrypt = encrypt
        self._compression_id = compression_id
        self._settings = settings

    def seal(self, body: bytes) -> bytes:
        """Return the message that carries this response body.

        The original leaves the body out where the request wasn't encrypted; it reads one that is there.
        """
        return encode_response(_seal_payload(body, self._encrypt, self._compression_id), self._settings)


class CompatRequest(Struct, frozen=True, gc=False):
    """A request that met what the receiver demands of its caller.

    body: as the caller sent it. answer: seals the response.
    """

    body: bytes
    answer: CompatAnswer


class CompatReceiver:
    """Opens the requests of all callers that one in proxy takes in wire format v1."""

    __slots__ = ("_callers", "_encrypt_keys", "_sign_keys")

    def __init__(
        self,
        callers: Iterable[CompatCaller],
        sign_keys: Iterable[SignKey] = (),
        encrypt_keys: Iterable[EncryptKey] = (),
    ) -> None:
        """Make a receiver.

        Args:
            callers: who may call, and what each of them must do.
            sign_keys: further keys, which callers that needn't sign may use.
            encrypt_keys: further keys, which callers that needn't encrypt may use.

        Raises:
            ValueError: two callers, or two keys, of one name.
        """
        callers = tuple(callers)
        self._callers = {caller.name: _Demands(caller) for caller in callers}
        if len(self._callers) != len(callers):
            raise ValueError("two callers have one name")
        self._sign_keys = _by_name([*sign_keys, *(key for caller in callers for key in caller.sign)])
        self._encrypt_keys = _by_name([*encrypt_keys, *(key for caller in callers for key in caller.encrypt)])

    def open(self, caller_name: str, message: bytes, limit_bytes: int) -> CompatRequest:
        """Open a request.

        Args:
            caller_name: who the HTTP request says is calling; the format doesn't sign it.
            message: the body of the HTTP request.
            limit_bytes: how long the body inside may be.

        Raises:
            ProxyError: ENVELOPE_MALFORMED, it isn't of the format; COMPRESSION_BROKEN; BODY_TOO_LARGE;
                IDENTITY_UNPROVEN, anything that has to do with callers, keys and secrets.
        """
        request = decode_request(message)
        settings = request.settings
        if settings.compress_algorithm not in COMPRESSION_IDS:  # the same for all callers, known or not
            raise ProxyError(COMPRESSION_BROKEN, "unknown compression id")
        demands = self._callers.get(caller_name)
        self._check_sign(demands, request)
        if demands is None:
            raise ProxyError(IDENTITY_UNPROVEN)
        key = self._choose_encrypt_key(demands, settings)
        is_oracle = key is not None and not settings.sign_enable
        faults = _UNSIGNED_FAULTS if is_oracle else _REQUEST_FAULTS
        body = _open_payload(request.payload, key, settings, limit_bytes, faults)
        compression_id = settings.compress_algorithm if settings.compress else None
        return CompatRequest(body, CompatAnswer(key, compression_id, request.answer))

    def _check_sign(self, demands: _Demands | None, request: RequestMessage) -> None:
        if not request.settings.sign_enable:
            if demands is not None and demands.sign:
                raise ProxyError(IDENTITY_UNPROVEN)
            return
        # Whoever needn't sign but does is held to it: a signature that can't be checked is refused too.
        allowed = demands.sign if demands is not None and demands.sign else self._sign_keys
        key = allowed.get(request.settings.sign_key_name)
        sign = (key or _STAND_IN).sign(request.payload)
        if not hmac.compare_digest(sign, request.sign) or key is None:
            raise ProxyError(IDENTITY_UNPROVEN)

    def _choose_encrypt_key(self, demands: _Demands, settings: RequestSettings) -> EncryptKey | None:
        """Return the key under which the payload is encrypted, None when it isn't and needn't be."""
        if not settings.encrypt_enable:
            if demands.encrypt:
                raise ProxyError(IDENTITY_UNPROVEN)
            return None
        key = (demands.encrypt or self._encrypt_keys).get(settings.encrypt_key_name)
        if key is None:
            raise ProxyError(IDENTITY_UNPROVEN)
        return key


class _Demands:
    """What one caller must do: its allowed keys by the name on the wire; none: it needn't."""

    __slots__ = ("encrypt", "sign")

    def __init__(self, caller: CompatCaller) -> None:
        self.sign = _by_name(caller.sign)
        self.encrypt = _by_name(caller.encrypt)


def _by_name(keys: Iterable[_Key]) -> Mapping[bytes, _Key]:
    named: dict[bytes, _Key] = {}
    for key in keys:
        if named.setdefault(key.wire_name, key) is not key:
            raise ValueError(f"two keys are named {key.name}")
    return named


def _seal_payload(body: bytes, key: EncryptKey | None, compression_id: int | None) -> bytes:
    payload = body if key is None else key.encrypt(body)
    if compression_id is None:
        return payload
    return compress(payload, compression_id, is_ciphertext=key is not None)


def _open_payload(
    payload: bytes,
    key: EncryptKey | None,
    settings: RequestSettings | ResponseSettings,
    limit_bytes: int,
    faults: _Faults,
) -> bytes:
    # Padding adds a block at most, and what is larger needn't be decrypted to know it.
    payload_limit_bytes = limit_bytes if key is None else limit_bytes + BLOCK_BYTES
    if settings.compress:
        try:
            payload = decompress(payload, settings.compress_algorithm, payload_limit_bytes)
        except TooLargeError as exc:
            raise ProxyError(faults.too_large) from exc
        except BrokenDataError as exc:
            raise ProxyError(faults.decompression) from exc
    if len(payload) > payload_limit_bytes:
        raise ProxyError(faults.too_large)
    if key is None:
        return payload
    body = key.decrypt(payload)
    if body is None:
        raise ProxyError(faults.decryption)
    if len(body) > limit_bytes:
        raise ProxyError(faults.too_large)
    return body
