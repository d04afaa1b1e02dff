"""Wire format v1 as the Go original speaks it: each recorded exchange, both ways, to the byte."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from fastproxy.wire.compat.keys import EncryptKey, SignKey
from fastproxy.wire.compat.message import (
    decode_request,
    decode_response,
    encode_request,
    encode_request_settings,
    encode_response,
)
from fastproxy.wire.compat.sealing import CompatCaller, CompatReceiver, CompatSender

ROOT = Path(__file__).parent.parent.parent
RECORDED = json.loads((ROOT / "tests" / "data" / "fast_proxy_v1.json").read_text())
LIMIT_BYTES = 1 << 20
SNAPPY_ID = 0
SIGN_KEYS = {name: SignKey(name, secret.encode()) for name, secret in RECORDED["keys"]["sign_keys"].items()}
ENCRYPT_KEYS = {
    name: EncryptKey(name, secret.encode()) for name, secret in RECORDED["keys"]["encrypt_keys"].items()
}
LOST = ("c_sign", "c_plain")
"""The callers whose response body the original loses."""

EACH = pytest.mark.parametrize(
    "exchange",
    RECORDED["exchanges"],
    ids=[f"{e['caller']}-{len(base64.b64decode(e['request_body']))}" for e in RECORDED["exchanges"]],
)
Exchange = dict[str, Any]


def field(exchange: Exchange, name: str) -> bytes:
    return base64.b64decode(exchange[name])


def sender(exchange: Exchange) -> CompatSender:
    """What seals by the caller's settings."""
    caller = RECORDED["callers"][exchange["caller"]]
    return CompatSender(
        SIGN_KEYS[caller["sign_key"]] if caller["sign"] else None,
        ENCRYPT_KEYS[caller["encrypt_key"]] if caller["encrypt"] else None,
        SNAPPY_ID if caller["compress"] else None,
    )


def naming_all_keys(message: bytes) -> bytes:
    """The same as the original makes it, which names a configured key also where it is switched off."""
    request = decode_request(message)
    settings = msgspec.structs.replace(
        request.settings,
        sign_key_name=request.settings.sign_key_name or b"s1",
        encrypt_key_name=request.settings.encrypt_key_name or b"k128",
    )
    return encode_request(request.sign, request.payload, encode_request_settings(settings))


def receiver() -> CompatReceiver:
    return CompatReceiver(
        [
            CompatCaller(
                name,
                (SIGN_KEYS[caller["sign_key"]],) if caller["sign"] else (),
                (ENCRYPT_KEYS[caller["encrypt_key"]],) if caller["encrypt"] else (),
            )
            for name, caller in RECORDED["callers"].items()
        ]
    )


def test_every_kind_of_exchange_was_recorded() -> None:
    assert {exchange["caller"] for exchange in RECORDED["exchanges"]} == set(RECORDED["callers"])
    assert len(RECORDED["exchanges"]) == 20


@EACH
def test_a_request_is_sealed_as_the_original_seals_it(exchange: Exchange) -> None:
    sealed, caller = (
        sender(exchange).seal(field(exchange, "request_body")),
        RECORDED["callers"][exchange["caller"]],
    )
    if caller["sign"] and caller["encrypt"]:
        assert sealed == field(exchange, "wire_request")
    assert naming_all_keys(sealed) == field(exchange, "wire_request")


@EACH
def test_a_request_of_the_original_is_opened(exchange: Exchange) -> None:
    message = field(exchange, "wire_request")
    assert receiver().open(exchange["caller"], message, LIMIT_BYTES).body == field(exchange, "delivered")


@EACH
def test_a_response_of_the_original_is_opened(exchange: Exchange) -> None:
    message = field(exchange, "wire_response")
    assert sender(exchange).open_response(message, LIMIT_BYTES) == field(exchange, "client_body")


@EACH
def test_a_response_is_sealed_as_the_original_seals_it_but_keeps_its_body(exchange: Exchange) -> None:
    answer = receiver().open(exchange["caller"], field(exchange, "wire_request"), LIMIT_BYTES).answer
    body = b"echo:" + field(exchange, "delivered")
    sealed, recorded = answer.seal(body), field(exchange, "wire_response")
    if exchange["caller"] in LOST:
        assert field(exchange, "client_body") == b""
        assert decode_response(recorded).payload == b""
        assert sealed == encode_response(body, recorded)
    else:
        assert sealed == recorded
    assert sender(exchange).open_response(sealed, LIMIT_BYTES) == body


def test_the_worked_example_of_the_documentation_is_the_first_exchange() -> None:
    chapter = (ROOT / "docs" / "wire.md").read_text().partition("# compat: wire format v1")[2]
    example = chapter.partition("## A worked example")[2]
    code = [line for line in example.splitlines() if line.startswith("    ")]
    shown = "".join(re.findall(r"\b(?:[0-9a-f]{2})+\b", "\n".join(code)))
    for name in ("wire_request", "wire_response"):
        assert field(RECORDED["exchanges"][0], name).hex() in shown
