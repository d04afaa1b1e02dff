"""Proxies that speak wire format v1, and peers that stand for the Go original.

Keys and callers are those of the recorded exchanges, and a caller for each way to make a message.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fastproxy.wire.compat.keys import EncryptKey, SignKey
from fastproxy.wire.compat.sealing import CompatSender
from tests.e2e.client import Address, Answer, fetch
from tests.e2e.http_wire import Message
from tests.e2e.proxies import Config, ProxyProcess, endpoint_of, merged, write_key
from tests.e2e.services import Conversation, ScriptedService

RECORDED = json.loads((Path(__file__).parents[2] / "data" / "fast_proxy_v1.json").read_text())
SIGN_SECRETS: dict[str, str] = RECORDED["keys"]["sign_keys"]
ENCRYPT_SECRETS: dict[str, str] = RECORDED["keys"]["encrypt_keys"]
SNAPPY_ID, GZIP_ID = 0, 1
LIMIT_BYTES = 1 << 20

_COMPRESSION = {"none": None, "snappy": SNAPPY_ID, "gzip": GZIP_ID}
_BITS = (True, False)


def _settings(sign: str, encrypt: str, compress: str) -> dict[str, str]:
    return {"sign": sign, "encrypt": encrypt, "compress": compress}


CALLERS: dict[str, dict[str, str]] = {
    name: _settings(
        caller["sign_key"] if caller["sign"] else "",
        caller["encrypt_key"] if caller["encrypt"] else "",
        "snappy" if caller["compress"] else "none",
    )
    for name, caller in RECORDED["callers"].items()
} | {
    f"{'signs' if sign else 'x'}-{'encrypts' if encrypt else 'x'}-{compress}": _settings(
        "s2" if sign else "", "k256" if encrypt else "", compress
    )
    for sign in _BITS
    for encrypt in _BITS
    for compress in _COMPRESSION
}
"""How the messages of each caller are made, by name."""

ALL_ON = "signs-encrypts-snappy"


def sender(caller: str) -> CompatSender:
    """What seals as the Go out proxy does for this caller, and opens the answers."""
    settings = CALLERS[caller]
    sign, encrypt = settings["sign"], settings["encrypt"]
    return CompatSender(
        SignKey(sign, SIGN_SECRETS[sign].encode()) if sign else None,
        EncryptKey(encrypt, ENCRYPT_SECRETS[encrypt].encode()) if encrypt else None,
        _COMPRESSION[settings["compress"]],
    )


SEALED = sender(ALL_ON).seal(b"param=hello")
"""The message of a caller that does everything."""


def call(
    address: Address,
    caller: str,
    message: bytes,
    *,
    target: str = "/inProxy/echo/path",
    method: str = "POST",
    headers: Sequence[str] = (),
) -> Answer:
    """Send a message as it stands to an in proxy, in the name of a caller."""
    return fetch(address, method, target, message, [f"C_ServiceName: {caller}", *headers])


class Original(ScriptedService):
    """A server that stands for the Go in proxy. answer: what it says to whatever comes."""

    def __init__(self) -> None:
        self.answer = b""
        super().__init__(self._answer)

    def _answer(self, conversation: Conversation) -> None:
        while True:
            conversation.request()
            conversation.send(self.answer)


def as_caller(name: str) -> list[str]:
    """The field by which a caller names itself to the out proxy."""
    return [f"X-Caller: {name}"]


def prefixed(conversation: Conversation) -> None:
    """A script that answers as the service of the recorded exchanges did."""
    while True:
        body = conversation.request().body
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {5 + len(body)}\r\n\r\n"
        conversation.send(head.encode() + b"echo:" + body)


def recorded(exchange: Mapping[str, Any], name: str) -> bytes:
    """A byte string of a recorded exchange."""
    return base64.b64decode(exchange[name])


def _literals(secrets: Mapping[str, str]) -> Config:
    return {name: {"literal": secret, "insecure_literal": True} for name, secret in secrets.items()}


def in_section() -> Config:
    """The section `compat` of an in proxy that knows all callers."""
    return {
        "trust_claimed_caller": True,
        "body_limit_bytes": LIMIT_BYTES,
        "sign_keys": _literals(SIGN_SECRETS),
        "encrypt_keys": _literals(ENCRYPT_SECRETS),
        "callers": {
            name: {key: [settings[key]] if settings[key] else [] for key in ("sign", "encrypt")}
            for name, settings in CALLERS.items()
        },
    }


def out_section() -> Config:
    """The section `compat` of an out proxy that knows all callers."""
    section = in_section()
    del section["trust_claimed_caller"]
    return section | {"callers": CALLERS}


Services = dict[str, ScriptedService]
Pair = tuple[ProxyProcess, ProxyProcess]
"""An out proxy and the in proxy behind it."""


class Party:
    """Starts proxies that end with a test module.

    Args:
        stack: ends them.
    """

    def __init__(self, stack: ExitStack, factory: pytest.TempPathFactory) -> None:
        self._stack = stack
        self._factory = factory

    def in_proxy(self, services: Mapping[str, str], /, **changes: Any) -> ProxyProcess:
        """Start an in proxy that takes compat. services: name to endpoint."""
        config = {
            "role": "in",
            "name": "in",
            "listen": {"address": "127.0.0.1:0", "accept": ["compat"]},
            "compat": in_section(),
            "services": {name: {"endpoints": [endpoint]} for name, endpoint in services.items()},
            "privileges": [{"callers": ["*"], "services": ["*"]}],
        }
        return self._start(merged(config, changes))

    def out_proxy(self, services: Sequence[str], receiver: str, /, **changes: Any) -> ProxyProcess:
        """Start an out proxy. receiver: the endpoint of the in proxy in front of all services."""
        config = {
            "role": "out",
            "name": "out",
            "listen": {"address": "127.0.0.1:0"},
            "callers": {"header": "X-Caller", "names": {name: {} for name in CALLERS}},
            "compat": out_section(),
            "services": {name: {"transport": "compat", "endpoints": [receiver]} for name in services},
        }
        return self._start(merged(config, changes))

    def pair(self, services: Mapping[str, str], /, **changes: Any) -> tuple[ProxyProcess, ProxyProcess]:
        """Start an in proxy and an out proxy before it. changes: of the in proxy."""
        inner = self.in_proxy(services, **changes)
        return self.out_proxy(list(services), endpoint_of(inner.listen)), inner

    def _start(self, config: Config) -> ProxyProcess:
        folder = self._factory.mktemp("compat")
        for name in ("in", "web"):
            write_key(folder, name)
        common = {"admin": {"address": "127.0.0.1:0"}, "drain": {"grace_s": 1}, "workers": 1}
        proxy = ProxyProcess(folder, common | config)
        self._stack.callback(proxy.stop)
        return proxy.ready()


def said(answer: Message) -> tuple[str, str]:
    """What the original's two header fields say."""
    return answer.get("proxy_error_message"), answer.get("proxy_name")
