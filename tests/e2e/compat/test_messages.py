"""Wire format v1 on real connections: what comes through, with the original and among ourselves."""

from __future__ import annotations

import os
from typing import Any

import pytest

from fastproxy.wire.compat.message import decode_request, encode_response
from tests.e2e.client import Client, fetch, request_bytes
from tests.e2e.compat.parties import (
    ALL_ON,
    CALLERS,
    LIMIT_BYTES,
    RECORDED,
    SEALED,
    Original,
    Party,
    Services,
    as_caller,
    call,
    recorded,
    said,
    sender,
)
from tests.e2e.http_wire import chunked
from tests.e2e.proxies import ProxyProcess, endpoint_of, key_of, reserved_port
from tests.e2e.services import Conversation, ScriptedService, sized

LOST = ("c_sign", "c_plain")
"""Callers whose response body the original loses."""
EACH_RECORDED = pytest.mark.parametrize(
    "exchange",
    RECORDED["exchanges"],
    ids=[f"{e['caller']}-{len(recorded(e, 'request_body'))}" for e in RECORDED["exchanges"]],
)


# --- the recorded exchanges ---------------------------------------------------------------------------------


@EACH_RECORDED
def test_the_in_proxy_answers_the_original_as_the_original_did(
    inner: ProxyProcess, services: Services, exchange: dict[str, Any]
) -> None:
    answer = call(
        inner.listen, exchange["caller"], recorded(exchange, "wire_request"), target=exchange["wire_path"]
    )
    wanted = recorded(exchange, "wire_response")
    if exchange["caller"] in LOST:
        wanted = encode_response(b"echo:" + recorded(exchange, "delivered"), wanted)
    assert (answer.status, answer.body) == (200, wanted)
    got = services["echo_service"].last
    assert got.start == f"POST {exchange['delivered_path']} HTTP/1.1"
    assert got.body == recorded(exchange, "delivered")


@EACH_RECORDED
def test_the_out_proxy_speaks_to_the_original_as_the_original_did(
    to_original: ProxyProcess, original: Original, exchange: dict[str, Any]
) -> None:
    original.answer = sized(recorded(exchange, "wire_response"), "Content-Type: application/json")
    body = recorded(exchange, "request_body")
    answer = fetch(
        to_original.listen, "POST", "/echo_service/api/service", body, as_caller(exchange["caller"])
    )
    assert (answer.status, answer.body) == (200, recorded(exchange, "client_body"))
    assert answer.get("content-type") == "application/json"
    sent = original.last
    assert sent.start == f"POST {exchange['wire_path']} HTTP/1.1"
    assert sent.all("c_servicename") == [exchange["caller"]]
    ours, theirs = decode_request(sent.body), decode_request(recorded(exchange, "wire_request"))
    assert (ours.sign, ours.payload) == (theirs.sign, theirs.payload)
    if exchange["caller"] == "c_all_128":  # elsewhere the original also names the keys that it doesn't use
        assert sent.body == recorded(exchange, "wire_request")


# --- among ourselves ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", CALLERS)
@pytest.mark.parametrize("body", [b"", b"param=hello", b"0123456789abcdef" * 5000, os.urandom(1000)])
def test_a_body_comes_through_whatever_is_done_to_messages(
    out: ProxyProcess, services: Services, caller: str, body: bytes
) -> None:
    answer = fetch(out.listen, "POST", "/echo_service/x?a=1&a=%20", body, as_caller(caller))
    assert (answer.status, answer.body) == (200, b"echo:" + body)
    got = services["echo_service"].last
    assert (got.start, got.body) == ("POST /x?a=1&a=%20 HTTP/1.1", body)
    assert got.get("fastproxy-caller") == caller
    assert got.all("c_servicename") == got.all("x-caller") == []


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("body", [None, b"content"])
def test_methods_arrive_as_they_were_sent(
    out: ProxyProcess, services: Services, method: str, body: bytes | None
) -> None:
    answer = fetch(out.listen, method, "/echo/thing", body, as_caller(ALL_ON))
    assert (answer.status, answer.body) == (200, body or b"")
    assert services["echo"].last.start == f"{method} /thing HTTP/1.1"
    if body is None and method in ("GET", "DELETE"):
        assert services["echo"].last.all("content-length") == []


def test_what_a_service_refuses_reaches_the_caller_as_it_is(out: ProxyProcess) -> None:
    """Status, body and repeated fields; even a field by which in proxies say that they refused."""
    with Client(out.listen) as client:
        for _ in range(2):
            answer = client.request("GET", "/missing/x", headers=as_caller(ALL_ON))
            assert (answer.start, answer.body) == ("HTTP/1.1 404 Gone", b"no such thing")
            assert answer.all("x-kind") == ["a", "b"]
            assert answer.get("date").endswith(" GMT")
            assert ", ".join(answer.all("via")) == "1.1 in, 1.1 out"


