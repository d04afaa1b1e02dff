"""Requests to a center: what is sent, how much of an answer is read, and what is given up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from fastproxy.app.center_client import CenterClient
from fastproxy.config.address import parse_address
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import Center
from fastproxy.discovery.center_belief import ANSWER_LIMIT_BYTES
from fastproxy.net.timers import Wheel
from tests.e2e.proxies import reserved_port
from tests.e2e.services import Conversation, Script, ScriptedService, answering, sized

T = TypeVar("T")
TOKEN = "token-0123456789"


def play(address: str, steps: Callable[[CenterClient], Awaitable[T]]) -> T:
    """Run steps with a client of the center at an address."""

    async def run() -> T:
        loop = asyncio.get_running_loop()
        wheel = Wheel(loop)
        center = Center(parse_address(address), Secret(TOKEN.encode()), None)
        client = CenterClient(center, 1, 1, wheel, loop)
        try:
            return await steps(client)
        finally:
            client.close()
            wheel.close()

    return asyncio.run(run())


def fetched(script: Script) -> tuple[int, bytes]:
    """Get a path from a center that plays a script."""
    with ScriptedService(script) as service:
        return play(service.endpoint, lambda client: client.fetch("/v1/services/song"))


def test_the_token_goes_with_registrations_only() -> None:
    with ScriptedService(answering(sized(b"{}"))) as service:

        async def steps(client: CenterClient) -> None:
            assert await client.fetch("/v1/services/song?after=1") == (200, b"{}")
            assert await client.send("PUT", "/v1/services/song/endpoints/h%3A1", b'{"ttl_s":15}') == (
                200,
                b"{}",
            )

        play(service.endpoint, steps)
        looked_up, registered = service.requests
        assert service.connections == 1
    assert looked_up.start == "GET /v1/services/song?after=1 HTTP/1.1"
    assert (looked_up.get("host"), looked_up.get("authorization")) == (service.endpoint, "")
    assert registered.start == "PUT /v1/services/song/endpoints/h%3A1 HTTP/1.1"
    assert registered.get("authorization") == f"Bearer {TOKEN}"
    assert registered.body == b'{"ttl_s":15}'


def test_an_answer_is_read_no_further_than_any_honest_one_goes() -> None:
    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            conversation.send(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")

    status, content = fetched(script)
    assert status == 200
    assert ANSWER_LIMIT_BYTES < len(content) < 8 * ANSWER_LIMIT_BYTES


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not well-formed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut", "closed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 9000 + b"\r\n\r\n", "larger header section"),
    ],
    ids=["no HTTP", "cut", "a long head"],
)
def test_what_is_no_answer_is_an_error_that_says_why(answer: bytes, words: str) -> None:
    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(answer)

    with pytest.raises(ConnectionError, match=words):
        fetched(script)


def test_a_redirect_leads_nowhere() -> None:
    with ScriptedService(answering(sized(b"{}"))) as elsewhere:
        location = f"Location: http://{elsewhere.endpoint}/"
        assert fetched(answering(sized(b"", location, status="302 Found"))) == (302, b"")
        assert elsewhere.connections == 0


def test_a_center_that_is_not_there() -> None:
    with reserved_port() as port, pytest.raises(ConnectionError, match=f"127.0.0.1:{port}"):
        play(f"127.0.0.1:{port}", lambda client: client.fetch("/v1/services/song"))


def test_whoever_stops_waiting_gives_the_connection_up() -> None:
    def script(conversation: Conversation) -> None:
        conversation.request()
        conversation.until_gone()

    with ScriptedService(script) as service:

        async def steps(client: CenterClient) -> None:
            for number in range(12):  # more than there may be connections
                waiting = asyncio.create_task(client.fetch("/v1/services/song"))
                await asyncio.to_thread(service.wait_for_requests, number + 1)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            await asyncio.to_thread(service.wait_for_connections, 0)

        play(service.endpoint, steps)
        assert service.connections == 12


def test_heartbeats_do_not_stand_behind_watchers() -> None:
    def script(conversation: Conversation) -> None:
        while not conversation.request().start.startswith("GET"):
            conversation.send(sized(b"{}"))
        conversation.until_gone()

    with ScriptedService(script) as service:

        async def steps(client: CenterClient) -> None:
            watcher = asyncio.create_task(client.fetch("/v1/services/song"))
            await asyncio.to_thread(service.wait_for_requests, 1)
            assert await client.send("PUT", "/", b"") == (200, b"{}")
            watcher.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watcher

        play(service.endpoint, steps)
