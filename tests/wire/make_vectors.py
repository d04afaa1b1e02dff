"""Golden vectors of envelope version 2: how each one is sealed, and the script that wrote them down.

    python -m tests.wire.make_vectors > tests/data/envelope_v2.json

They are made once. A change that alters them is a change of the wire format, not of the vectors.
"""

from __future__ import annotations

import json
from typing import Any

from fastproxy.wire.ciphers import CIPHERS
from fastproxy.wire.compressors import COMPRESSORS
from fastproxy.wire.envelope import (
    PSK_ID,
    Challenge,
    Refusal,
    ServiceResponse,
    build_request_head,
    build_response_head,
    service_field,
)
from fastproxy.wire.hpke import PreSharedKey, auth_encap, key_schedule
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.receiver import Receiver
from fastproxy.wire.records import MessageSealer, Packing
from fastproxy.wire.responses import EXPORT_CONTEXT
from fastproxy.wire.sender import RequestSealer, SenderSession
from fastproxy.wire.sessions import CallerKey

Case = dict[str, Any]
NOW_MS = 1_767_225_600_000  # 2026-01-01T00:00:00Z
REQUEST_HEAD = build_request_head(
    2000,
    "4bf92f3577b34da6",
    service_field("search_service"),
    b"POST /api/service HTTP/1.1\r\nhost: search\r\n\r\n",
)
OK_HEAD = build_response_head(ServiceResponse(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\n"))
REFUSAL_HEAD = build_response_head(Refusal("no_privilege", b"HTTP/1.1 403 Forbidden\r\n\r\n"))
LONG = b'{"user":"alice","items":[1,2,3]},' * 60
SINGLE_REQUEST = [(REQUEST_HEAD, b"param=hello")]
SINGLE_RESPONSE = [(OK_HEAD, b"world")]
SEVERAL_REQUEST = [(REQUEST_HEAD, b""), (b"", b"first "), (b"", b"second"), (b"x-sum: 12\r\n\r\n", b"")]
SEVERAL_RESPONSE = [(OK_HEAD, b"one "), (b"", b"two"), (b"x-end: yes\r\n\r\n", b"")]


def case(
    name: str,
    request: list[tuple[bytes, bytes]],
    response: list[tuple[bytes, bytes]],
    *,
    aead_id: int = 2,
    psk: bytes = b"",
    compressor_id: int = 0,
    pad_to_bytes: int = 1,
    counter: int = 0,
) -> Case:
    """Return a vector, all but its sealed messages; bytes as hex."""
    return {
        "name": name,
        "aead_id": aead_id,
        "psk": psk.hex(),
        "compressor_id": compressor_id,
        "pad_to_bytes": pad_to_bytes,
        "sender_private_key": "11" * 32,
        "receiver_private_key": "22" * 32,
        "ephemeral_private_key": "44" * 32,
        "receiver_name": "search-in",
        "counter": counter,
        "epoch": bytes(range(0xA0, 0xB0)).hex(),
        "expiry_ms": NOW_MS + 30_000,
        "now_ms": NOW_MS,
        "request_chunks": [[meta.hex(), data.hex()] for meta, data in request],
        "response_nonce": bytes(range(0xC0, 0xCC)).hex(),
        "response_chunks": [[meta.hex(), data.hex()] for meta, data in response],
    }


CASES = [
    case("single record", SINGLE_REQUEST, SINGLE_RESPONSE),
    case("several records with trailers", SEVERAL_REQUEST, SEVERAL_RESPONSE, counter=3),
    case("chacha20-poly1305", SINGLE_REQUEST, SINGLE_RESPONSE, aead_id=3),
    case("pre-shared key", SINGLE_REQUEST, SINGLE_RESPONSE, psk=b"\x55" * 32),
    case("padding", SINGLE_REQUEST, SINGLE_RESPONSE, pad_to_bytes=128),
    case("refusal", SINGLE_REQUEST, [(REFUSAL_HEAD, b"no")]),
    case(
        "challenge",
        SINGLE_REQUEST,
        [(build_response_head(Challenge(bytes(range(0xA0, 0xB0)))), b"")],
        counter=1,
    ),
    *(
        case(
            f"compressed with {compressor.name}",
            [(REQUEST_HEAD, LONG)],
            [(OK_HEAD, LONG)],
            compressor_id=number,
        )
        for number, compressor in COMPRESSORS.items()
    ),
]


def packing_of(vector: Case) -> Packing:
    """Return how the records of a vector are formed."""
    return Packing(COMPRESSORS.get(vector["compressor_id"]), 1024, vector["pad_to_bytes"])


def sender_session(vector: Case) -> SenderSession:
    """Return the vector's session, about to use the vector's counter."""
    session = SenderSession(
        PrivateKey.parse(vector["sender_private_key"]),
        vector["receiver_name"],
        PrivateKey.parse(vector["receiver_private_key"]).public_key,
        bytes.fromhex(vector["ephemeral_private_key"]),
        cipher=CIPHERS[vector["aead_id"]],
        psk=bytes.fromhex(vector["psk"]) or None,
        good_until_s=0.0,
    )
    for _ in range(vector["counter"]):
        session.seal(bytes.fromhex(vector["epoch"]), 0)
    return session


def receiver(vector: Case) -> Receiver:
    """Return the receiver that the vector is meant for."""
    sender = PrivateKey.parse(vector["sender_private_key"])
    return Receiver(
        [PrivateKey.parse(vector["receiver_private_key"])],
        vector["receiver_name"],
        bytes.fromhex(vector["epoch"]),
        [CallerKey("chat_service", sender.public_key, bytes.fromhex(vector["psk"]) or None)],
    )


def seal_chunks(sealer: RequestSealer | MessageSealer, chunks: list[list[str]]) -> bytes:
    """Seal chunks, given in hex, into one message."""
    message = b""
    for number, (meta, data) in enumerate(chunks, 1):
        message += sealer.record(bytes.fromhex(meta), bytes.fromhex(data), last=number == len(chunks))
    return message


def derived(vector: Case) -> dict[str, str]:
    """Return the secrets of the vector's session, for whoever checks another implementation step by step."""
    sender = PrivateKey.parse(vector["sender_private_key"])
    peer = PrivateKey.parse(vector["receiver_private_key"])
    name = vector["receiver_name"].encode()
    psk = PreSharedKey(bytes.fromhex(vector["psk"]), PSK_ID) if vector["psk"] else None
    shared_secret = auth_encap(sender, peer.public_key, PrivateKey.parse(vector["ephemeral_private_key"]))
    info = b"fastproxy envelope v2" + bytes((len(name),)) + name
    schedule = key_schedule(shared_secret, info, CIPHERS[vector["aead_id"]], psk)
    return {
        "sender_public_key": sender.public_key.hex(),
        "receiver_public_key": peer.public_key.hex(),
        "info": info.hex(),
        "shared_secret": shared_secret.hex(),
        "key": schedule.key.hex(),
        "base_nonce": schedule.base_nonce.hex(),
        "response_secret": schedule.export(EXPORT_CONTEXT, 32).hex(),
    }


def complete(vector: Case) -> Case:
    """Return the vector with its secrets and its sealed messages."""
    session = sender_session(vector)
    packing = packing_of(vector)
    sealer = session.seal(bytes.fromhex(vector["epoch"]), vector["expiry_ms"], packing)
    request = seal_chunks(sealer, vector["request_chunks"])
    opened = receiver(vector).open_head(request, vector["now_ms"])
    assert opened is not None
    response = seal_chunks(
        opened.binding.sealer(bytes.fromhex(vector["response_nonce"]), packing), vector["response_chunks"]
    )
    return vector | derived(vector) | {"request": request.hex(), "response": response.hex()}


if __name__ == "__main__":
    print(json.dumps([complete(vector) for vector in CASES], indent=1))
