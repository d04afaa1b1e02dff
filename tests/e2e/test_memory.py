"""What passes through a proxy doesn't stay there: large bodies in both directions cost little memory."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.e2e.client import Client, Uploader, request_bytes
from tests.e2e.conftest import Maker
from tests.e2e.http_wire import Fields, body_pieces, read_head
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair
from tests.e2e.services import Conversation, sized

MIB = 1 << 20
GROWTH_BYTES = 32 * MIB
SIZE_MIB = 1024


def counting(conversation: Conversation) -> None:
    """Answers with the number of bytes that came."""
    while True:
        head = read_head(conversation.stream)
        size = sum(map(len, body_pieces(conversation.stream, head, [])))
        conversation.send(sized(b"%d" % size))


@pytest.fixture(scope="module")
def pair(make_shared: Maker, nginx: Nginx) -> Pair:
    """A pair that has served already, in front of nginx and of a service that counts."""
    service = make_shared.service(counting)
    patient = {"defaults": {"timeout_s": 120}}
    services = {"web": [nginx.endpoint], "count": [service.endpoint]}
    pair = make_shared.pair(services, out=patient, inner=patient)
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


def test_a_large_upload_passes_in_little_memory(pair: Pair) -> None:
    assert max(growth_bytes(pair, lambda: upload(pair, SIZE_MIB))) < GROWTH_BYTES


def test_a_large_download_passes_in_little_memory(pair: Pair, nginx: Nginx) -> None:
    assert max(growth_bytes(pair, lambda: download(pair, nginx, SIZE_MIB))) < GROWTH_BYTES
