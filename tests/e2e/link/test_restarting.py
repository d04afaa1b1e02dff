"""In proxies that restart, or die, while calls keep coming: what fails, and what must not.

Callers never pause: each thread makes its calls one after the other, every one with a content of its own, so
that the service's own list tells whether one was lost or made twice.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.e2e.client import Address, Client, request_bytes
from tests.e2e.http_wire import CutError, chunked
from tests.e2e.proxies import (
    Config,
    ProxyProcess,
    in_config,
    key_of,
    merged,
    out_config,
    reserved_port,
    write_key,
)
from tests.e2e.services import Conversation, ScriptedService, sized

PATIENT: Config = {"link": {"wait_s": 45}, "defaults": {"transport": "link", "timeout_s": 50}}
"""However long a busy machine takes to start a proxy."""
GRACE: Config = {"drain": {"grace_s": 30}}
BIG = b"x" * 150_000


class Site:
    """In proxies of one receiver, each with a service of its own, and an out proxy before them.

    Args:
        stack: ends all of it. folder: for configs and keys.
        count: of in proxies. script: of the services.
    """

    def __init__(self, stack: ExitStack, folder: Path, services: list[ScriptedService]) -> None:
        self._configs: list[Config] = []
        self._folders: list[Path] = []
        self.inner: dict[int, ProxyProcess] = {}
        for number, service in enumerate(services):
            port = stack.enter_context(reserved_port())
            changes = {"listen": {"address": f"127.0.0.1:{port}", "accept": ["link"]}} | GRACE
            self._configs.append(
                merged(in_config({"api": [service.endpoint]}, {"web": key_of("web")}), changes)
            )
            self._folders.append(folder / f"in-{number}")
            self._folders[-1].mkdir()
            write_key(self._folders[-1], "in")
            self._start(number)
            stack.callback(self._stop, number)
        write_key(folder, "web")
        config = merged(out_config({"api": []}, key_of("in"), ""), PATIENT | GRACE)
        config["receivers"]["in"]["endpoints"] = [each["listen"]["address"] for each in self._configs]
        self.out = ProxyProcess(folder, merged(config, {"defaults": {"receiver": "in"}}))
        stack.callback(self.out.stop)
        for proxy in (*self.inner.values(), self.out):
            proxy.ready()

    def _start(self, number: int) -> ProxyProcess:
        self.inner[number] = ProxyProcess(self._folders[number], self._configs[number])
        return self.inner[number]

    def _stop(self, number: int) -> None:
        if number in self.inner:
            self.stop(number)

    def start(self, number: int) -> None:
        """Start an in proxy that is gone anew, at the same address."""
        self._start(number).ready()

    def stop(self, number: int) -> None:
        """Have an in proxy drain and end."""
        self.inner.pop(number).stop()

    def kill(self, number: int) -> None:
        """Kill an in proxy (SIGKILL)."""
        self.inner.pop(number).kill()

    def restart(self, number: int) -> None:
        """Replace an in proxy by a new process at the same address, as a deployment does."""
        self.stop(number)
        self.start(number)


class Load:
    """Callers that make one call after the other.

    made: calls so far. failures: answers other than the expected one, as text.

    Args:
        address: of the out proxy. threads: number of callers. kinds: of calls, in turn; see `_request`.
    """

    def __init__(self, address: Address, threads: int, kinds: tuple[str, ...] = ("post",)) -> None:
        self._address = address
        self._kinds = kinds
        self._over = threading.Event()
        self._changed = threading.Condition()
        self.made = 0
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._call_on, args=(at,)) for at in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(60)

    def wait_for(self, more: int) -> None:
        """Wait until so many more calls were made."""
        with self._changed:
            until = self.made + more
            assert self._changed.wait_for(lambda: self.made >= until, 55)

    def _call_on(self, at: int) -> None:
        client = Client(self._address, timeout_s=60)
        number = 0
        while not self._over.is_set():
            name = b"%d-%d" % (at, number)
            kind = self._kinds[number % len(self._kinds)]
            number += 1
            failure = ""
            try:
                client.send(_request(kind, name))
                answer = client.answer()
                if answer.body != name:
                    failure = f"{kind}: {answer.start} {answer.body[:200]!r}"
                closes = answer.get("connection") == "close"
            except (CutError, OSError) as error:
                failure, closes = f"{kind}: {error!r}", True
            if closes:
                client.close()
                client = Client(self._address, timeout_s=60)
            with self._changed:
                self.made += 1
                if failure:
                    self.failures.append(failure)
                self._changed.notify_all()
        client.close()


def _request(kind: str, name: bytes) -> bytes:
    """A request of this kind whose content begins with `name` and a line end."""
    content = name + b"\n"
    if kind == "get":
        return request_bytes("GET", f"/api/{name.decode()}")
    if kind == "big":
        return request_bytes("POST", "/api/", content + BIG)
    if kind == "chunked":
        return request_bytes("POST", "/api/", headers=["Transfer-Encoding: chunked"]) + chunked(content, BIG)
    return request_bytes("POST", "/api/", content)


def naming(conversation: Conversation) -> None:
    """Answers with the name in the request."""
    while True:
        request = conversation.request()
        if not request.whole:
            return
        conversation.send(sized(name_of(request.start, request.body)))


def name_of(start: str, body: bytes) -> bytes:
    """The name in a request."""
    return body.partition(b"\n")[0] if body else start.split(" ")[1].strip("/").encode()


def check_each_was_made_once(services: list[ScriptedService], made: int) -> None:
    """What the services were asked: every call, and each once."""
    names = Counter(
        name_of(request.start, request.body)
        for service in services
        for request in service.requests
        if request.whole
    )
    assert sum(names.values()) == len(names) == made, names.most_common(3)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def services(stack: ExitStack) -> list[ScriptedService]:
    """Two services that do the same."""
    return [stack.enter_context(ScriptedService(naming)) for _ in range(2)]


# --- restarts ---------------------------------------------------------------------------------------------


def test_no_call_fails_while_two_in_proxies_restart_in_turn(
    stack: ExitStack, tmp_path: Path, services: list[ScriptedService]
) -> None:
    site = Site(stack, tmp_path, services)
    with Load(site.out.listen, 8, ("post", "get", "post", "big", "chunked")) as load:
        for number in (0, 1, 0, 1):
            load.wait_for(60)
            site.restart(number)
        load.wait_for(60)
    assert load.failures == []
    assert load.made >= 300
    check_each_was_made_once(services, load.made)


def test_no_call_fails_while_the_only_in_proxy_restarts(
    stack: ExitStack, tmp_path: Path, services: list[ScriptedService]
) -> None:
    """Those that find it gone wait for its return, within their deadline."""
    site = Site(stack, tmp_path, services[:1])
    with Load(site.out.listen, 8, ("post", "get", "post", "big", "chunked")) as load:
        for _ in range(3):
            load.wait_for(100)
            site.restart(0)
        load.wait_for(100)
    assert load.failures == []
    assert load.made >= 400
    check_each_was_made_once(services[:1], load.made)


def test_who_cannot_wait_learns_that_the_in_proxy_is_gone(
    stack: ExitStack, tmp_path: Path, services: list[ScriptedService]
) -> None:
    site = Site(stack, tmp_path, services[:1])
    with Client(site.out.listen) as client:
        assert client.request("POST", "/api/", b"a\n").status == 200
        site.stop(0)
        answer = client.request("POST", "/api/", b"b\n", ["fastproxy-timeout-ms: 200"])
        assert (answer.status, answer.cause, answer.problem["hop"]) == (504, "deadline_exceeded", "out")
        assert "phase connect" in answer.problem["detail"]
    site.start(0)
    with Client(site.out.listen, timeout_s=60) as client:
        assert client.request("POST", "/api/", b"c\n").body == b"c"


# --- kill -9 ----------------------------------------------------------------------------------------------


class Holding:
    """Services that keep what they got until they are told; each call's name tells who has it."""

    def __init__(self, stack: ExitStack) -> None:
        self.go_on = threading.Event()
        stack.callback(self.go_on.set)
        self.services = [stack.enter_context(ScriptedService(self._script)) for _ in range(2)]

    def _script(self, conversation: Conversation) -> None:
        while True:
            request = conversation.request()
            assert self.go_on.wait(50)
            conversation.send(sized(name_of(request.start, request.body)))


