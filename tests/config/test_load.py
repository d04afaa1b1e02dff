"""Files that must load, and what their snapshots hold."""

from __future__ import annotations

import msgspec
import pytest

from fastproxy.config.snapshot import InSnapshot, OutSnapshot
from tests.config.conftest import Folder


def out_example(folder: Folder) -> str:
    folder.key("chat_service")
    return f"""\
role: out
listen: {{address: 127.0.0.1:8034, service_from: path}}
caller: chat_service
private_key: {{file: chat_service.key}}
services:
  search_service:
    transport: http
    receiver: {{name: search-in, public_keys: [{folder.key("search-in")}]}}
    endpoints: [127.0.0.1:8033]
    timeout_s: 2
admin: {{address: 127.0.0.1:9034}}
"""


def in_example(folder: Folder) -> str:
    folder.key("search-in")
    rate = "rate: {per_s: 100, burst: 20}"
    return f"""\
role: in
name: search-in
listen: {{address: 127.0.0.1:8033, accept: [http]}}
private_key: {{file: search-in.key}}
callers:
  chat_service: {{public_keys: [{folder.key("chat_service")}]}}
services:
  search_service: {{endpoints: [127.0.0.1:8102], timeout_s: 2}}
privileges:
  - {{callers: [chat_service], services: [search_service], methods: [POST], paths: [/api/service], {rate}}}
admin: {{address: 127.0.0.1:9033}}
"""


def test_the_out_example_loads_as_written(folder: Folder) -> None:
    snapshot = folder.load(out_example(folder))
    assert isinstance(snapshot, OutSnapshot)
    service = snapshot.services["search_service"]
    assert (snapshot.listen.host, snapshot.listen.port) == ("127.0.0.1", 8034)
    assert service.receiver is not None
    assert service.receiver.name == "search-in"
    assert service.receiver.public_keys == (bytes.fromhex(folder.key("search-in")),)
    assert [(a.host, a.port) for a in service.endpoints] == [("127.0.0.1", 8033)]
    assert service.settings.timeout_s == 2
    assert service.line == 6
    assert snapshot.caller_keys.keys() == {"chat_service"}
    assert len(snapshot.caller_keys["chat_service"].reveal()) == 32


def test_the_in_example_loads_as_written(folder: Folder) -> None:
    snapshot = folder.load(in_example(folder))
    assert isinstance(snapshot, InSnapshot)
    (grant,) = snapshot.grants
    assert (grant.callers, grant.services) == (("chat_service",), ("search_service",))
    assert (grant.methods, grant.paths, grant.line) == (("POST",), ("/api/service",), 10)
    assert grant.rate is not None
    assert (grant.rate.per_s, grant.rate.burst) == (100, 20)
    assert snapshot.callers["chat_service"].public_keys == (bytes.fromhex(folder.key("chat_service")),)
    assert snapshot.admin is not None


def test_services_share_a_receiver_through_defaults_and_keep_their_own_settings(folder: Folder) -> None:
    folder.key("web")
    snapshot = folder.load(f"""\
role: out
caller: web
private_key: {{file: web.key}}
receivers:
  shop-in: {{public_keys: [{folder.key("shop-in")}], endpoints: [shop.internal:8033, "[::1]:8033"]}}
defaults: {{receiver: shop-in, timeout_s: 3}}
services:
  cart: {{}}
  orders: {{timeout_s: 30}}
""")
    assert isinstance(snapshot, OutSnapshot)
    cart, orders = snapshot.services["cart"], snapshot.services["orders"]
    assert cart.receiver is orders.receiver
    assert [(a.host, a.port) for a in cart.endpoints] == [("shop.internal", 8033), ("::1", 8033)]
    assert (cart.settings.timeout_s, orders.settings.timeout_s) == (3, 30)


def test_claimable_callers_have_a_key_each(folder: Folder) -> None:
    folder.key("a")
    folder.key("b")
    callers = "callers: {names: {a: {private_key: {file: a.key}}, b: {private_key: {file: b.key}}}}"
    text = out_example(folder).replace("caller: chat_service", callers)
    text = text.replace("private_key: {file: chat_service.key}\n", "")
    snapshot = folder.load(text)
    assert isinstance(snapshot, OutSnapshot)
    assert snapshot.config.callers is not None
    assert snapshot.config.callers.header == "C_ServiceName"
    assert snapshot.caller == ""
    assert snapshot.caller_keys["a"] != snapshot.caller_keys["b"]


def test_a_key_can_come_from_the_environment_or_a_confirmed_literal(folder: Folder) -> None:
    text = out_example(folder)
    secret = "5f" * 32
    from_environment = text.replace("{file: chat_service.key}", "{env: CHAT_KEY}")
    snapshot = folder.load(from_environment, {"CHAT_KEY": secret + "\n"})
    literal = folder.load(
        text.replace("file: chat_service.key", f"literal: {secret}, insecure_literal: true")
    )
    assert isinstance(snapshot, OutSnapshot)
    assert isinstance(literal, OutSnapshot)
    assert snapshot.caller_keys == literal.caller_keys
    assert snapshot.caller_keys["chat_service"].reveal() == bytes.fromhex(secret)


def test_nothing_of_a_snapshot_shows_a_secret(folder: Folder) -> None:
    secret = "5f" * 32
    text = out_example(folder).replace("file: chat_service.key", f"literal: {secret}, insecure_literal: true")
    snapshot = folder.load(text)
    shown = repr(snapshot) + str(snapshot.config)
    assert secret not in shown
    assert repr(bytes.fromhex(secret)) not in shown
    with pytest.raises(TypeError):
        msgspec.json.encode(snapshot.config)


def test_access_log_and_socket_mode_are_not_mangled_by_yaml(folder: Folder) -> None:
    text = out_example(folder).replace(
        "address: 127.0.0.1:8034,",
        "address: unix:/run/fastproxy/out.sock, socket_mode: 0660, allowed_uids: [0],",
    )
    snapshot = folder.load(text + "log: {access: on}\n")
    assert snapshot.config.log.access == "on"
    assert snapshot.config.listen.socket_mode == "0660"
    assert snapshot.listen.is_unix
    assert folder.load(text + "log: {access: 0.01}\n").config.log.access == 0.01


def test_a_key_of_decimal_digits_stays_text(folder: Folder) -> None:
    digits = "1234567890" * 6 + "1234"
    text = in_example(folder).replace(folder.key("chat_service"), digits)
    snapshot = folder.load(text)
    assert isinstance(snapshot, InSnapshot)
    assert snapshot.callers["chat_service"].public_keys == (bytes.fromhex(digits),)
