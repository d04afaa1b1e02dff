"""Compression and padding over a link: what passes between the proxies, and that nobody else notices."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Client
from tests.e2e.conftest import Maker
from tests.e2e.link.conftest import LINKS_ONLY, OVER_LINK
from tests.e2e.link_security.wire import Wire
from tests.e2e.proxies import Config, Pair, ProxyProcess, merged
from tests.e2e.services import Conversation, ScriptedService, sized

PAD_BYTES = 1024
TAG_BYTES, LENGTH_BYTES = 16, 4
SIZES = [0, 1, 700, 1023, 1024, 5000, 65_536, 300_000]
TEXT = b"all work and no play makes jack a dull boy. " * 8000
NOISE = random.Random(5).randbytes(len(TEXT))
SMALL_BYTES = 100
"""Records that carry no content, such as pings and credit, are smaller; calls are larger."""


def echoing(conversation: Conversation) -> None:
    """Answers with the content that it got, in one piece."""
    while True:
        conversation.send(sized(conversation.request().body, "X-Kind: echo"))


COMPRESSORS = ["snappy", "gzip", "lz4", "zstd"]


@pytest.fixture(scope="module")
def service(make_shared: Maker) -> ScriptedService:
    return make_shared.service(echoing)


@pytest.fixture(scope="module")
def pair(make_shared: Maker, service: ScriptedService) -> Pair:
    """A pair in front of the same service under many names: those of its compressors, and `none`."""
    settings: Config = {"services": {name: {"compress": name} for name in (*COMPRESSORS, "none")}}
    names = {name: [service.endpoint] for name in settings["services"]}
    return make_shared.pair(names, out=settings, inner=settings)


def saved_bytes(proxy: ProxyProcess) -> float:
    """How much less the proxy has sent than its content came to."""
    metrics = proxy.metrics()
    content = metrics.total("fastproxy_link_content_bytes_total")
    return content - metrics.total("fastproxy_link_sent_bytes_total")


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_what_compresses_is_sent_compressed_and_arrives_as_it_was(
    pair: Pair, service: ScriptedService, compressor: str
) -> None:
    proxies = (pair.out, pair.inner)
    before = [saved_bytes(proxy) for proxy in proxies]
    with Client(pair.address) as client:
        for content in (TEXT, NOISE):
            for size in SIZES:
                assert client.request("POST", f"/{compressor}/", content[:size]).body == content[:size]
                assert service.last.body == content[:size]
    for proxy, saved in zip(proxies, before, strict=True):
        assert saved_bytes(proxy) - saved > sum(SIZES) / 2, "nearly all of the text"
    for field in ("content-encoding", "transfer-encoding"):
        assert service.last.all(field) == [], "which is the business of the two ends alone"


def test_without_compression_as_much_is_sent_as_there_is(pair: Pair) -> None:
    proxies = (pair.out, pair.inner)
    before = [saved_bytes(proxy) for proxy in proxies]
    assert pair.fetch("POST", "/none/", TEXT).body == TEXT
    assert all(saved_bytes(proxy) < saved for proxy, saved in zip(proxies, before, strict=True))


@pytest.fixture
def wire() -> Iterator[Wire]:
    with Wire() as wire:
        yield wire


def lengths(records: list[bytes]) -> set[int]:
    """Lengths of what the larger records behind the handshake hold."""
    sizes = {len(record) - LENGTH_BYTES - TAG_BYTES for record in records[1:]}
    return {size for size in sizes if size > SMALL_BYTES}


def test_padded_calls_look_alike_on_their_way(tmp_path: Path, service: ScriptedService, wire: Wire) -> None:
    """Both ways, from the first byte of content up; the short way doesn't get around it."""
    setting: Config = {"defaults": {"pad_to_bytes": PAD_BYTES}}
    with Pair(
        tmp_path,
        {"api": [service.endpoint]},
        out=merged(OVER_LINK, setting),
        inner=merged(LINKS_ONLY, setting),
        between=wire.lead_to,
    ) as pair:
        with Client(pair.address) as client:
            for size in range(1, 300, 23):
                for _ in range(3):
                    assert client.request("POST", "/api/", TEXT[:size]).body == TEXT[:size]
            (passage,) = wire.passages
            assert lengths(passage.said) == lengths(passage.answered) == {PAD_BYTES}
            for size in SIZES:
                assert client.request("POST", "/api/", NOISE[:size]).body == NOISE[:size]
        for records in (passage.said, passage.answered):
            assert {size % PAD_BYTES for size in lengths(records)} == {0}