def test_answers_without_content_leave_the_connection_usable(out: ProxyProcess) -> None:
    with Client(out.listen) as client:
        for name, method, status in (
            ("empty", "GET", 204),
            ("unchanged", "GET", 304),
            ("head", "HEAD", 200),
        ):
            answer = client.request(method, f"/{name}/x", headers=as_caller(ALL_ON))
            assert (answer.status, answer.body, answer.all("content-length")) == (status, b"", [])
        assert client.request("GET", "/echo/x", headers=as_caller(ALL_ON)).status == 200


def test_repeated_fields_and_both_hops_reach_the_service(out: ProxyProcess, services: Services) -> None:
    fields = ["X-Kind: a", "Cookie: c=1", "x-kind: b", "Connection: X-Mine", "X-Mine: 1"]
    claims = ["C_ServiceName: admin", "Fastproxy-Caller: admin", "Proxy-Authorization: Basic x"]
    fetch(out.listen, "GET", "/echo/x", headers=[*as_caller(ALL_ON), *fields, *claims])
    got = services["echo"].last
    assert (got.all("x-kind"), got.all("x-mine"), got.get("cookie")) == (["a", "b"], [], "c=1")
    assert (got.get("fastproxy-caller"), got.all("c_servicename")) == (ALL_ON, [])
    assert (got.get("via"), got.all("proxy-authorization")) == ("1.1 out, 1.1 in", [])


def test_a_chunked_request_is_held_and_goes_on_whole(out: ProxyProcess, services: Services) -> None:
    pieces = [b"x" * 70_000, b"y" * 70_000, b"z"]
    head = request_bytes("POST", "/echo/x", None, [*as_caller(ALL_ON), "Transfer-Encoding: chunked"])
    with Client(out.listen) as client:
        client.send(head + chunked(*pieces))
        assert client.answer().body == b"".join(pieces)
    assert services["echo"].last.get("content-length") == "140001"


def test_a_caller_that_waits_for_100_gets_it(out: ProxyProcess) -> None:
    head = request_bytes(
        "POST", "/echo/x", None, [*as_caller(ALL_ON), "Content-Length: 3", "Expect: 100-continue"]
    )
    with Client(out.listen) as client:
        client.send(head)
        assert client.interim() == "HTTP/1.1 100 Continue"
        client.send(b"abc")
        assert client.answer().body == b"abc"


def test_options_star_has_no_form(party: Party, original: Original) -> None:
    fixed = party.out_proxy(["echo"], original.endpoint, listen={"service_from": "fixed", "service": "echo"})
    answer = fetch(fixed.listen, "OPTIONS", "*", headers=as_caller(ALL_ON))
    assert (answer.status, answer.cause) == (501, "method_unsupported")


def test_a_lost_in_proxy_is_told_of_in_both_languages(party: Party) -> None:
    with reserved_port() as port:
        out = party.out_proxy(["echo"], f"127.0.0.1:{port}")
        answer = fetch(out.listen, "GET", "/echo/x", headers=as_caller(ALL_ON))
    assert (answer.status, answer.cause) == (503, "connect_refused")
    message, name = said(answer)
    assert (message, name) == (answer.problem["detail"], "out_proxy")


# --- two ways at one port -----------------------------------------------------------------------------------


def test_both_ways_are_taken_at_one_port(party: Party, services: Services) -> None:
    """Callers move over one by one; one that has an identity is no longer taken by its shared keys."""
    both = {"address": "127.0.0.1:0", "accept": ["http", "compat"]}
    keys = {"web": {"public_keys": [key_of("web").public_key.hex()]}}
    inner = party.in_proxy(
        {"echo": services["echo"].endpoint}, listen=both, private_key={"file": "in.key"}, callers=keys
    )
    endpoint = endpoint_of(inner.listen)
    receiver = {"name": "in", "public_keys": [key_of("in").public_key.hex()]}
    out = party.out_proxy(
        ["old"],
        endpoint,
        callers=None,
        caller="web",
        private_key={"file": "web.key"},
        compat={"callers": dict.fromkeys(CALLERS) | {"web": CALLERS[ALL_ON]}},
        services={"echo": {"transport": "http", "receiver": receiver, "endpoints": [endpoint]}},
    )
    for _ in range(2):
        assert fetch(out.listen, "POST", "/echo/x", b"sealed").body == b"sealed"
        assert services["echo"].last.get("fastproxy-caller") == "web"
        assert call(inner.listen, ALL_ON, SEALED).status == 200
        assert services["echo"].last.get("fastproxy-caller") == ALL_ON
    over_compat = fetch(out.listen, "POST", "/old/x", b"sealed")
    assert (over_compat.status, over_compat.cause) == (502, "receiver_refused")
    assert call(inner.listen, "web", SEALED).cause == "identity_unproven"
    assert call(inner.listen, ALL_ON, SEALED, target="/other").cause == "not_an_envelope"


