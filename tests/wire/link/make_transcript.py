"""Golden transcripts of version 1 of the link: what is said on one, and the script that wrote it down.

    python -m tests.wire.link.make_transcript > tests/data/link_v1.json

They are made once. A change that alters them is a change of the wire format, and needs a version of its own
with transcripts of its own; these stay, so that links with the release before are known to work.
"""

from __future__ import annotations

import json
from typing import Any

from fastproxy.wire.envelope import (
    Refusal,
    ServiceResponse,
    build_request_head,
    build_response_head,
    service_field,
)
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.frames import (
    ACK,
    COMPRESSED,
    DATA,
    DRAINING,
    END,
    EXPECTS,
    GOAWAY,
    IDLE,
    INTERIM,
    PAD,
    PING,
    REFUSED,
    REKEY,
    REQUEST,
    RESET,
    RESPONSE,
    TRAILERS,
    WINDOW,
    build_goaway,
    build_interim,
    build_refused,
    build_reset,
    build_window,
    frame,
)
from fastproxy.wire.link.handshake import Initiator, Responder, mac_key, prologue
from fastproxy.wire.link.hello import HelloInitiator, HelloResponder
from fastproxy.wire.link.noise import NoiseInitiator, rekeyed
from fastproxy.wire.link.terms import LENGTH, OPENING, Established, Params, build_params
from tests.wire.link.parties import Frame

Transcript = dict[str, Any]


def request(http: bytes, content: bytes = b"") -> bytes:
    """The payload of a REQUEST."""
    meta = build_request_head(2000, "4bf92f3577b34da6", service_field("search_service"), http)
    return len(meta).to_bytes(4, "big") + meta + content


def response(head: ServiceResponse | Refusal, content: bytes = b"") -> bytes:
    """The payload of a RESPONSE."""
    meta = build_response_head(head)
    return len(meta).to_bytes(4, "big") + meta + content


