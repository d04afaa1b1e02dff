"""A key passes its date while both proxies run, in one process, over real sockets, under a wall clock that is
set by hand: calls go through, then they don't, and when the clock is set back they do again.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fastproxy.app.running import Proxy
from fastproxy.config.key_dates import shown_date
from fastproxy.config.load import load
from fastproxy.net.listener import bind
from fastproxy.policy.pattern import parse_pattern
from fastproxy.telemetry.exposition import render
from fastproxy.telemetry.state import state_of

NOW_S = 1_800_000_000.0
END_S = NOW_S + 100
AFTER_S = END_S + 1
REQUEST = b"POST /api/ HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi"


class Running:
    """Both proxies and a service. Their wall clocks are `in_s` and `out_s`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.service_answers = asyncio.Event()
        self.service_answers.set()
        self.in_s = self.out_s = NOW_S

    def key(self, name: str) -> str:
        """Write NAME.key, and return the public key."""
        key = X25519PrivateKey.generate()
        (self._folder / f"{name}.key").touch(mode=0o600)
        (self._folder / f"{name}.key").write_text(key.private_bytes_raw().hex())
        return key.public_key().public_bytes_raw().hex()

    async def start(self, transport: str, caller: object, receiver: object) -> None:
        """Start all; `caller` and `receiver` are public keys as configs write them."""
        folder = self._folder
        place = {name: f"unix:{folder}/{name}" for name in ("in", "out", "service")}
        quiet = {"access": "off"}
        inner = {
            "role": "in",
            "listen": {"address": place["in"]},
            "private_key": {"file": "in.key"},
            "callers": {"web": {"public_keys": caller}},
            "services": {"api": {"endpoints": [place["service"]]}},
            "privileges": [{"callers": ["web"], "services": ["api"]}],
            "log": quiet,
        }
        outer = {
            "role": "out",
            "listen": {"address": place["out"]},
            "caller": "web",
            "private_key": {"file": "web.key"},
            "receivers": {"in": {"public_keys": receiver, "endpoints": [place["in"]]}},
            "services": {"api": {"receiver": "in", "transport": transport}},
            "link": {"wait_s": 0},
            "limits": {"connections_per_endpoint": 1},
            "log": quiet,
        }
        self._service = await asyncio.start_unix_server(self._answer, folder / "service")
        loop = asyncio.get_running_loop()
        made = []
        for name, config, clock in (("in", inner, lambda: self.in_s), ("out", outer, lambda: self.out_s)):
            file = folder / f"{name}.yaml"
            file.write_text(json.dumps(config))
            made.append(Proxy(load(file, check_pattern=parse_pattern, clock=clock), loop, unix_clock=clock))
            await made[-1].start([bind(f"{folder}/{name}", 0, 0o600)])
        self.inner, self.outer = made

    async def stop(self) -> None:
        await self.outer.drain()
        await self.inner.drain()
        self._service.close()
        await self._service.wait_closed()
        rest = asyncio.all_tasks() - {asyncio.current_task()}  # the service's connections
        await asyncio.gather(*rest)

    async def call(self) -> str:
        """Call the service; return status and, if it was refused, cause."""
        reader, writer = await asyncio.open_unix_connection(self._folder / "out")
        writer.write(REQUEST)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        head, _, body = answer.partition(b"\r\n\r\n")
        status = head.split()[1].decode()
        return status if status == "200" else f"{status} {json.loads(body)['cause']}"

    async def until(self, outcome: str) -> None:
        """Call again and again, until a call ends so."""
        while await self.call() != outcome:
            pass

    async def until_so(self, is_so: Callable[[], bool]) -> None:
        """Let all others run until something is so."""
        while not is_so():  # noqa: ASYNC110 - neither metrics nor logs tell of a change
            await asyncio.sleep(0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"hi"):
                await self.service_answers.wait()
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        except asyncio.IncompleteReadError:  # the proxy is done with it
            writer.close()
            await writer.wait_closed()

    def counted(self, proxy: Proxy, metric: str, /, **labels: str) -> float:
        """A metric's value, over all series with these labels."""
        text = render(state_of(proxy.metrics, "")).decode()
        lines = [line for line in text.splitlines() if line.startswith(metric)]
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(float(line.split()[-1]) for line in lines if all(one in line for one in wanted))


