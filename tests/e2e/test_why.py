"""What a running pair keeps of failures, and what `fastproxy why` makes of it."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastproxy.errors import TABLE
from fastproxy.wire.link.handshake import MAGIC
from tests.e2e.client import Answer, Client, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.programs import wait_until
from tests.e2e.proxies import Pair, ProxyProcess, endpoint_of, reserved_port
from tests.e2e.services import Conversation, answering, sized

Failure = dict[str, Any]


def hang(conversation: Conversation) -> None:
    conversation.request()
    conversation.until_gone()


@pytest.fixture(scope="module")
def pair(make_shared: Maker) -> Iterator[Pair]:
    """A pair over a link, whose admin addresses read for every program of the machine."""
    service = make_shared.service(answering(sized(b"fine")))
    with reserved_port() as closed:
        services = {"api": [service.endpoint], "gone": [f"127.0.0.1:{closed}"]}
        admin = {"admin": {"open": ["reading"]}}
        privileges = [
            {"callers": ["*"], "services": ["api"], "paths": ["/open/**"]},
            {"callers": ["*"], "services": ["api"], "paths": ["/slow/*"],
             "rate": {"per_s": 0.001, "burst": 1}},
            {"callers": ["*"], "services": ["gone"]},
        ]  # fmt: skip
        yield make_shared.pair(
            services,
            out=admin | {"defaults": {"transport": "link"}, "failures": {"kept_per_cause": 3}},
            inner=admin | {"privileges": privileges},
        )


def ask(proxy: ProxyProcess, path: str) -> Answer:
    with Client(proxy.admin) as client:
        return client.request("GET", f"/api/v1/{path}", host="localhost")


def told(proxy: ProxyProcess, path: str) -> Any:
    answer = ask(proxy, path)
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def of_exchange(proxy: ProxyProcess, exchange: str) -> Failure:
    (failure,) = told(proxy, f"exchanges/{exchange}")["failures"]
    return dict(failure)


def why(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fastproxy", "why", *arguments], capture_output=True, text=True, timeout=60
    )


def test_both_proxies_keep_why_a_call_was_over_its_rate(pair: Pair) -> None:
    assert pair.fetch("GET", "/api/slow/a?token=secret").status == 200
    refused = pair.fetch("GET", "/api/slow/a?token=secret", headers=["X-Secret: hush"])
    assert refused.status == 429
    inner = of_exchange(pair.inner, refused.exchange)
    assert (inner["hop"], inner["role"]) == ("in", "in")
    assert (inner["phase"], inner["cause"]) == ("rate", "rate_limited")
    assert (inner["caller"], inner["service"], inner["route"]) == ("web", "api", "/slow/*")
    assert (inner["status"], inner["method"], inner["path"]) == (429, "GET", "/slow/a")
    assert (inner["numbers"]["per_s"], inner["numbers"]["burst"], inner["from"]) == (0.001, 1, "here")
    assert inner["numbers"]["retry_after_s"] > 0
    assert (inner["title"], inner["advice"]) == (TABLE["rate_limited"].title, TABLE["rate_limited"].advice)
    outer = of_exchange(pair.out, refused.exchange)
    assert (outer["hop"], outer["from"], outer["phase"], outer["attempts"]) == ("out", "next hop", "rate", 1)
    assert outer["detail"] == inner["detail"] == "the rate is 0.001 per second"
    assert outer["endpoint"] == endpoint_of(pair.inner.listen)
    everything = json.dumps([told(proxy, "failures") for proxy in (pair.out, pair.inner)])
    assert "secret" not in everything
    assert "hush" not in everything


def test_an_endpoint_that_is_gone_is_named_with_its_attempts(pair: Pair) -> None:
    refused = pair.fetch("GET", "/gone/x")
    assert refused.status == 503
    failure = of_exchange(pair.inner, refused.exchange)
    assert (failure["cause"], failure["phase"]) == ("connect_refused", "connect")
    assert failure["attempts"] >= 1
    assert failure["endpoint"] in failure["detail"]
    assert failure["numbers"]["timeout_s"] > failure["numbers"]["budget_left_s"] > 0


def test_what_never_became_an_exchange_is_kept_as_well(pair: Pair) -> None:
    with Client(pair.address) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
        answer = client.answer()
    failure = of_exchange(pair.out, answer.exchange)
    assert (failure["cause"], failure["phase"], failure["method"]) == ("malformed_request", "read", "")
    assert failure["peer"] == "127.0.0.1"


def test_a_handshake_that_is_refused_is_kept_with_what_to_do(pair: Pair) -> None:
    with Client(pair.inner.listen) as stranger:
        stranger.send(MAGIC)
        stranger.socket.shutdown(socket.SHUT_WR)
        assert stranger.is_closed()
    found = told(pair.inner, "failures?cause=handshake_closed")["failures"]
    assert found
    assert (found[0]["phase"], found[0]["exchange"], found[0]["peer"]) == ("handshake", "", "127.0.0.1")
    assert "port scan" in found[0]["advice"]


def test_the_last_ones_of_each_cause_are_kept_and_found_by_what_they_are(pair: Pair) -> None:
    ids = [pair.fetch("GET", f"/nobody/{number}").exchange for number in range(5)]
    found = told(pair.out, "failures?cause=service_unknown")
    assert [one["exchange"] for one in found["failures"]] == ids[:1:-1]
    assert found["truncated"] is False
    cut = told(pair.out, "failures?cause=service_unknown&limit=2")
    assert [one["exchange"] for one in cut["failures"]] == ids[:2:-1]
    assert cut["truncated"] is True
    assert told(pair.out, "failures?caller=web&service=nobody")["failures"] == []
    for bad in ("limit=0", "limit=x", "cause=a&cause=b", "unknown=1"):
        answer = ask(pair.out, f"failures?{bad}")
        assert answer.status == 400
        assert answer.get("content-type") == "application/problem+json"
    forgotten = ask(pair.out, f"exchanges/{ids[0]}")
    assert forgotten.status == 404
    assert "failures.kept_per_cause" in json.loads(forgotten.body)["detail"]


def test_a_caller_that_hangs_up_is_kept_at_both_hops(make: Maker) -> None:
    service = make.service(hang)
    pair = make.pair(
        {"api": [service.endpoint]},
        out={"admin": {"open": ["reading"]}, "defaults": {"transport": "link"}},
        inner={"admin": {"open": ["reading"]}},
    )
    with Client(pair.address) as client:
        client.send(request_bytes("GET", "/api/x"))
        service.wait_for_requests(1)
    for proxy in (pair.out, pair.inner):
        proxy.wait_for_gauge("fastproxy_in_flight", 0)
        (failure,) = told(proxy, "failures?cause=caller_gone")["failures"]
        assert (failure["caller"], failure["service"], failure["phase"]) == ("web", "api", "wait")
        assert (failure["status"], failure["attempts"]) == (0, 1)


def test_why_tells_the_story_of_both_hops(pair: Pair) -> None:
    exchange = pair.fetch("DELETE", "/api/closed").exchange
    run = why(exchange, "--at", str(pair.out.pid), "--at", str(pair.inner.file))
    assert run.returncode == 0, run.stderr
    lines = run.stdout.splitlines()
    assert lines[0] == f"Exchange {exchange}: web called api: DELETE /api/closed"
    assert any(line.startswith("1. The out proxy 'out' sent it to 127.0.0.1:") for line in lines)
    assert "2. The in proxy 'in' refused it in phase privilege: 403 no_privilege" in lines
    assert f"What to do: {TABLE['no_privilege'].advice}" in lines
    assert lines[-1] == "More: docs/troubleshooting.md#no_privilege"


def test_why_asks_admin_addresses_and_answers_programs(pair: Pair) -> None:
    exchange = pair.fetch("GET", "/api/closed").exchange
    outer, inner = (endpoint_of(proxy.admin) for proxy in (pair.out, pair.inner))
    run = why(exchange, "--json", "--at", outer, "--at", f"http://{inner}")
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)["failures"]
    assert [(one["role"], one["cause"]) for one in found] == [("out", "no_privilege"), ("in", "no_privilege")]


def test_why_says_what_it_means_when_nobody_knows(pair: Pair) -> None:
    went_well = pair.fetch("GET", "/api/open/x").exchange
    run = why(went_well, "--at", str(pair.out.file), "--at", str(pair.inner.pid))
    assert run.returncode == 1
    assert "It went well" in run.stdout
    assert "access log" in run.stdout
    with reserved_port() as port:
        run = why(went_well, "--at", f"127.0.0.1:{port}")
    assert run.returncode == 2
    assert "can't be asked" in run.stderr


def test_failures_outlive_the_workers_that_have_drained(make: Maker) -> None:
    pair = make.pair({"api": ["127.0.0.1:1"]}, out={"admin": {"open": ["reading"]}})
    exchange = pair.fetch("GET", "/nobody/x").exchange
    worker = pair.out.worker
    pair.out.reload({"workers": 2})
    wait_until(lambda: not Path(f"/proc/{worker}").exists())
    wait_until(lambda: ask(pair.out, f"exchanges/{exchange}").status == 200)  # what it said last is read
    assert worker not in [one["pid"] for one in told(pair.out, "proxy")["workers"]]
    assert of_exchange(pair.out, exchange)["cause"] == "service_unknown"