def test_a_killed_in_proxy_fails_only_what_was_at_its_service(stack: ExitStack, tmp_path: Path) -> None:
    """What can be repeated without harm is repeated, at the other one."""
    holding = Holding(stack)
    site = Site(stack, tmp_path, holding.services)
    # Two of a kind in a row, so that either in proxy gets both kinds when they take turns.
    kinds = {b"%d" % number: ("post", "post", "get", "get")[number % 4] for number in range(60)}
    clients = [stack.enter_context(Client(site.out.listen, timeout_s=60)) for _ in kinds]
    for client, (name, kind) in zip(clients, kinds.items(), strict=True):
        client.send(_request(kind, name))
    site.out.wait_for_gauge("fastproxy_in_flight", len(kinds))
    for service in holding.services:
        service.wait_for_requests(len(kinds) // 2)
    at_killed = {name_of(request.start, request.body) for request in holding.services[0].requests}
    lost = {name for name in at_killed if kinds[name] == "post"}
    assert 0 < len(lost) < len(at_killed)
    site.kill(0)
    site.out.wait_for_gauge("fastproxy_links_open", 1)
    holding.go_on.set()
    answers = [client.answer() for client in clients]
    good = {name for name, answer in zip(kinds, answers, strict=True) if answer.body == name}
    assert good == set(kinds) - lost
    bad = [answer for answer in answers if answer.status != 200]
    assert {(answer.status, answer.cause, answer.problem["hop"]) for answer in bad} == {
        (502, "connection_lost", "out")
    }
    for number in range(20):
        with Client(site.out.listen, timeout_s=60) as client:
            client.send(_request("post", b"later-%d" % number))
            assert client.answer().body == b"later-%d" % number


def test_a_killed_in_proxy_fails_no_more_calls_than_were_under_way(
    stack: ExitStack, tmp_path: Path, services: list[ScriptedService]
) -> None:
    threads = 8
    site = Site(stack, tmp_path, services)
    with Load(site.out.listen, threads) as load:
        for number in (0, 1):
            load.wait_for(80)
            site.kill(number)
            site.start(number)
            load.wait_for(80)
    assert len(load.failures) <= 2 * threads, "each caller has one call under way"
    assert all("502" in failure and "connection_lost" in failure for failure in load.failures), load.failures
    asked = Counter(request.body for service in services for request in service.requests)
    assert set(asked.values()) == {1}, "none was made twice"
