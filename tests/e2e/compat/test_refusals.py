"""Wire format v1 on real connections: what is refused, at either proxy, and how that is told."""

from __future__ import annotations

import gzip
import os
import re
import time

import pytest

from fastproxy.wire.compat.keys import EncryptKey, SignKey
from fastproxy.wire.compat.message import (
    RequestSettings,
    decode_request,
    encode_request,
    encode_request_settings,
    encode_response,
)
from fastproxy.wire.compat.sealing import CompatSender
from tests.e2e.client import Answer, Client, fetch, request_bytes
from tests.e2e.compat.parties import (
    ALL_ON,
    CALLERS,
    ENCRYPT_SECRETS,
    GZIP_ID,
    LIMIT_BYTES,
    SEALED,
    SIGN_SECRETS,
    SNAPPY_ID,
    Original,
    Pair,
    Party,
    Services,
    as_caller,
    call,
    said,
    sender,
)
from tests.e2e.proxies import ProxyProcess
from tests.e2e.services import ScriptedService, sized

# --- who calls ----------------------------------------------------------------------------------------------


def changed(message: bytes, old: bytes, new: bytes) -> bytes:
    assert message.count(old) == 1
    return message.replace(old, new)


SIGN = decode_request(SEALED).sign
PAYLOAD = decode_request(SEALED).payload
OWN_SIGN = SignKey("s2", SIGN_SECRETS["s2"].encode())
FOREIGN_ENCRYPT = EncryptKey("k128", ENCRYPT_SECRETS["k128"].encode())
UNPROVEN: dict[str, tuple[str, bytes]] = {
    "wrong sign": (ALL_ON, changed(SEALED, SIGN[:4], bytes(reversed(SIGN[:4])))),
    "upper case sign": (ALL_ON, changed(SEALED, SIGN, SIGN.upper())),
    "changed payload": (ALL_ON, changed(SEALED, PAYLOAD[-3:], b"abc")),
    "nothing done": (ALL_ON, sender("x-x-none").seal(b"param=hello")),
    "only signed": (ALL_ON, sender("signs-x-none").seal(b"param=hello")),
    "only encrypted": (ALL_ON, sender("x-encrypts-none").seal(b"param=hello")),
    "another caller's keys": (ALL_ON, sender("c_all_128").seal(b"param=hello")),
    "another caller's encrypt key": (ALL_ON, CompatSender(OWN_SIGN, FOREIGN_ENCRYPT, None).seal(b"hello")),
    "unknown sign key": (ALL_ON, changed(SEALED, b"s2", b"s9")),
    "unknown encrypt key": (ALL_ON, changed(SEALED, b"k256", b"k999")),
    "unknown caller": ("admin", SEALED),
    "no caller": ("", SEALED),
    "two callers": (f"{ALL_ON}\r\nC_ServiceName: {ALL_ON}", SEALED),
    "signed where it needn't, wrongly": ("c_plain", changed(SEALED, SIGN[:4], b"0000")),
}


def shape(answer: Answer) -> tuple[object, ...]:
    """All of an answer but for its time and its exchange id."""
    fields = [(name, value) for name, value in answer.fields if name != "date"]
    return answer.start, fields, re.sub(rb'"exchange":"[0-9a-fx]+"', b"", answer.body)


@pytest.mark.parametrize("name", UNPROVEN)
def test_nobody_is_taken_at_less_than_the_config_demands(
    inner: ProxyProcess, services: Services, name: str
) -> None:
    before = len(services["echo"].requests)
    caller, message = UNPROVEN[name]
    answer = call(inner.listen, caller, message)
    assert shape(answer) == shape(call(inner.listen, *UNPROVEN["wrong sign"]))
    assert (answer.status, answer.cause) == (401, "identity_unproven")
    assert answer.problem["detail"] == answer.problem["title"]
    assert said(answer) == (answer.problem["title"], "in_proxy")
    assert len(services["echo"].requests) == before


