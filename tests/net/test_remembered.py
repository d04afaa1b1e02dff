"""What proxies remember of heads, plans included, at its worst: distinct heads of full size, many peers."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from fastproxy.model import Exchange, Request, RequestHead
from fastproxy.net.http1 import HeadParser
from tests.net.chain import Chain

MOST_BYTES = 1_572_864
"""What `net/http1.py` says of a parser whose heads get plans."""
HEADS = 95
"""One less than are remembered: with one more all are forgotten."""
HEAD_BYTES = 1024
PEERS = [f"192.0.2.{number}" for number in range(8)]


def head_of(path: bytes, number: int) -> bytes:
    """A head that the next hop's lines repeat as far as lines can: target, chain and a field of its own."""
    head = b"POST %b?%0300d HTTP/1.1\r\nHost: search_service\r\nX-Forwarded-For: %0200d\r\nContent-Type: " % (
        path, number, number,
    )  # fmt: skip
    return head + b"x" * (HEAD_BYTES - 4 - len(head)) + b"\r\n\r\n"


def remembered_bytes(parser: HeadParser, path: bytes, decide: Callable[[RequestHead, str], object]) -> int:
    """How much memory a proxy keeps after many peers sent many heads."""
    before = tracemalloc.get_traced_memory()[0]
    for number in range(HEADS - 1):
        for peer in PEERS:
            decide(parser.request(head_of(path, number))[0], peer)
    first = parser.request(head_of(path, 0))[0]
    assert first is parser.request(head_of(path, 0))[0], "the heads are remembered, or nothing was measured"
    assert first.plans
    return tracemalloc.get_traced_memory()[0] - before


def test_what_is_remembered_with_all_its_plans_stays_within_its_bound(tmp_path: Path) -> None:
    async def main() -> None:
        chain = Chain(tmp_path, asyncio.get_running_loop())
        outer, inner = (proxy.server for proxy in chain.proxies)
        exchange = Exchange("id", 0.0, "")
        tracemalloc.start()
        try:
            out_proxy, in_proxy = outer.handler, inner.handler
            kept = remembered_bytes(
                outer.parser,
                b"/search_service/api/service",
                lambda head, peer: out_proxy._plan(exchange, Request(head, b"", peer)),  # type: ignore[attr-defined]
            )
            assert kept < MOST_BYTES
            kept = remembered_bytes(
                chain.proxies[1].parts.sealed_parser,
                b"/api/service",
                lambda head, peer: in_proxy._plan(  # type: ignore[attr-defined]
                    exchange, head, ("caller", "search_service", peer)
                ),
            )
            assert kept < MOST_BYTES
        finally:
            tracemalloc.stop()
            for proxy in chain.proxies:
                proxy.parts.wheel.close()

    asyncio.run(main())
