"""What one warm call through both proxies costs in memory, and that ten thousand of them leave nothing."""

from __future__ import annotations

import asyncio
import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastproxy.net.connection import Connection
from tests.net.chain import REQUEST, Chain, Pipe

CALLS = 10_000
LEFT_BLOCKS = 100
"""Blocks that may be left after CALLS calls, by counters that outgrow small integers (10 to 40 are)."""
BLOCKS_IN_FLIGHT = 120
"""Blocks that one call may hold between two hops, in both proxies together (79 with CPython 3.11)."""
PEAK_BYTES = 12_288
"""Memory that one call may use at its fullest moment, in both proxies together (7,812 with CPython 3.11)."""


@contextmanager
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def with_chain(folder: Path, measure: Callable[[Chain], None]) -> None:
    async def main() -> None:
        chain = Chain(folder, asyncio.get_running_loop())
        for _ in range(1000):  # caches fill, the interpreter specialises its code
            chain.call()
        measure(chain)
        for proxy in chain.proxies:
            proxy.parts.wheel.close()

    asyncio.run(main())


def test_a_call_goes_through_both_proxies(tmp_path: Path) -> None:
    def measure(chain: Chain) -> None:
        answer = chain.call()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b'{"code":0,"message":"okay"}')

    with_chain(tmp_path, measure)


def test_ten_thousand_calls_leave_nothing_behind(tmp_path: Path) -> None:
    def measure(chain: Chain) -> None:
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(CALLS):
            chain.call()
        gc.collect()
        assert sys.getallocatedblocks() - before < LEFT_BLOCKS

    with_chain(tmp_path, measure)


def test_a_call_leaves_no_work_to_the_garbage_collector(tmp_path: Path) -> None:
    def measure(chain: Chain) -> None:
        with no_collection():
            for _ in range(100):
                chain.call()
            assert gc.collect() == 0  # no reference cycles

    with_chain(tmp_path, measure)


@pytest.mark.parametrize("sent", [b"", REQUEST[:40], REQUEST.replace(b"Length: 11", b"Length: 99999")])
def test_a_connection_that_closes_leaves_no_cycles(sent: bytes, tmp_path: Path) -> None:
    def measure(chain: Chain) -> None:
        with no_collection():
            for _ in range(10):
                pipe = Pipe(Connection(chain.proxies[0].server))
                if sent:
                    pipe.protocol.data_received(sent)
                pipe.protocol.connection_lost(None)
                del pipe.protocol
            assert gc.collect() == 0

    with_chain(tmp_path, measure)


def test_the_blocks_that_one_call_holds_while_it_waits(tmp_path: Path) -> None:
    def measure(chain: Chain) -> None:
        with no_collection():
            held = []
            before = sys.getallocatedblocks()
            for _ in chain.steps():
                held.append(sys.getallocatedblocks() - before)
        assert max(held) < BLOCKS_IN_FLIGHT

    with_chain(tmp_path, measure)


def test_the_memory_that_one_call_has_in_use(tmp_path: Path) -> None:
    def measure(chain: Chain) -> None:
        with no_collection():
            tracemalloc.start()
            try:
                chain.call()  # the first traced one also counts what it replaces
                tracemalloc.reset_peak()
                before = tracemalloc.get_traced_memory()[0]
                chain.call()
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert peak - before < PEAK_BYTES

    with_chain(tmp_path, measure)
