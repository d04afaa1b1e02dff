"""Attacks on running proxies: answers that must get through, senders that never finish, names that lie."""

from __future__ import annotations

import time

import pytest

from fastproxy.wire.compressors import ZSTD
from fastproxy.wire.envelope import build_request_head, service_field
from fastproxy.wire.records import MAX_DATA_BYTES, Packing
from tests.e2e.client import Client, Uploader
from tests.e2e.conftest import Maker
from tests.e2e.crafted import LIFETIME_MS, Sender
from tests.e2e.proxies import Pair, ProxyProcess
from tests.e2e.relay import CONTENT_TYPE, TARGET
from tests.e2e.services import Conversation, ScriptedService, answering, echo, sized

MIB = 1 << 20
CHUNKED_POST = "POST /api/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
DENIED = {"privileges": [{"callers": ["web"], "services": ["api"], "paths": ["/x"]}], "log": {"access": "on"}}


@pytest.fixture(scope="module")
def service(make_shared: Maker) -> ScriptedService:
    """A service that shows what it got."""
    return make_shared.service(echo)


@pytest.fixture(scope="module")
def pair(make_shared: Maker, service: ScriptedService) -> Pair:
    """A pair in which one path is allowed."""
    return make_shared.pair({"api": [service.endpoint]}, out={"log": {"access": "on"}}, inner=DENIED)


def test_a_refusal_made_before_the_body_has_arrived_reaches_the_caller(pair: Pair) -> None:
    """The in proxy lingers: a reset would destroy the answer while the out proxy still sends."""
    for _ in range(10):
        with Client(pair.address) as client, Uploader(client, b"x" * 65536, 4 * MIB) as upload:
            client.send(b"POST /api/no HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (4 * MIB))
            upload.start()
            assert client.answer().cause == "no_privilege"


def test_the_in_proxy_answers_and_then_reads_on_for_a_moment(pair: Pair) -> None:
    sender = Sender(pair.inner)
    sender.learn_epoch()
    sealer = sender.session.seal(sender.epoch, int(time.time() * 1000) + LIFETIME_MS)
    http = b"POST /no HTTP/1.1\r\nhost: x\r\n\r\n"
    first = sealer.record(build_request_head(5000, "late-1", service_field("api"), http), b"", last=False)
    with Client(pair.inner.listen) as client:
        head = f"POST {TARGET} HTTP/1.1\r\nHost: x\r\n{CONTENT_TYPE}\r\nContent-Length: {8 * MIB}\r\n\r\n"
        client.send(head.encode() + first)
        answer = client.answer()
        client.send(b"x" * MIB)  # would raise after a reset
        client.send(b"x" * MIB)
        assert client.is_closed()
    assert answer.status == 200
    assert sealer.finished is False


@pytest.mark.parametrize(("path", "cause", "phase"), [("/api/no", "no_privilege", "privilege"),
                                                      ("/none", "service_unknown", "route")])  # fmt: skip
def test_the_access_log_shows_where_an_exchange_was_refused(
    pair: Pair, path: str, cause: str, phase: str
) -> None:
    answer = pair.fetch("GET", path)
    refuser = pair.inner if cause == "no_privilege" else pair.out
    line = refuser.access.wait_for(id=answer.exchange)
    assert (line["cause"], line["phase"]) == (cause, phase)
    if refuser is pair.inner:
        assert pair.out.access.wait_for(id=answer.exchange)["phase"] == "open"


def test_a_first_record_that_never_comes_whole_does_not_hold_its_place(make: Maker) -> None:
    proxy = make.in_proxy({"api": ["127.0.0.1:1"]}, {"limits": {"header_timeout_s": 0.3, "in_flight": 1}})
    with Client(proxy.listen) as client:
        client.send(f"POST {TARGET} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nFPV2".encode())
        answer = client.answer()
        assert (answer.cause, answer.problem["phase"]) == ("deadline_exceeded", "open")
    proxy.wait_for_gauge("fastproxy_in_flight", 0)


def test_no_caller_can_pose_as_another_by_a_look_alike_or_a_trailer(
    pair: Pair, service: ScriptedService
) -> None:
    fields = "Fastproxy_Caller: admin\r\nFASTPROXY-CALLER: admin\r\nX_Forwarded_For: 10.0.0.1\r\n"
    trailers = "fastproxy-caller: admin\r\nFastproxy_Caller: admin\r\nx-sum: 1\r\n"
    with Client(pair.address) as client:
        client.send(f"{CHUNKED_POST}{fields}\r\n2\r\nhi\r\n0\r\n{trailers}\r\n".encode())
        answer = client.answer()
    assert (answer.status, answer.body) == (200, b"hi")
    got = service.requests[-1]
    callers = [value for name, value in got.fields if name.lower().replace("_", "-") == "fastproxy-caller"]
    assert callers == ["web"]
    assert [name.lower() for name, _ in got.fields if "_" in name] == []
    assert answer.trailers == [("x-sum", "1")], "the service sent back what trailers it got"


def test_a_service_that_sends_interim_answers_without_end_is_cut_off(make: Maker) -> None:
    def flood(conversation: Conversation) -> None:
        conversation.request()
        while True:
            conversation.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)

    pair = make.pair({"api": [make.service(flood).endpoint]})
    assert pair.fetch("GET", "/api/x").cause == "response_malformed"


def test_a_bomb_of_many_records_grows_the_proxy_little(make: Maker) -> None:
    service = make.service(answering(sized(b"served")))
    limits = {"new_sessions_per_peer_per_s": 1000, "body_bytes": 512 * MIB}
    proxy: ProxyProcess = make.in_proxy({"api": [service.endpoint]}, {"limits": limits})
    sender = Sender(proxy)
    sender.learn_epoch()
    before = proxy.begin_peak()
    pieces = [bytes(MAX_DATA_BYTES)] * 2000
    http = b"POST / HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = sender.ask(http, *pieces, packing=Packing(ZSTD, 10))
    assert answer.content == b"served"
    assert proxy.memory_bytes("VmHWM") - before < 40 * MIB


def test_the_largest_head_that_may_be_configured_still_fits_a_record(make: Maker) -> None:
    limits = {"limits": {"header_bytes": 98_304}}
    pair = make.pair({"api": [make.service(echo).endpoint]}, out=limits, inner=limits)
    fields = [f"x-{number}: {'x' * 8000}" for number in range(12)]
    assert pair.fetch("GET", "/api/x", headers=fields).status == 200
