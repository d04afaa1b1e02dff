"""Many identical calls through real proxies, while what was decided on them stops being so.

All but the first few take the short way: the access log has only the phases wait and answer of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.centers import CenterProcess
from tests.e2e.client import Answer, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.proxies import Line, Pair, ProxyProcess
from tests.e2e.services import Conversation, answering, sized

CALLS = 100
DATE = "Date: Sun, 22 Nov 2026 20:18:41 GMT"
FINE = sized(b"fine", DATE)
GONE = 0
TIMEOUT_S = 1.0
"""Where a service falls silent; an ordinary call never takes that long, however busy the machine."""


def calls(client: Client, count: int, method: str = "POST") -> list[Answer]:
    return [client.request(method, "/web/a", b"what" if method == "POST" else None) for _ in range(count)]


def statuses(answers: Sequence[Answer]) -> set[int]:
    return {answer.status for answer in answers}


def logged(proxy: ProxyProcess, count: int) -> list[Line]:
    """Wait until so many exchanges are logged, and check that each is logged once."""
    while len(proxy.access.find(hop=proxy.config["name"])) < count:
        pass
    lines = proxy.access.find(hop=proxy.config["name"])
    assert len({line["id"] for line in lines}) == len(lines) == count
    return lines


def short_ones(lines: Sequence[Line]) -> int:
    return sum(set(line["phases_ms"]) == {"wait", "answer"} for line in lines)


def check_nothing_is_under_way(pair: Pair) -> None:
    for proxy in (pair.out, pair.inner):
        proxy.wait_for_gauge("fastproxy_in_flight", 0)


def test_an_in_proxy_restarts_and_every_call_is_answered_and_logged_once(make: Maker) -> None:
    service = make.service(answering(FINE))
    pair = make.pair({"web": [service.endpoint]})
    with Client(pair.address) as client:
        answers = calls(client, CALLS)
        before = logged(pair.inner, CALLS)
        pair.restart_inner()
        answers += calls(client, CALLS)
    assert statuses(answers) == {200}
    after = logged(pair.inner, CALLS)
    lines = logged(pair.out, 2 * CALLS)
    assert [line["id"] for line in lines] == [line["id"] for line in [*before, *after]]
    assert [line["id"] for line in lines] == [answer.exchange for answer in answers]
    for each in (lines, before, after):
        assert len(each) - 10 < short_ones(each) < len(each)
    assert {(line["status"], line["bytes_in"], line["bytes_out"]) for line in lines} == {(200, 4, 4)}
    assert {line["endpoint"] for line in before} == {service.endpoint}
    assert len(service.requests) == 2 * CALLS
    assert pair.out.metrics().total("fastproxy_requests_total", caller="web") == 2 * CALLS
    check_nothing_is_under_way(pair)


def test_a_service_dies_under_a_call(make: Maker) -> None:
    """What is not idempotent fails, once; the rest is sent again."""

    def script(conversation: Conversation) -> None:
        for _ in range(CALLS):
            conversation.request()
            conversation.send(FINE)
        conversation.request()
        conversation.reset()

    service = make.service(script)
    pair = make.pair({"web": [service.endpoint]})
    with Client(pair.address) as client:
        assert [answer.status for answer in calls(client, CALLS + 2)] == [*[200] * CALLS, 502, 200]
        assert statuses(calls(client, CALLS + 2, "GET")) == {200}
    lines = logged(pair.inner, 2 * CALLS + 4)
    assert [line["cause"] for line in lines if line.get("cause")] == ["connection_lost"]
    assert [line["attempts"] for line in lines if line["attempts"] > 1] == [2]
    assert short_ones(lines) > 2 * CALLS - 10
    told = [line["cause"] for line in logged(pair.out, 2 * CALLS + 4) if line.get("cause")]
    assert told == ["connection_lost"]  # the in proxy's refusal is known as one
    check_nothing_is_under_way(pair)


def soon_silent(conversation: Conversation) -> None:
    """A script that answers ten requests, and takes one more."""
    for _ in range(10):
        conversation.request()
        conversation.send(FINE)
    conversation.request()
    conversation.until_gone()


def test_a_service_is_silent_and_the_callers_connection_serves_on(make: Maker) -> None:
    service = make.service(soon_silent)
    pair = make.pair({"web": [service.endpoint]}, out={"defaults": {"timeout_s": TIMEOUT_S}})
    with Client(pair.address) as client:
        got = [answer.status for answer in calls(client, 24)]
        assert got == [*[200] * 10, 504, *[200] * 10, 504, 200, 200]
        (late, _) = (line for line in logged(pair.out, 24) if line["status"] == 504)
        assert late["cause"] == "deadline_exceeded"
        assert late["phases_ms"]["wait"] >= TIMEOUT_S * 900
    check_nothing_is_under_way(pair)


def test_who_hangs_up_takes_the_call_along_and_nothing_else(make: Maker) -> None:
    service = make.service(soon_silent)
    pair = make.pair({"web": [service.endpoint]})
    with Client(pair.address) as client:
        calls(client, 10)
        client.send(request_bytes("POST", "/web/a", b"what"))
        service.wait_for_requests(11)
        client.reset()
    check_nothing_is_under_way(pair)
    for proxy in (pair.out, pair.inner):
        (line,) = (line for line in logged(proxy, 11) if line["status"] == GONE)
        assert (line["cause"], line["phase"]) == ("caller_gone", "wait")
        assert proxy.metrics().total("fastproxy_requests_total", outcome="aborted") == 1
    with Client(pair.address) as client:
        assert statuses(calls(client, 9)) == {200}


def test_an_endpoint_moves(make: Maker, tmp_path: Path) -> None:
    places = [make.service(answering(FINE)), make.service(answering(sized(b"here", DATE)))]
    with ExitStack() as stack:
        center = stack.enter_context(CenterProcess(tmp_path, "--open"))
        targets = [f"/v1/services/web/endpoints/{place.endpoint}" for place in places]
        center.ask("PUT", targets[0], b'{"ttl_s": 3600}')
        pair = stack.enter_context(Pair(tmp_path, {"web": ["center"]}, inner={"center": {"url": center.url}}))
        client = stack.enter_context(Client(pair.address))
        assert {answer.body for answer in calls(client, CALLS)} == {b"fine"}
        center.ask("PUT", targets[1], b'{"ttl_s": 3600}')
        center.ask("DELETE", targets[0])
        made = CALLS
        learned = {"message": "the center has new endpoints", "addresses": [places[1].endpoint]}
        while not pair.inner.log.find(**learned):
            made += 1
            assert calls(client, 1)[0].body in (b"fine", b"here")
        assert {answer.body for answer in calls(client, CALLS)} == {b"here"}
        lines = logged(pair.inner, made + CALLS)
        assert {line["endpoint"] for line in lines[-CALLS:]} == {places[1].endpoint}
        assert short_ones(lines[-CALLS // 2 :]) == CALLS // 2, "the short way leads to the new place"
        check_nothing_is_under_way(pair)
