"""Faults of services that have got the request: silence, resets, garbage, half and too much."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

import pytest

from tests.e2e.client import Answer, Client, meanwhile, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.faults.fault import IN, OUT, TELLING, Fault, Scene, check
from tests.e2e.http_wire import read_head, read_rest
from tests.e2e.services import Conversation, Script, resetting
from tests.e2e.test_bad_services import GARBAGE, TOO_MUCH, saying
from tests.e2e.test_policies import half, silent

SHORT_S = 0.5
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n"


class Resetting:
    """A script that says the beginning of an answer and resets the connection when it is told to."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self.go_on = threading.Semaphore(0)

    def __call__(self, conversation: Conversation) -> None:
        conversation.request()
        conversation.send(self._said)
        assert self.go_on.acquire(timeout=10)
        conversation.reset()


class Unreading:
    """A script that reads the head of a request, and nothing more until it is told to."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(0)

    def __call__(self, conversation: Conversation) -> None:
        read_head(conversation.stream)
        assert self.go_on.acquire(timeout=20)


UNREADING = Unreading()
INSIDE_THE_BODY = Resetting(HEAD + b"\r\nhalf")
SCRIPTS: dict[str, Script] = {
    "silent": silent,
    "mute": silent,
    "unreading": UNREADING,
    "half": half,
    "resetting": resetting,
    "in-its-head": saying(HEAD),
    "in-its-body": INSIDE_THE_BODY,
    "garbage": saying(GARBAGE["no HTTP"]),
    "mail": saying(b"220 mail.example ESMTP\r\n"),
    "two-lengths": saying(GARBAGE["two lengths"]),
    "large": saying(TOO_MUCH["large header"]),
}


def posting(service: str) -> Callable[[Scene], Answer]:
    """What calls a service once: nobody repeats a POST."""
    return lambda scene: scene.fetch("POST", f"/{service}/", b"content")


def reset_when_its_head_is_through(scene: Scene) -> Answer:
    """Have the service reset when the caller has the head of its answer."""
    with Client(scene.out.listen) as client:
        client.send(request_bytes("POST", "/in-its-body/", b"content"))
        head = read_head(client.stream)
        INSIDE_THE_BODY.go_on.release()
        rest = read_rest(client.stream, head)
        return Answer(rest.start, rest.fields, rest.body, rest.trailers, rest.whole)


def upload_that_is_not_read(scene: Scene) -> Answer:
    """Send more than fits anywhere on the way."""
    with Client(scene.out.listen) as client:
        client.send(request_bytes("POST", "/unreading/", headers=[f"Content-Length: {1 << 26}"]))
        with meanwhile(client, lambda: client.send(bytes(1 << 26))):
            answer = client.answer()
    UNREADING.go_on.release()
    return answer


def upload_that_stops(scene: Scene) -> Answer:
    """Send a request but for its end."""
    with Client(scene.out.listen) as client:
        client.send(request_bytes("POST", "/silent/", headers=["Content-Length: 100"]) + b"x" * 99)
        return client.answer()


def stopped_in_proxy(scene: Scene) -> Answer:
    """Call while the in proxy stands still, of which nobody but the out proxy can tell."""
    worker = scene.inner.worker
    os.kill(worker, signal.SIGSTOP)
    try:
        return scene.fetch("POST", "/mute/", b"content", [f"fastproxy-timeout-ms: {SHORT_S * 1000:.0f}"])
    finally:
        os.kill(worker, signal.SIGCONT)


FAULTS = [
    Fault(
        name="a service that doesn't answer",
        inject=posting("silent"),
        cause="deadline_exceeded", hop=IN, phase="wait", detail="phase wait",
        numbers={"timeout_s": SHORT_S, "budget_left_s": None},
    ),
    Fault(
        name="a service that doesn't read the request",
        inject=upload_that_is_not_read,
        cause="deadline_exceeded", hop=IN, phase="wait",
        detail="phase wait, the service hadn't read the request whole", numbers={"timeout_s": SHORT_S},
    ),
    Fault(
        name="a caller that stops inside its request",
        inject=upload_that_stops,
        cause="deadline_exceeded", hop=IN, phase="wait",
        detail="phase wait, the caller hadn't sent the request whole", numbers={"timeout_s": SHORT_S},
    ),
    Fault(
        name="an in proxy that doesn't answer",
        inject=stopped_in_proxy,
        cause="deadline_exceeded", hop=OUT, phase="wait", detail="phase wait",
        numbers={"timeout_s": None, "budget_left_s": None},
    ),
    Fault(
        name="a service that stops inside its answer",
        inject=posting("half"),
        cause="deadline_exceeded", hop=IN, phase="answer", status=200, seen_as="connection_lost",
        numbers={"timeout_s": SHORT_S, "budget_left_s": None},
    ),
    Fault(
        name="a reset before the answer",
        inject=posting("resetting"),
        cause="connection_lost", hop=IN, phase="wait", detail="the connection was reset before it answered",
    ),
    Fault(
        name="an answer that ends inside its head",
        inject=posting("in-its-head"),
        cause="connection_lost", hop=IN, phase="wait",
        detail="the connection was closed inside the head of its answer",
    ),
    Fault(
        name="a reset inside the answer",
        inject=reset_when_its_head_is_through,
        cause="connection_lost", hop=IN, phase="answer", status=200, seen_as="connection_lost",
        detail="the connection was reset inside the content of its answer",
    ),
    Fault(
        name="garbage for an answer",
        inject=posting("garbage"),
        cause="response_malformed", hop=IN, phase="wait", detail="the status line is not",
    ),
    Fault(
        name="a greeting of another program",
        inject=posting("mail"),
        cause="response_malformed", hop=IN, phase="wait", detail="after what is no HTTP",
    ),
    Fault(
        name="two lengths in an answer",
        inject=posting("two-lengths"),
        cause="response_malformed", hop=IN, phase="wait", detail="Duplicate Content-Length",
    ),
    Fault(
        name="a header section of an answer over the limit",
        inject=posting("large"),
        cause="response_too_large", hop=IN, phase="wait",
        numbers={"limit_bytes": 32768},
    ),
]  # fmt: skip


@pytest.fixture(scope="module", params=["link", "http"])
def scene(make_shared: Maker, request: pytest.FixtureRequest) -> Scene:
    """A pair over each way, whose in proxy gives some services little time."""
    services = {name: make_shared.service(script) for name, script in SCRIPTS.items()}
    short = {name: {"timeout_s": SHORT_S} for name in ("silent", "unreading", "half")}
    pair = make_shared.pair(
        {name: [service.endpoint] for name, service in services.items()},
        out=TELLING | {"defaults": {"transport": request.param}},
        inner=TELLING | {"services": short},
    )
    return Scene(pair.out, pair.inner, services)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_of_a_service_is_told_for_what_it_is(scene: Scene, fault: Fault) -> None:
    check(fault, scene)
