"""What the in proxy reads off the HTTP message around a sealed body, and that it fails closed."""

from __future__ import annotations

import pytest

from fastproxy.app import compat
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import CompatDemand, CompatIn
from fastproxy.errors import NOT_AN_ENVELOPE, ProxyError
from fastproxy.model import Request, Response, ResponseHead
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.proxy.compat_receiver import CompatWayIn
from fastproxy.proxy.fields import CONTROL
from fastproxy.proxy.way_in import Received
from fastproxy.telemetry.metrics import Metrics
from fastproxy.wire.compat.keys import SignKey
from fastproxy.wire.compat.sealing import CompatSender
from fastproxy.wire.records import PLAIN

SECRET = b"a signing key of some length"
SENDER = CompatSender(SignKey("s1", SECRET), None, None)
MESSAGE = SENDER.seal(b"param=hello")


def way_in(sign: tuple[str, ...] = ("s1",), context_path: str = "/in/proxy") -> CompatWayIn:
    section = CompatIn(
        caller_header="C_Caller",
        context_path=context_path,
        trust_claimed_caller=False,
        body_limit_bytes=100,
        sign_keys={"s1": Secret(SECRET)},
        encrypt_keys={},
        callers={"chat": CompatDemand(sign, ())},
    )
    return compat.way_in(section, ["search"], 16, 0, Metrics("in", "1", ["chat"], ["search"]))


def request_to(target: str, *fields: str) -> Request:
    lines = [
        f"POST {target} HTTP/1.1",
        "Host: in",
        "C_Caller: chat",
        *fields,
        f"Content-Length: {len(MESSAGE)}",
    ]
    parser = HeadParser(HeadLimits(), CONTROL | {b"c_caller"})
    head, rest = parser.request("\r\n".join([*lines, "", ""]).encode())
    return Request(head, MESSAGE, rest=rest)


def received(target: str, *fields: str, context_path: str = "/in/proxy") -> Received:
    opened = way_in(context_path=context_path).receive_single(request_to(target, *fields))
    assert opened is not None
    return opened


@pytest.mark.parametrize(
    ("target", "service", "inside"),
    [
        ("/in/proxy/search/a/b?c=d", "search", b"/a/b?c=d"),
        ("/in/proxy/search", "search", b"/"),
        ("/in/proxy/search?c=d", "search", b"/?c=d"),
        ("/in/proxy/search/in/proxy/search", "search", b"/in/proxy/search"),
        ("/in/proxy/s%65arch/a", "", b"/s%65arch/a"),
        ("/in/proxy/", "", b"/"),
    ],
)
def test_the_first_segment_behind_the_context_path_is_the_service(
    target: str, service: str, inside: bytes
) -> None:
    opened = received(target)
    assert opened.head is not None
    assert (opened.service, opened.head.target, opened.content) == (service, inside, b"param=hello")
    assert opened.caller == "chat"


def test_without_a_context_path_the_first_segment_is_the_service() -> None:
    opened = received("/search/a", context_path="")
    assert opened.head is not None
    assert (opened.service, opened.head.target) == ("search", b"/a")


@pytest.mark.parametrize("target", ["/in/proxy", "/in/proxysearch", "/search/a", "/IN/proxy/search", "/in"])
def test_no_other_target_is_taken(target: str) -> None:
    with pytest.raises(ProxyError) as refused:
        received(target)
    assert refused.value.cause is NOT_AN_ENVELOPE


def test_the_service_gets_the_fields_but_not_the_callers_name() -> None:
    opened = received("/in/proxy/search", "X-Kind: a", "request_dead_time: 17", "x-kind: b")
    assert opened.head is not None
    assert (opened.head.fields, opened.rest) == (b"", b"X-Kind: a\r\nx-kind: b\r\n\r\n")
    assert opened.head.control == {b"request_dead_time": b"17"}
    assert not opened.head.has_body  # its length is decided by what the message holds


def test_a_head_is_taken_apart_once() -> None:
    way, request = way_in(), request_to("/in/proxy/search")
    first, second = way.receive_single(request), way.receive_single(request)
    assert first is not None
    assert second is not None
    assert first.head is second.head


def test_a_service_can_not_pass_for_a_proxy_that_refuses() -> None:
    start = b"HTTP/1.1 502 Bad\r\nA: 1\r\nProxy_Name: in_proxy\r\nproxy_error_message: x\r\nB: 2\r\n"
    response = Response(ResponseHead(502, start), b"body")
    sealed = way_in().seal(received("/in/proxy/search").binding, b"POST", response, b"via: x\r\n", PLAIN, "")
    assert sealed.head.start == b"HTTP/1.1 502 Bad\r\nA: 1\r\nB: 2\r\nvia: x\r\n"
    assert isinstance(sealed.content, bytes)
    assert SENDER.open_response(sealed.content, 100) == b"body"


def test_callers_that_nothing_proves_need_the_configs_word() -> None:
    with pytest.raises(ValueError, match="chat: no sign key proves"):
        way_in(sign=())


def test_what_a_head_says_is_made_once_however_the_messages_come() -> None:
    way, request = way_in(), request_to("/in/proxy/search/x")
    heads = []
    for _ in range(2):
        with pytest.raises(StopIteration) as ended:  # a coroutine that has nothing to wait for
            way.receive(request).send(None)
        heads.append(ended.value.value.head)
    assert heads[0] is heads[1]