def dated(key: str) -> list[object]:
    return [{"key": key, "not_after": shown_date(END_S)}]


def play(running: Running, scene: Callable[[], Awaitable[None]]) -> None:
    """Play a scene with a running pair, and end the pair."""

    async def run() -> None:
        try:
            await scene()
        finally:
            await running.stop()

    asyncio.run(run())


@pytest.fixture
def running(tmp_path: Path) -> Running:
    return Running(tmp_path)


def test_a_callers_key_passes_its_date_over_a_link(running: Running) -> None:
    caller, receiver = running.key("web"), running.key("in")

    async def scene() -> None:
        await running.start("link", dated(caller), [receiver])
        assert await running.call() == "200"
        running.in_s = AFTER_S
        await running.until("502 link_refused")
        count = running.counted
        assert count(running.inner, "fastproxy_links_ended_total", cause="revoked") == 1
        assert count(running.inner, "fastproxy_link_handshake_failures_total", cause="key_ended") >= 1
        assert count(running.inner, "fastproxy_link_handshake_failures_total", cause="unknown_caller") == 0
        assert count(running.inner, "fastproxy_key_not_after_seconds", name="web") == -1
        running.in_s = NOW_S
        await running.until("200")

    play(running, scene)


def test_a_callers_key_passes_its_date_over_http(running: Running) -> None:
    caller, receiver = running.key("web"), running.key("in")

    async def scene() -> None:
        await running.start("http", dated(caller), [receiver])
        assert await running.call() == "200"
        assert await running.call() == "200"  # on the short way
        running.in_s = AFTER_S
        await running.until("502 response_unsealed")
        assert running.counted(running.inner, "fastproxy_refusals_total", cause="identity_unproven") >= 1
        running.in_s = NOW_S
        await running.until("200")

    play(running, scene)


@pytest.mark.parametrize("transport", ["link", "http"])
def test_a_receivers_key_passes_its_date(running: Running, transport: str) -> None:
    caller, receiver = running.key("web"), running.key("in")

    async def scene() -> None:
        await running.start(transport, [caller], dated(receiver))
        for _ in range(3):
            assert await running.call() == "200"
        running.out_s = AFTER_S
        await running.until("502 receiver_key_ended")
        assert await running.call() == "502 receiver_key_ended"
        if transport == "link":
            assert running.counted(running.outer, "fastproxy_links_ended_total", cause="revoked") == 1
        assert running.counted(running.outer, "fastproxy_refusals_total", cause="receiver_key_ended") >= 2
        running.out_s = NOW_S
        await running.until("200")

    play(running, scene)


def test_a_call_that_waits_for_a_connection_is_not_sealed_for_a_key_that_ends_meanwhile(
    running: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caller, receiver = running.key("web"), running.key("in")

    async def scene() -> None:
        await running.start("http", [caller], dated(receiver))
        assert await running.call() == "200"
        running.service_answers.clear()
        calls = [asyncio.create_task(running.call()) for _ in range(2)]
        await running.until_so(lambda: running.counted(running.outer, "fastproxy_in_flight") == 2)
        running.out_s = AFTER_S
        await running.until_so(lambda: "a public key has passed its date" in caplog.text)
        running.service_answers.set()
        assert sorted([await call for call in calls]) == ["200", "502 receiver_key_ended"]

    play(running, scene)


@pytest.mark.parametrize("transport", ["link", "http"])
def test_the_next_key_takes_over_at_the_date(running: Running, transport: str) -> None:
    """Two keys of the receiver, the one that ends first in the list: no call is lost when it does."""
    caller, old, new = running.key("web"), running.key("old"), running.key("in")

    async def scene() -> None:
        await running.start(transport, [caller], [*dated(old), new])
        for at_s in (NOW_S, AFTER_S):
            running.out_s = at_s
            for _ in range(3):
                assert await running.call() == "200"

    play(running, scene)


def test_a_proxy_starts_with_a_key_that_has_ended_and_does_not_know_it(running: Running) -> None:
    caller, receiver = running.key("web"), running.key("in")
    running.in_s = AFTER_S

    async def scene() -> None:
        await running.start("link", dated(caller), [receiver])
        assert await running.call() == "502 link_refused"
        assert running.counted(running.inner, "fastproxy_links_opened_total") == 0

    play(running, scene)