POST = request(b"POST /api/service HTTP/1.1\r\nhost: search\r\ncontent-length: 11\r\n\r\n", b"param=hello")
UPLOAD = request(b"PUT /api/upload HTTP/1.1\r\nhost: search\r\n\r\n")
GET = request(b"GET /api/slow HTTP/1.1\r\nhost: search\r\n\r\n")
OK = response(ServiceResponse(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n"), b"world")
STREAMED = response(ServiceResponse(b"HTTP/1.1 201 Created\r\n\r\n"))
DENIED = response(Refusal("no_privilege", b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\n"), b"no")
SNAPPY = b"\x01\x0c\x2csecond piece"
"""The compressor's id, and a block of snappy that holds 12 bytes as they are."""

RECORDS: list[tuple[str, list[Frame]]] = [
    ("caller", [Frame(PING, 0, b"12345678"), Frame(REQUEST | END, 1, POST)]),
    ("receiver", [Frame(PING | ACK, 0, b"12345678"), Frame(RESPONSE | END, 1, OK)]),
    ("caller", [Frame(REQUEST | EXPECTS, 2, UPLOAD), Frame(WINDOW, 0, build_window(65536))]),
    (
        "receiver",
        [
            Frame(INTERIM, 2, build_interim(103, b"link: </style.css>\r\n")),
            Frame(INTERIM, 2, build_interim(100, b"")),
        ],
    ),
    ("caller", [Frame(DATA, 2, b"first piece"), Frame(DATA | COMPRESSED, 2, SNAPPY)]),
    ("caller", [Frame(TRAILERS | END, 2, b"x-sum: 12\r\n")]),
    ("receiver", [Frame(RESPONSE, 2, STREAMED), Frame(DATA, 2, b"answer"), Frame(DATA | END, 2, b"")]),
    ("receiver", [Frame(WINDOW, 0, build_window(1)), Frame(REKEY, 0, b"")]),
    ("receiver", [Frame(PING, 0, bytes(8))]),
    ("caller", [Frame(REQUEST | END, 3, GET), Frame(RESET, 3, build_reset("")), Frame(REKEY, 0, b"")]),
    ("caller", [Frame(REQUEST | END, 4, GET), Frame(REQUEST | END, 5, GET), Frame(REQUEST, 6, UPLOAD)]),
    ("caller", [Frame(WINDOW, 6, build_window(2**31 - 1)), Frame(PAD, 0, bytes(12))]),
    ("receiver", [Frame(RESPONSE | END, 4, DENIED), Frame(RESET, 6, build_reset("message_broken"))]),
    (
        "receiver",
        [Frame(REFUSED, 5, build_refused("overloaded")), Frame(GOAWAY, 0, build_goaway(4, DRAINING))],
    ),
    ("caller", [Frame(GOAWAY, 0, build_goaway(0, IDLE))]),
]
"""What is said, in this order; frames of every kind, and of every flag."""


def case(name: str, psk: bytes = bytes(32)) -> Transcript:
    """Return a transcript, all but what is sealed; bytes as hex."""
    return {
        "name": name,
        "caller_private_key": "11" * 32,
        "receiver_private_key": "22" * 32,
        "caller_ephemeral_private_key": "44" * 32,
        "receiver_ephemeral_private_key": "77" * 32,
        "receiver_name": "search-in",
        "psk": psk.hex(),
        "caller_params": [1 << 20, 1 << 24, 0],
        "receiver_params": [1 << 19, 1 << 23, 4096],
    }


CASES = [case("no pre-shared key"), case("pre-shared key", b"\x55" * 32)]


def private(transcript: Transcript, field: str) -> PrivateKey:
    """Return one of its keys."""
    return PrivateKey.parse(transcript[field])


def initiator(transcript: Transcript) -> Initiator:
    """Return the caller's side."""
    return Initiator(
        private(transcript, "caller_private_key"),
        transcript["receiver_name"],
        private(transcript, "receiver_private_key").public_key,
        bytes.fromhex(transcript["psk"]),
        Params(*transcript["caller_params"]),
        private(transcript, "caller_ephemeral_private_key"),
    )


def responder(transcript: Transcript) -> Responder:
    """Return the receiver's side."""
    return Responder(
        transcript["receiver_name"],
        [private(transcript, "receiver_private_key")],
        {private(transcript, "caller_private_key").public_key: bytes.fromhex(transcript["psk"])}.get,
        Params(*transcript["receiver_params"]),
    )


def answer(transcript: Transcript, message_1: bytes) -> tuple[bytes, Established]:
    """Return what the receiver answers."""
    side = responder(transcript)
    ephemeral = private(transcript, "receiver_ephemeral_private_key")
    return side.answer(message_1, side.check(message_1), ephemeral)


def finish(side: Initiator | HelloInitiator, message_2: bytes) -> Established:
    """Return the caller's side of the link."""
    finished = side.finish(message_2)
    assert finished is not None
    assert finished[1] == b""
    return finished[0]


def records(caller: Established, receiver: Established) -> list[Transcript]:
    """Return what is said on a link, sealed."""
    sides = {"caller": caller.sealer, "receiver": receiver.sealer}
    said = []
    for sender, frames in RECORDS:
        record = sides[sender].seal(b"".join(frame(*each) for each in frames))
        if frames[-1].kind == REKEY:
            sides[sender].rekey()
        hexed = [[f"{each.kind:02x}", each.stream, each.payload.hex()] for each in frames]
        said.append({"from": sender, "frames": hexed, "record": record.hex()})
    return said


def derived(transcript: Transcript, message_1: bytes, message_2: bytes) -> dict[str, str]:
    """Return its secrets and what they are made of, for whoever checks an implementation step by step."""
    receiver_public_key = private(transcript, "receiver_private_key").public_key
    bound = prologue(transcript["receiver_name"].encode(), message_1[: OPENING.size])
    noise = NoiseInitiator(
        private(transcript, "caller_private_key"),
        receiver_public_key,
        bytes.fromhex(transcript["psk"]),
        bound,
        private(transcript, "caller_ephemeral_private_key"),
    )
    noise.write(build_params(Params(*transcript["caller_params"])))
    choice, keys = noise.read(message_2[LENGTH.size :])
    return {
        "caller_public_key": private(transcript, "caller_private_key").public_key.hex(),
        "receiver_public_key": receiver_public_key.hex(),
        "prologue": bound.hex(),
        "mac_key": mac_key(receiver_public_key).hex(),
        "choice": choice.hex(),
        "caller_key": keys.from_initiator.hex(),
        "receiver_key": keys.from_responder.hex(),
        "second_caller_key": rekeyed(keys.from_initiator).hex(),
        "second_receiver_key": rekeyed(keys.from_responder).hex(),
    }


def complete(transcript: Transcript) -> Transcript:
    """Return the transcript of a link without TLS."""
    side = initiator(transcript)
    message_2, receiver = answer(transcript, side.message)
    return (
        transcript
        | derived(transcript, side.message, message_2)
        | {"message_1": side.message.hex(), "message_2": message_2.hex()}
        | {"records": records(finish(side, message_2), receiver)}
    )


def inside_tls() -> Transcript:
    """Return the transcript of a link inside TLS."""
    params = {name: CASES[0][name] for name in ("caller_params", "receiver_params")}
    side = HelloInitiator(Params(*params["caller_params"]))
    message_2, receiver = HelloResponder(Params(*params["receiver_params"])).answer(side.message)
    return (
        {"name": "inside TLS"}
        | params
        | {"message_1": side.message.hex(), "message_2": message_2.hex()}
        | {"records": records(finish(side, message_2), receiver)}
    )


if __name__ == "__main__":
    print(json.dumps([*map(complete, CASES), inside_tls()], indent=1))
