"""What the tests of wire format v1 share: services, a pair of proxies, a stand-in for the original."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.e2e.compat.parties import ALL_ON, Original, Pair, Party, Services, prefixed
from tests.e2e.http_wire import chunked
from tests.e2e.proxies import ProxyProcess
from tests.e2e.services import Conversation, Script, ScriptedService, answering, echo, sized

NOT_FOUND = sized(b"no such thing", "X-Kind: a", "x-kind: b", "Proxy_Error_Message: mine", status="404 Gone")


def long_answer(conversation: Conversation) -> None:
    """A script whose answers are as long as the path says; chunked under /chunked/."""
    while True:
        _, kind, size = conversation.request().start.split(" ")[1].split("/")
        body = b"x" * int(size)
        if kind == "chunked":
            conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(body, b"y"))
        else:
            conversation.send(sized(body))


@pytest.fixture(scope="module")
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def party(stack: ExitStack, tmp_path_factory: pytest.TempPathFactory) -> Party:
    return Party(stack, tmp_path_factory)


@pytest.fixture(scope="module")
def services(stack: ExitStack) -> Services:
    """Services by name; each has one thing to show."""
    scripts: dict[str, Script] = {
        "echo": echo,
        "echo_service": prefixed,
        "missing": answering(NOT_FOUND),
        "empty": answering(b"HTTP/1.1 204 No Content\r\nX-Kind: a\r\n\r\n"),
        "unchanged": answering(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 900\r\n\r\n"),
        "head": answering(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"),
        "long": long_answer,
    }
    return {name: stack.enter_context(ScriptedService(script)) for name, script in scripts.items()}


@pytest.fixture(scope="module")
def pair(party: Party, services: Services) -> Pair:
    """An out proxy and an in proxy before all services."""
    limited = {"callers": [ALL_ON], "services": ["echo"], "paths": ["/limited"], "rate": {"per_s": 0.01}}
    return party.pair(
        {name: service.endpoint for name, service in services.items()},
        privileges=[limited, {"callers": ["*"], "services": ["*"], "paths": ["/public/**", "/**"]}],
    )


@pytest.fixture(scope="module")
def out(pair: Pair) -> ProxyProcess:
    return pair[0]


@pytest.fixture(scope="module")
def inner(pair: Pair) -> ProxyProcess:
    return pair[1]


@pytest.fixture(scope="module")
def original(stack: ExitStack) -> Original:
    """A server that stands for the Go in proxy."""
    return stack.enter_context(Original())


@pytest.fixture(scope="module")
def to_original(party: Party, original: Original) -> ProxyProcess:
    """An out proxy before it."""
    return party.out_proxy(["echo", "echo_service"], original.endpoint)