def test_a_wrong_padding_looks_like_any_other_failure(inner: ProxyProcess) -> None:
    """Also to those who needn't sign: status, fields and body are the same."""
    caller = "x-encrypts-none"
    sealed = sender(caller).seal(b"0123456789abcdef")
    last_block = decode_request(sealed).payload[16:]
    wrong = [changed(sealed, last_block, os.urandom(16)) for _ in range(8)]
    answers = [call(inner.listen, caller, message) for message in wrong]
    answers.append(call(inner.listen, caller, changed(sealed, b"k256", b"k999")))
    refused = [answer for answer in answers if answer.status != 200]  # a guess in 256 is right
    assert len(refused) >= 2
    nobody = call(inner.listen, "admin", sealed)
    assert all(shape(answer) == shape(nobody) for answer in refused)


def bomb(payload: bytes, algorithm: int) -> bytes:
    """A message, rightly signed, with a payload that is all bomb."""
    settings = RequestSettings(
        compress=True, sign_enable=True, sign_key_name=b"s1", compress_algorithm=algorithm
    )
    sign = SignKey("s1", SIGN_SECRETS["s1"].encode()).sign(payload)
    return encode_request(sign, payload, encode_request_settings(settings))


@pytest.mark.parametrize(
    ("message", "status", "cause"),
    [
        (bomb(b"\xff\xff\xff\xff\x0f" + b"\xfe\x01\x00" * 40, SNAPPY_ID), 413, "body_too_large"),
        (bomb(b"\x80\x80\x20" + b"a", SNAPPY_ID), 400, "compression_broken"),
        (bomb(gzip.compress(bytes(64 * LIMIT_BYTES)), GZIP_ID), 413, "body_too_large"),
    ],
    ids=["declares 4 GiB", "declares more than it holds", "64 MiB of zeros"],
)
def test_a_bomb_gets_no_memory(
    inner: ProxyProcess, services: Services, message: bytes, status: int, cause: str
) -> None:
    before, resident = len(services["echo"].requests), inner.begin_peak()
    answer = call(inner.listen, "c_sign", message)
    assert (answer.status, answer.cause) == (status, cause)
    assert len(services["echo"].requests) == before
    assert inner.memory_bytes("VmHWM") - resident < 8 * LIMIT_BYTES


@pytest.mark.parametrize(
    ("message", "status", "cause"),
    [
        (b"", 401, "identity_unproven"),
        (b"\xff" * 40, 400, "envelope_malformed"),
        (SEALED + SEALED, 400, "envelope_malformed"),
        (SEALED + b"\x48\x01", 400, "envelope_malformed"),
        (SEALED[:-1], 400, "envelope_malformed"),
        (b"\x0a" + b"\xff" * 9 + b"\x01", 400, "envelope_malformed"),
        (changed(SEALED, b"\x20\x01\x2a", b"\x2a"), 400, "envelope_malformed"),
        (SEALED + b"\x40\x02", 400, "compression_broken"),
        (SEALED + b"\x40\x01", 400, "compression_broken"),
    ],
    ids=["empty", "garbage", "twice", "unknown field", "cut", "huge number", "flag stripped", "id 2", "id 1"],
)
def test_what_is_no_message_is_refused(
    inner: ProxyProcess, services: Services, message: bytes, status: int, cause: str
) -> None:
    before = len(services["echo"].requests)
    answer = call(inner.listen, ALL_ON, message)
    assert (answer.status, answer.cause) == (status, cause)
    assert said(answer)[1] == "in_proxy"
    assert len(services["echo"].requests) == before
    assert call(inner.listen, ALL_ON, SEALED).status == 200


