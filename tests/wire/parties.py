"""Two parties with fixed keys, and short ways to let them talk."""

from __future__ import annotations

import pytest

from fastproxy.bounds import Part
from fastproxy.errors import IDENTITY_UNPROVEN, ProxyError
from fastproxy.wire.ciphers import AES_256_GCM, Cipher
from fastproxy.wire.envelope import (
    ServiceResponse,
    build_request_head,
    build_response_head,
    service_field,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.receiver import OpenedRequest, ProvenRefusalError, Receiver, ReceiverLimits
from fastproxy.wire.records import PLAIN, Chunk, MessageSealer, Packing
from fastproxy.wire.responses import ResponseOpener
from fastproxy.wire.sender import SenderSession
from fastproxy.wire.sessions import CallerKey
from fastproxy.wire.shared_sessions import SharedSessions
from fastproxy.wire.shared_windows import SharedWindows
from tests.locks import HeldLocks

NOW_MS = 1_700_000_000_000
EXPIRY_MS = NOW_MS + 30_000
EPOCH = bytes(range(16))
NAME = "search-in"
NONCE = bytes(range(100, 112))
SENDER_KEY = PrivateKey(b"\x11" * 32)
RECEIVER_KEY = PrivateKey(b"\x22" * 32)
STRANGER_KEY = PrivateKey(b"\x33" * 32)
CALLER = CallerKey("chat_service", SENDER_KEY.public_key)
LIMITS = ReceiverLimits(max_age_ms=60_000, max_clock_skew_ms=1_000, sessions_per_caller=3)
PSK = b"\x55" * 32
META = build_request_head(
    1500, "0af7651916cd43dd", service_field("search_service"), b"POST /api HTTP/1.1\r\n\r\n"
)
ANSWER = build_response_head(ServiceResponse(b"HTTP/1.1 200 OK\r\n\r\n"))


def make_receiver(
    *,
    callers: tuple[CallerKey, ...] = (CALLER,),
    epoch: bytes = EPOCH,
    limits: ReceiverLimits | None = None,
    name: str = NAME,
    key: PrivateKey = RECEIVER_KEY,
    windows: SharedWindows | None = None,
) -> Receiver:
    """A receiver that knows the one caller; one of several with these windows, where there are any."""
    limits = limits or ReceiverLimits()
    sessions = None if windows is None else SharedSessions(
        windows, limits.sessions_per_caller, limits.lifetime_ms, limits.max_clock_skew_ms
    )  # fmt: skip
    return Receiver([key], name, epoch, callers, limits, sessions)


def make_windows(capacity: int = 8, width: int = 4096) -> SharedWindows:
    """Windows that no other process knows."""
    memory = memoryview(bytearray(SharedWindows.size_bytes(capacity, width)))
    return SharedWindows(Part(memory, b"s" * 32, HeldLocks(), 50), capacity, width)


def make_session(
    ephemeral: int = 7,
    *,
    key: PrivateKey = SENDER_KEY,
    cipher: Cipher = AES_256_GCM,
    psk: bytes | None = None,
    name: str = NAME,
) -> SenderSession:
    """A session of the caller; sessions with different `ephemeral` differ."""
    seed = ephemeral.to_bytes(32, "big")
    return SenderSession(key, name, RECEIVER_KEY.public_key, seed, cipher=cipher, psk=psk, good_until_s=0.0)


def opened(receiver: Receiver, message: bytes, now_ms: int = NOW_MS) -> OpenedRequest:
    """Open a request of which at least the first record is here."""
    request = receiver.open_head(message, now_ms)
    assert request is not None
    return request


def open_all(receiver: Receiver, message: bytes, now_ms: int = NOW_MS) -> list[Chunk]:
    """Open a whole request, of however many records."""
    request = receiver.open_head(message, now_ms, complete=True)
    assert request is not None
    rest = request.opener()
    chunks = [request.chunk, *rest.feed(message[request.consumed_bytes :])]
    rest.eof()
    return chunks


def open_response(opener: ResponseOpener, message: bytes) -> list[Chunk]:
    """Open a whole response."""
    chunks = opener.feed(message)
    opener.eof()
    return chunks


def seal_pieces(
    session: SenderSession, pieces: list[bytes], trailers: bytes = b"", packing: Packing = PLAIN
) -> tuple[list[bytes], ResponseOpener]:
    """Seal a request of these data pieces, one record each; returns the records, the first with header."""
    sealer = session.seal(EPOCH, EXPIRY_MS, packing)
    records = [sealer.record(META, pieces[0], last=len(pieces) == 1)]
    opener = sealer.opener()
    records += answer_pieces(sealer.record, pieces[1:], trailers)
    return records, opener


def answer_pieces(record: object, pieces: list[bytes], trailers: bytes) -> list[bytes]:
    """Seal the records after the first, with the `record` of any sealer."""
    assert callable(record)
    return [
        record(trailers if index == len(pieces) - 1 else b"", piece, last=index == len(pieces) - 1)
        for index, piece in enumerate(pieces)
    ]


def seal_answer(sealer: MessageSealer, pieces: list[bytes], trailers: bytes = b"") -> list[bytes]:
    """Seal a response of these data pieces, one record each."""
    first = sealer.record(ANSWER, pieces[0], last=len(pieces) == 1)
    return [first, *answer_pieces(sealer.record, pieces[1:], trailers)]


def seal(
    session: SenderSession, data: bytes = b"body", epoch: bytes = EPOCH, expiry_ms: int = EXPIRY_MS
) -> bytes:
    return session.seal_single(epoch, expiry_ms, META, data)[0]


def refusal(receiver: Receiver, message: bytes, now_ms: int = NOW_MS) -> ProxyError:
    with pytest.raises(ProxyError) as refused:
        receiver.open_head(message, now_ms, complete=True)
    return refused.value


def assert_unproven(receiver: Receiver, message: bytes) -> None:
    """Refused, and in no way that tells an outsider why."""
    refused = refusal(receiver, message)
    assert refused.cause is IDENTITY_UNPROVEN
    assert not isinstance(refused, ProvenRefusalError)
    assert refused.detail == ""
