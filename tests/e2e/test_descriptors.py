"""A proxy whose file descriptors run out tells callers so, stays observable, and recovers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest

from tests.e2e.client import Answer, Client
from tests.e2e.proxies import Pair, ProxyProcess, in_config, key_of, write_key
from tests.e2e.services import Conversation, ScriptedService, sized
from tests.e2e.workers import descriptors, worker_pids

LIMIT = 128
ONE_WORKER = {"workers": 1}


@pytest.fixture
def short(tmp_path: Path) -> Iterator[ProxyProcess]:
    """An in proxy with one worker that may have few descriptors."""
    write_key(tmp_path, "in")
    config = in_config({"api": ["127.0.0.1:9"]}, {"web": key_of("web")}) | ONE_WORKER
    proxy = ProxyProcess(tmp_path, config, f"ulimit -n {LIMIT}").ready()
    yield proxy
    proxy.stop()


def fill(proxy: ProxyProcess, stack: ExitStack) -> Answer:
    """Open connections that are answered and kept, until one is refused; return that answer."""
    while True:
        client = stack.enter_context(Client(proxy.listen))
        answer = client.request("GET", "/")
        if answer.status != 404:
            assert client.is_closed()
            return answer


def test_whoever_comes_when_none_is_left_is_told_so_and_later_ones_are_served(short: ProxyProcess) -> None:
    for _ in range(2):
        with ExitStack() as stack:
            answer = fill(short, stack)
            assert (answer.status, answer.cause) == (503, "descriptors_exhausted")
            assert answer.get("retry-after") == "1"
            assert short.probe("/healthz").status == 200
            assert short.probe("/readyz").status == 200
        short.wait_for_gauge("fastproxy_connections_open", 0)
    metrics = short.metrics()
    assert metrics.total("fastproxy_descriptor_shortages_total") == 2
    assert metrics.refusals("descriptors_exhausted") == 2
    lines = short.log.find(message="file descriptors run out; connections are refused")
    assert [line["limit"] for line in lines] == [LIMIT]  # one line, however many are refused within its time


def test_a_flood_of_silent_connections_leaves_some_for_the_rest(short: ProxyProcess) -> None:
    (worker,) = worker_pids(short)
    before = descriptors(worker)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(short.listen)) for _ in range(2 * LIMIT)]
        while short.metrics().total("fastproxy_descriptor_shortages_total") < LIMIT:
            pass
        assert descriptors(worker) < LIMIT
        assert clients[-1].is_closed()
        assert short.probe("/healthz").status == 200
    short.wait_for_gauge("fastproxy_connections_open", 0)
    while descriptors(worker) > before:
        pass
    with Client(short.listen) as client:
        assert client.request("GET", "/").status == 404


def test_a_link_that_comes_when_none_is_left_is_made_later(tmp_path: Path) -> None:
    with (
        ScriptedService(lambda conversation: _answer(conversation, Event())) as service,
        Pair(
            tmp_path,
            {"api": [service.endpoint]},
            out={"defaults": {"transport": "link"}},
            inner=ONE_WORKER,
            inner_first=f"ulimit -n {LIMIT}",
        ) as pair,
        ThreadPoolExecutor(1) as pool,
    ):
        with ExitStack() as stack:
            fill(pair.inner, stack)
            call = pool.submit(pair.fetch, "POST", "/api/", b"x")
            while pair.inner.metrics().total("fastproxy_descriptor_shortages_total") < 2:
                pass
            assert not call.done()  # it waits for the receiver, as for one that restarts
        assert call.result().status == 200


def test_a_connection_to_a_service_that_takes_the_last_is_not_made(tmp_path: Path) -> None:
    go_on = Event()
    with (
        ScriptedService(lambda conversation: _answer(conversation, go_on)) as service,
        Pair(
            tmp_path,
            {"api": [service.endpoint]},
            out={"defaults": {"transport": "link"}},
            inner=ONE_WORKER,
            inner_first=f"ulimit -n {LIMIT}",
        ) as pair,
        ThreadPoolExecutor(LIMIT) as pool,
    ):
        calls = [pool.submit(pair.fetch, "GET", "/api/wait") for _ in range(LIMIT)]
        while pair.inner.metrics().refusals("descriptors_exhausted") + len(service.requests) < LIMIT:
            pass
        go_on.set()
        answers = [call.result() for call in calls]
        ends = Counter(answer.status for answer in answers)
        assert ends.keys() == {200, 503}
        refused = next(answer for answer in answers if answer.status == 503)
        assert (refused.cause, refused.problem["phase"]) == ("descriptors_exhausted", "connect")
        assert pair.fetch("GET", "/api/").status == 200


def test_a_proxy_takes_all_descriptors_that_it_may_have(tmp_path: Path) -> None:
    write_key(tmp_path, "in")
    config = in_config({"api": ["127.0.0.1:9"]}, {"web": key_of("web")}) | ONE_WORKER
    proxy = ProxyProcess(tmp_path, config, "ulimit -S -n 64").ready()
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(proxy.listen)) for _ in range(100)]
        assert {client.request("GET", "/").status for client in clients} == {404}
    proxy.stop()


def _answer(conversation: Conversation, go_on: Event) -> None:
    while True:
        if conversation.request().start.startswith("GET /wait"):
            assert go_on.wait(30)
        conversation.send(sized(b"served"))
