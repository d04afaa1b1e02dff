"""One stalled and one huge exchange beside a hundred small ones, all on one link: nobody waits for either.

How long a small call waits is counted in what the huge one moves meanwhile, so that the machine's speed is of
no matter. The huge one never ends: whoever had to wait for it would wait for ever.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.e2e.client import Client, meanwhile, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import Message, read_head
from tests.e2e.proxies import Pair
from tests.e2e.services import Conversation, Script, ScriptedService, answering, sized

MIB = 1 << 20
BLOCK = bytes(65_536)
SMALL_CALLS = 100
ENDLESS = "Content-Length: 1000000000000"
QUEUE_BYTES = 16 * MIB
"""More than what stands in front of a small message in sockets' buffers and one turn's worth of content, on
both ways and on all three hops together."""


class Meter:
    """Counts what the huge exchange has moved."""

    def __init__(self) -> None:
        self.moved_bytes = 0
        self._changed = threading.Condition()

    def note(self, size_bytes: int) -> None:
        """So much more has come."""
        with self._changed:
            self.moved_bytes += size_bytes
            self._changed.notify_all()

    def wait_for(self, more_bytes: int) -> None:
        """Wait until so much more has come."""
        with self._changed:
            until = self.moved_bytes + more_bytes
            assert self._changed.wait_for(lambda: self.moved_bytes >= until, 30)


@pytest.fixture
def meter() -> Meter:
    return Meter()


@pytest.fixture
def services(make: Maker, meter: Meter) -> Iterator[dict[str, ScriptedService]]:
    """Services that send without end, take without end, or take nothing."""
    over = threading.Event()

    def source(conversation: Conversation) -> None:
        conversation.request()
        conversation.send(f"HTTP/1.1 200 OK\r\n{ENDLESS}\r\n\r\n".encode())
        while True:
            conversation.send(BLOCK)

    def sink(conversation: Conversation) -> None:
        read_head(conversation.stream)
        while data := conversation.stream.read1(len(BLOCK)):  # type: ignore[attr-defined]
            meter.note(len(data))

    def wall(conversation: Conversation) -> None:
        head = read_head(conversation.stream)
        conversation.service.note(Message(head.start, head.fields))
        over.wait(50)

    scripts: dict[str, Script] = {"source": source, "sink": sink, "wall": wall}
    scripts["small"] = answering(sized(b"small"))
    yield {name: make.service(script) for name, script in scripts.items()}
    over.set()


@pytest.fixture
def pair(make: Maker, services: dict[str, ScriptedService]) -> Pair:
    """A pair in front of them."""
    hour = {"defaults": {"timeout_s": 3600}}
    return make.pair({name: [service.endpoint] for name, service in services.items()}, out=hour, inner=hour)


@contextmanager
def huge_download(pair: Pair, meter: Meter) -> Iterator[None]:
    """An answer without end that is read as fast as it comes."""

    def read() -> None:
        while data := client.stream.read1(len(BLOCK)):
            meter.note(len(data))

    with Client(pair.address, timeout_s=50) as client:
        client.send(request_bytes("GET", "/source/"))
        with meanwhile(client, read):
            yield


@contextmanager
def huge_upload(pair: Pair, meter: Meter) -> Iterator[None]:
    """A request without end that is sent as fast as it is taken."""

    def send() -> None:
        while True:
            client.send(BLOCK)

    with Client(pair.address, timeout_s=50) as client:
        client.send(request_bytes("POST", "/sink/", headers=[ENDLESS]))
        with meanwhile(client, send):
            yield


@contextmanager
def stalled_download(pair: Pair) -> Iterator[None]:
    """An answer without end that nobody reads."""
    before = stalls(pair)
    with Client(pair.address, receive_bytes=65_536) as client:
        client.send(request_bytes("GET", "/source/"))
        wait_for_more(pair, before)
        yield


@contextmanager
def stalled_upload(pair: Pair) -> Iterator[None]:
    """A request without end that the service doesn't read."""

    def send() -> None:
        while True:
            client.send(BLOCK)

    before = stalls(pair)
    with Client(pair.address, timeout_s=50) as client:
        client.send(request_bytes("POST", "/wall/", headers=[ENDLESS]))
        with meanwhile(client, send):
            wait_for_more(pair, before)
            yield


def stalls(pair: Pair) -> float:
    """How often a window was used up."""
    return sum(
        proxy.metrics().total("fastproxy_link_window_stalls_total") for proxy in (pair.out, pair.inner)
    )


def wait_for_more(pair: Pair, before: float) -> None:
    """Wait until a window is used up once more."""
    while stalls(pair) == before:
        pass


@pytest.mark.parametrize(
    ("stalled", "huge"),
    [(stalled_download, huge_download), (stalled_upload, huge_upload)],
    ids=["download", "upload"],
)
def test_small_calls_wait_for_neither_a_stalled_nor_a_huge_one(
    pair: Pair,
    meter: Meter,
    stalled: Callable[..., AbstractContextManager[None]],
    huge: Callable[..., AbstractContextManager[None]],
) -> None:
    with stalled(pair), huge(pair, meter), Client(pair.address, timeout_s=50) as client:
        meter.wait_for(32 * MIB)
        waits_bytes = []
        for _ in range(SMALL_CALLS):
            before_bytes = meter.moved_bytes
            assert client.request("POST", "/small/", b"x").body == b"small"
            waits_bytes.append(meter.moved_bytes - before_bytes)
        meter.wait_for(32 * MIB)
    assert statistics.median(waits_bytes) < QUEUE_BYTES
    assert pair.out.metrics().total("fastproxy_links_opened_total") == 1


def test_many_small_calls_at_a_time_pass_a_stalled_one(pair: Pair, meter: Meter) -> None:
    """And what is stalled holds no more than its window: the link's own stays open to others."""
    with stalled_download(pair), stalled_upload(pair), huge_download(pair, meter):
        clients = [Client(pair.address, timeout_s=50) for _ in range(SMALL_CALLS)]
        for client in clients:
            client.send(request_bytes("POST", "/small/", b"x"))
        assert [client.answer().body for client in clients] == [b"small"] * SMALL_CALLS
        meter.wait_for(32 * MIB)
        for client in clients:
            client.close()