def test_the_context_path_may_be_empty(party: Party, services: Services) -> None:
    inner = party.in_proxy({"echo": services["echo"].endpoint}, compat={"context_path": ""})
    out = party.out_proxy(["echo"], endpoint_of(inner.listen), compat={"context_path": ""})
    assert fetch(out.listen, "POST", "/echo/x", b"content", as_caller(ALL_ON)).body == b"content"


# --- limits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("caller", ["c_plain", ALL_ON, "signs-encrypts-gzip"])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_a_request_at_the_limit_passes_and_one_beyond_is_refused(
    out: ProxyProcess, services: Services, caller: str, framing: str
) -> None:
    body = os.urandom(LIMIT_BYTES)  # what doesn't compress makes the largest message
    for content, status in ((body, 200), (body + b"x", 413)):
        with Client(out.listen) as client:
            if framing == "sized":
                client.send(request_bytes("POST", "/echo/x", content, as_caller(caller)))
            else:
                fields = [*as_caller(caller), "Transfer-Encoding: chunked"]
                client.send(request_bytes("POST", "/echo/x", None, fields) + chunked(content))
            answer = client.answer()
        assert answer.status == status
        if status == 413:
            assert (answer.cause, answer.problem["hop"]) == ("body_too_large", "out")
    assert len(services["echo"].last.body or b"") <= LIMIT_BYTES


@pytest.mark.parametrize("kind", ["sized", "chunked"])
def test_an_answer_at_the_limit_passes_and_one_beyond_is_refused(out: ProxyProcess, kind: str) -> None:
    at_limit = LIMIT_BYTES - (1 if kind == "chunked" else 0)
    answer = fetch(out.listen, "GET", f"/long/{kind}/{at_limit}", headers=as_caller(ALL_ON))
    assert (answer.status, len(answer.body)) == (200, LIMIT_BYTES)
    answer = fetch(out.listen, "GET", f"/long/{kind}/{LIMIT_BYTES + 1}", headers=as_caller(ALL_ON))
    assert (answer.status, answer.cause) == (502, "receiver_refused")
    assert f"more than {LIMIT_BYTES} bytes" in answer.problem["detail"]


@pytest.mark.parametrize("caller", ["c_plain", ALL_ON])
def test_the_in_proxy_refuses_what_is_too_large_by_itself(
    inner: ProxyProcess, services: Services, caller: str
) -> None:
    before = len(services["echo"].requests)
    message = sender(caller).seal(os.urandom(LIMIT_BYTES + 1))
    answer = call(inner.listen, caller, message)
    assert (answer.status, answer.cause) == (413, "body_too_large")
    with Client(inner.listen) as client:  # refused by its length alone, before any of it has come
        fields = [f"C_ServiceName: {caller}", f"Content-Length: {LIMIT_BYTES * 2}"]
        client.send(request_bytes("POST", "/inProxy/echo/x", None, fields))
        assert client.answer().status == 413
    assert len(services["echo"].requests) == before


def test_the_out_proxy_refuses_an_answer_that_is_too_large_by_itself(
    to_original: ProxyProcess, original: Original
) -> None:
    receiver_answer = encode_response(os.urandom(LIMIT_BYTES + 1), b"")
    for body in (receiver_answer, b"x" * LIMIT_BYTES * 2):
        original.answer = sized(body)
        answer = fetch(to_original.listen, "GET", "/echo/x", headers=as_caller("c_plain"))
        assert (answer.status, answer.cause) == (502, "response_body_too_large")


# --- what is left of it -------------------------------------------------------------------------------------


def hang_up(conversation: Conversation) -> None:
    """A script that takes a request and gives no answer."""
    conversation.request()


@pytest.mark.parametrize("failing", ["not there", "hangs up"])
def test_a_body_goes_with_its_exchange_however_that_ends(party: Party, failing: str) -> None:
    """And needn't wait for the collector of cycles, which comes when it likes."""
    count = 40
    with ScriptedService(hang_up) as service:
        endpoint = "127.0.0.1:1" if failing == "not there" else service.endpoint
        inner = party.in_proxy({"echo": endpoint})
        out = party.out_proxy(["echo"], endpoint_of(inner.listen))
        body = os.urandom(LIMIT_BYTES)
        assert fetch(out.listen, "POST", "/echo/x", body, as_caller("c_sign")).status in (502, 503)
        before = {proxy: proxy.memory_bytes("VmRSS") for proxy in (out, inner)}
        for _ in range(count):
            fetch(out.listen, "POST", "/echo/x", body, as_caller("c_sign"))
        for proxy, resident in before.items():
            assert proxy.memory_bytes("VmRSS") - resident < count * LIMIT_BYTES // 3