# --- until when ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dead_time", "status"),
    [("1", 504), ("0", 504), ("soon", 400), ("-1", 400), ("1e9", 400), ("9" * 15, 200), ("9" * 16, 400)],
)
def test_a_dead_time_is_held_to(inner: ProxyProcess, services: Services, dead_time: str, status: int) -> None:
    before = len(services["echo"].requests)
    answer = call(inner.listen, ALL_ON, SEALED, headers=[f"request_dead_time: {dead_time}"])
    assert answer.status == status
    assert len(services["echo"].requests) == before + (status == 200)
    if status == 504:
        assert said(answer) == ("the deadline had passed when the request arrived", "in_proxy")


def test_a_dead_time_reaches_the_in_proxy_and_the_service(
    to_original: ProxyProcess, original: Original, out: ProxyProcess, services: Services
) -> None:
    dead_time = str(int(time.time()) + 100)
    field = f"request_dead_time: {dead_time}"
    original.answer = sized(b"")
    fetch(to_original.listen, "GET", "/echo/x", headers=[*as_caller("c_plain"), field])
    assert original.last.get("request_dead_time") == dead_time
    assert fetch(out.listen, "GET", "/echo/x", headers=[*as_caller(ALL_ON), field]).status == 200
    assert services["echo"].last.get("request_dead_time") == dead_time
    assert int(services["echo"].last.get("fastproxy-timeout-ms")) > 1000


def test_a_service_that_is_too_slow_is_given_up(party: Party) -> None:
    with ScriptedService(lambda conversation: conversation.until_gone()) as silent:
        inner = party.in_proxy({"echo": silent.endpoint}, defaults={"timeout_s": 0.2})
        answer = call(inner.listen, ALL_ON, SEALED)
        assert (answer.status, answer.cause, said(answer)[1]) == (504, "deadline_exceeded", "in_proxy")
        with Client(inner.listen) as client:  # and so is a message that never comes to its end
            fields = [f"C_ServiceName: {ALL_ON}", "Content-Length: 1000"]
            client.send(request_bytes("POST", "/inProxy/echo/x", None, fields) + b"begun")
            assert client.answer().cause == "deadline_exceeded"


# --- what a caller may --------------------------------------------------------------------------------------


def test_a_rate_and_a_privilege_hold_and_their_refusals_come_through(
    party: Party, services: Services, pair: Pair
) -> None:
    out, inner = pair
    first = fetch(out.listen, "GET", "/echo/limited", headers=as_caller(ALL_ON))
    second = fetch(out.listen, "GET", "/echo/limited", headers=as_caller(ALL_ON))
    assert (first.status, second.status, second.cause) == (200, 429, "receiver_refused")
    assert int(second.get("retry-after")) > 1
    raw = call(inner.listen, ALL_ON, SEALED, target="/inProxy/echo/limited")
    assert (raw.status, raw.cause) == (429, "rate_limited")

    strict = party.in_proxy(
        {"echo": services["echo"].endpoint},
        privileges=[{"callers": [ALL_ON], "services": ["echo"], "methods": ["POST"], "paths": ["/open"]}],
    )
    before = len(services["echo"].requests)
    for caller, method, path in (
        (ALL_ON, "POST", "closed"),
        (ALL_ON, "GET", "open"),
        ("c_sign", "POST", "open"),
    ):
        message = sender(caller).seal(b"")
        answer = call(strict.listen, caller, message, target=f"/inProxy/echo/{path}", method=method)
        assert (answer.status, answer.cause, said(answer)[1]) == (403, "no_privilege", "in_proxy")
    assert len(services["echo"].requests) == before
    assert call(strict.listen, ALL_ON, SEALED, target="/inProxy/echo/open?x=1").status == 200


