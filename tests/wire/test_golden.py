"""The wire format stands still: the vectors are opened, and sealed again to the same bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fastproxy.wire.ciphers import CIPHERS
from fastproxy.wire.envelope import parse_request_head, parse_response_head
from fastproxy.wire.records import Chunk
from fastproxy.wire.responses import ResponseOpener, binding_of
from tests.wire.make_vectors import CASES, Case, complete, derived, receiver
from tests.wire.parties import open_response

ROOT = Path(__file__).parent.parent.parent
VECTORS: list[Case] = json.loads((ROOT / "tests" / "data" / "envelope_v2.json").read_text())
EACH = pytest.mark.parametrize("vector", VECTORS, ids=[vector["name"] for vector in VECTORS])


def chunks_of(vector: Case, field: str) -> list[Chunk]:
    chunks = [(bytes.fromhex(meta), bytes.fromhex(data)) for meta, data in vector[field]]
    return [Chunk(meta, data, index == len(chunks)) for index, (meta, data) in enumerate(chunks, 1)]


def test_every_case_has_its_vector() -> None:
    assert [vector["name"] for vector in VECTORS] == [case["name"] for case in CASES]
    for vector, case in zip(VECTORS, CASES, strict=True):
        assert vector | case == vector


@EACH
def test_it_opens_to_what_was_sealed(vector: Case) -> None:
    request, response = bytes.fromhex(vector["request"]), bytes.fromhex(vector["response"])
    opened = receiver(vector).open_head(request, vector["now_ms"])
    assert opened is not None
    assert parse_request_head(opened.chunk.meta).exchange_id == "4bf92f3577b34da6"
    rest = opened.opener()
    chunks = [opened.chunk, *rest.feed(request[opened.consumed_bytes :])]
    rest.eof()
    assert chunks == chunks_of(vector, "request_chunks")

    response_aead = CIPHERS[vector["aead_id"]].keyed(bytes.fromhex(vector["response_secret"]))
    header_bytes = 89 + len(vector["receiver_name"])
    opener = ResponseOpener(
        response_aead, binding_of(request[:header_bytes], request[: opened.consumed_bytes])
    )
    answer = open_response(opener, response)
    assert answer == chunks_of(vector, "response_chunks")
    parse_response_head(answer[0])


@EACH
def test_it_is_sealed_to_the_same_bytes(vector: Case) -> None:
    if vector["compressor_id"]:
        case = vector | {"compressor_id": 0, "request": "", "response": ""}
        assert len(complete(case)["request"]) > len(vector["request"]), "the vector is compressed"
    else:
        assert complete(vector) == vector


@EACH
def test_the_secrets_are_derived_as_written_down(vector: Case) -> None:
    secrets = derived(vector)
    assert secrets == {name: vector[name] for name in secrets}


def test_the_first_vector_opens_by_hand() -> None:
    """As docs/wire.md explains it, with nothing of the package."""
    vector = VECTORS[0]
    key, nonce, secret, random_12 = (
        bytes.fromhex(vector[field]) for field in ("key", "base_nonce", "response_secret", "response_nonce")
    )
    request, response = bytes.fromhex(vector["request"]), bytes.fromhex(vector["response"])
    header, word, ciphertext = request[:98], request[98:102], request[102:]
    assert word == (1 << 31 | len(ciphertext)).to_bytes(4, "big")
    plaintext = AESGCM(key).decrypt(nonce[:11] + bytes((nonce[11] ^ 1,)), ciphertext, header)
    assert plaintext.endswith(b"POST /api/service HTTP/1.1\r\nhost: search\r\n\r\nparam=hello")

    bound_to = header + request[-16:]
    only_record = random_12[:11] + bytes((random_12[11] ^ 1,))
    plaintext = AESGCM(secret).decrypt(only_record, response[22:], response[:18] + bound_to)
    assert plaintext.endswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nworld")


def test_the_worked_example_of_the_documentation_is_the_first_vector() -> None:
    text = "".join((ROOT / "docs" / "wire.md").read_text().split())
    vector = VECTORS[0]
    for field in ("request", "response", "key", "base_nonce", "response_secret", "shared_secret", "info"):
        assert vector[field] in text, f"docs/wire.md does not show {field}"
