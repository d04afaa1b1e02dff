"""What passes through a proxy doesn't stay there: large bodies in both directions cost little memory."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.e2e.client import Client, Uploader, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import Fields, body_pieces, read_head
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair
from tests.e2e.services import Conversation, sized

MIB = 1 << 20
GROWTH_BYTES = 8 * MIB
"""Of either proxy's memory at its peak. Measured were 1.4 MiB at most."""
PATIENT = {"defaults": {"timeout_s": 120}}
AT_A_TIME = 64
BACK_S = 30
"""The time that memory has to come back within a tenth of where it was."""
BROKEN_OFF = 60
LEFT_BYTES = 8 * MIB
"""What that many uploads may leave of 30 MiB (24 MiB, while it was left to the garbage collector)."""


def counting(conversation: Conversation, begin: threading.Event | None = None) -> None:
    """Answers with the number of bytes that came; reads none before it may."""
    while True:
        head = read_head(conversation.stream)
        assert begin is None or begin.wait(BACK_S)
        size = sum(map(len, body_pieces(conversation.stream, head, [])))
        conversation.send(sized(b"%d" % size))


@pytest.fixture(params=[256, pytest.param(1024, marks=pytest.mark.long)])
def size_mib(request: pytest.FixtureRequest) -> int:
    """Size of a large body; a gibibyte passes over links each time (`tests.e2e.link.test_memory`)."""
    size: int = request.param
    return size


@pytest.fixture(scope="module")
def pair(make_shared: Maker, nginx: Nginx) -> Pair:
    """A pair that has served already, in front of nginx and of a service that counts."""
    service = make_shared.service(counting)
    deaf = make_shared.service(Conversation.until_gone)
    services = {"web": [nginx.endpoint], "count": [service.endpoint], "deaf": [deaf.endpoint]}
    pair = make_shared.pair(services, out=PATIENT, inner=PATIENT)
    upload(pair, 4)
    download(pair, nginx, 4)
    return pair


def upload(pair: Pair, size_mib: int) -> None:
    """Send that much."""
    with (
        Client(pair.address, timeout_s=60) as client,
        Uploader(client, bytes(MIB), size_mib * MIB) as uploader,
    ):
        client.send(request_bytes("POST", "/count/", headers=[f"Content-Length: {size_mib * MIB}"]))
        uploader.start()
        assert client.answer().body == b"%d" % (size_mib * MIB)


def download(pair: Pair, nginx: Nginx, size_mib: int) -> None:
    """Get that much: a file that takes no room on disk."""
    file = nginx.files / f"sparse-{size_mib}"
    with file.open("wb") as sparse:
        os.truncate(sparse.fileno(), size_mib * MIB)
    with Client(pair.address, timeout_s=60) as client:
        client.send(request_bytes("GET", f"/web/{file.name}"))
        head, trailers = read_head(client.stream), Fields()
        assert sum(map(len, body_pieces(client.stream, head, trailers))) == size_mib * MIB


def growth_bytes(pair: Pair, run: Callable[[], None]) -> list[int]:
    """Run something; return by how much the resident memory of each proxy had grown at its peak."""
    proxies = (pair.out, pair.inner)
    before = [proxy.begin_peak() for proxy in proxies]
    run()
    return [proxy.memory_bytes("VmHWM") - then for proxy, then in zip(proxies, before, strict=True)]


def test_a_large_upload_passes_in_little_memory(pair: Pair, size_mib: int) -> None:
    assert max(growth_bytes(pair, lambda: upload(pair, size_mib))) < GROWTH_BYTES


def test_a_large_download_passes_in_little_memory(pair: Pair, nginx: Nginx, size_mib: int) -> None:
    assert max(growth_bytes(pair, lambda: download(pair, nginx, size_mib))) < GROWTH_BYTES


def test_memory_comes_back_when_a_load_is_over(make_shared: Maker) -> None:
    begin = threading.Event()

    service = make_shared.service(partial(counting, begin=begin))
    pair = make_shared.pair({"count": [service.endpoint]}, out=PATIENT, inner=PATIENT)
    begin.set()
    upload(pair, 4)  # what is loaded and kept once isn't counted
    begin.clear()
    before = [proxy.memory_bytes("VmRSS") for proxy in (pair.out, pair.inner)]
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        uploads = [pool.submit(upload, pair, 1) for _ in range(AT_A_TIME)]
        pair.out.wait_for_gauge("fastproxy_in_flight", AT_A_TIME)  # each holds what it can
        begin.set()
        for done in uploads:
            done.result()
    deadline_s = time.monotonic() + BACK_S
    for proxy, then in zip((pair.out, pair.inner), before, strict=True):
        while proxy.memory_bytes("VmRSS") > then * 1.1:
            assert time.monotonic() < deadline_s
            time.sleep(0.05)


def test_uploads_that_are_broken_off_leave_nothing(pair: Pair) -> None:
    def break_off(count: int) -> None:
        for _ in range(count):
            with Client(pair.address) as client:
                client.send(request_bytes("POST", "/deaf/", headers=[f"Content-Length: {MIB}"]))
                client.send(bytes(MIB // 2))
            for proxy in (pair.out, pair.inner):  # of several at once the allocator keeps more for a while
                proxy.wait_for_gauge("fastproxy_in_flight", 0)

    break_off(5)
    before = [proxy.memory_bytes("VmRSS") for proxy in (pair.out, pair.inner)]
    break_off(BROKEN_OFF)
    after = [proxy.memory_bytes("VmRSS") for proxy in (pair.out, pair.inner)]
    assert max(now - then for now, then in zip(after, before, strict=True)) < LEFT_BYTES