@pytest.mark.parametrize(
    ("target", "status", "cause"),
    [
        ("/inProxy/unknown/x", 404, "service_unknown"),
        ("/inProxy/", 404, "service_unknown"),
        ("/inProxy//echo", 404, "service_unknown"),
        ("/inProxy", 404, "not_an_envelope"),
        ("/inproxy/echo/x", 404, "not_an_envelope"),
        ("/echo/x", 404, "not_an_envelope"),
        ("/fastproxy/v2", 404, "not_an_envelope"),
        ("/inProxy/echo/../other", 400, "ambiguous_path"),
        ("/inProxy/echo//x", 400, "ambiguous_path"),
        ("/inProxy/echo/%2e%2e/other", 400, "ambiguous_path"),
        ("/inProxy/echo/%2Fx", 400, "ambiguous_path"),
        ("/inProxy/echo/..;/x", 400, "ambiguous_path"),
        ("/inProxy/echo/%", 400, "malformed_request"),
        ("/inProxy/echo%2Fx", 404, "service_unknown"),
        ("/inProxy/%65cho/x", 404, "service_unknown"),
        ("/inProxy/../inProxy/echo/x", 404, "service_unknown"),
        ("//inProxy/echo/x", 404, "not_an_envelope"),
        ("/inProxy%2Fecho/x", 404, "not_an_envelope"),
    ],
)
def test_a_target_that_leads_nowhere_is_refused(
    inner: ProxyProcess, services: Services, target: str, status: int, cause: str
) -> None:
    before = len(services["echo"].requests)
    answer = call(inner.listen, ALL_ON, SEALED, target=target)
    assert (answer.status, answer.cause) == (status, cause)
    assert len(services["echo"].requests) == before


@pytest.mark.parametrize(
    "path",
    [
        "/../other/x",
        "/%2e%2E/%2e./debug/pprof",
        "/a/..",
        "/a/..;x/b",
        "/a\\..\\..\\b",
        "/a%2f..%2Fb",
        "/.?a",
    ],
)
def test_a_path_that_a_reader_on_the_way_would_resolve_leaves_no_out_proxy(
    to_original: ProxyProcess, original: Original, path: str
) -> None:
    """The original resolves it, and so would call what the out proxy's config doesn't know."""
    before = len(original.requests)
    for _ in range(2):  # the second one could take the short way
        answer = fetch(to_original.listen, "GET", f"/echo{path}", headers=as_caller(ALL_ON))
        assert (answer.status, answer.cause, said(answer)[1]) == (400, "ambiguous_path", "out_proxy")
    assert len(original.requests) == before
    original.answer = sized(b"")
    fetch(to_original.listen, "GET", "/echo/.well-known/a..b/...?/../x", headers=as_caller("c_plain"))
    assert original.last.start == "GET /inProxy/echo/.well-known/a..b/...?/../x HTTP/1.1"


def test_no_field_of_a_message_passes_for_one_of_the_proxys(inner: ProxyProcess, services: Services) -> None:
    """Of whoever called, the service learns from the proxy alone."""
    claims = [
        "Fastproxy-Caller: admin",
        "fastproxy_caller: admin",
        "Fastproxy-Exchange: 0",
        "X_Forwarded_For: 192.0.2.1",
        "C-ServiceName: admin",
        "request-dead-time: 0",
    ]
    assert call(inner.listen, ALL_ON, SEALED, headers=claims).status == 200
    got = services["echo"].last
    assert not [name for name, value in got.fields if value in ("admin", "0")]
    assert (got.get("fastproxy-caller"), got.get("x-forwarded-for")) == (ALL_ON, "127.0.0.1")


def test_which_services_there_are_is_told_to_nobody_who_is_not_proven(inner: ProxyProcess) -> None:
    for target in ("/inProxy/unknown/x", "/inProxy/echo/x"):
        assert call(inner.listen, "admin", SEALED, target=target).cause == "identity_unproven"


# --- what the original answers ------------------------------------------------------------------------------


def refused_by_original(status: int, message: str) -> bytes:
    return sized(b"", f"proxy_error_message: {message}", "proxy_name: in_proxy", status=f"{status} Refused")


@pytest.mark.parametrize(
    ("status", "shown"),
    [(400, 400), (403, 403), (429, 429), (503, 503), (504, 504), (401, 502), (500, 502), (302, 502)],
)
def test_a_refusal_of_the_original_becomes_a_row_of_the_table(
    to_original: ProxyProcess, original: Original, status: int, shown: int
) -> None:
    original.answer = refused_by_original(status, "client has no privilege")
    answer = fetch(to_original.listen, "POST", "/echo/x", b"", as_caller(ALL_ON))
    assert (answer.status, answer.cause) == (shown, "receiver_refused")
    assert answer.problem["detail"] == (
        f"{original.endpoint} answered {status}: client has no privilege (from in_proxy)"
    )
    assert said(answer) == (answer.problem["detail"], "out_proxy")


def test_what_a_peer_says_is_bounded_and_made_harmless(to_original: ProxyProcess, original: Original) -> None:
    original.answer = refused_by_original(400, '"\xff\xa9 <script>\t' + "x" * 2000)
    detail = fetch(to_original.listen, "GET", "/echo/x", headers=as_caller(ALL_ON)).problem["detail"]
    assert '"?? <script>?xxx' in detail
    assert len(detail) < 300
    assert detail.isascii()


@pytest.mark.parametrize("body", [b"", b"<html>an error page</html>", b"\x0a\x03abc"])
@pytest.mark.parametrize("status", [200, 502])
def test_what_nobody_sealed_is_discarded(
    to_original: ProxyProcess, original: Original, body: bytes, status: int
) -> None:
    original.answer = sized(body, status=f"{status} Status")
    answer = fetch(to_original.listen, "GET", "/echo/x", headers=as_caller(ALL_ON))
    assert (answer.status, answer.cause) == (502, "response_unsealed")
    assert f"{original.endpoint} answered {status}" in answer.problem["detail"]
    assert b"html" not in answer.body


def test_a_broken_answer_is_told_from_an_unsealed_one(to_original: ProxyProcess, original: Original) -> None:
    original.answer = sized(encode_response(b"no ciphertext", b"\x18\x01\x22\x04k256"))
    answer = fetch(to_original.listen, "GET", "/echo/x", headers=as_caller(ALL_ON))
    assert (answer.status, answer.cause) == (502, "response_broken")


# --- what is known of it ------------------------------------------------------------------------------------


def test_the_metrics_say_how_weak_it_is(pair: Pair) -> None:
    unsigned = sum(not caller["sign"] for caller in CALLERS.values())
    oracle = sum(bool(caller["encrypt"]) and not caller["sign"] for caller in CALLERS.values())
    for proxy in pair:
        samples = proxy.metrics()
        assert samples.total("fastproxy_compat_weaknesses", weakness="unsigned") == unsigned
        assert samples.total("fastproxy_compat_weaknesses", weakness="padding_oracle") == oracle
    # none of the others has a sign key of its own
    assert pair[1].metrics().total("fastproxy_compat_claimed_callers") == len(CALLERS)


def test_the_start_says_how_weak_it_is(pair: Pair) -> None:
    for proxy in pair:
        assert any("compat protects weakly" in line.get("text", "") for line in proxy.log.lines)
    assert any("callers are taken at their word" in line.get("text", "") for line in pair[1].log.lines)


def test_exchanges_count_under_their_caller_once_it_is_proven(pair: Pair) -> None:
    out, inner = pair
    before = {proxy: proxy.metrics() for proxy in pair}
    fetch(out.listen, "GET", "/echo/x", headers=as_caller("c_sign"))
    call(inner.listen, "c_sign", SEALED)
    labels = {"caller": "c_sign", "service": "echo"}
    for proxy in pair:
        now = proxy.metrics()
        name = "fastproxy_requests_total"
        assert now.total(name, **labels) - before[proxy].total(name, **labels) == 1
    refusals = inner.metrics().refusals("identity_unproven") - before[inner].refusals("identity_unproven")
    assert refusals == 1
