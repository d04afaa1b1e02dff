"""The pool of links to one endpoint, on real connections: who waits, who is told what, and what races."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop
from msgspec.structs import replace

from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint
from fastproxy.net.drive import until
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.link.caller import CallerLink, known_link_answers
from fastproxy.net.link.counters import LinkCounters
from fastproxy.net.link.link import LinkSettings, landing
from fastproxy.net.link.pool import LinkParts, LinkPool, LinkPoolLimits, LinkPools, Way
from fastproxy.net.link.server import LinkServer
from fastproxy.net.timers import Wheel
from fastproxy.wire.identity import PrivateKey
from fastproxy.wire.link.frames import GOAWAY, PROTOCOL_ERROR, build_goaway, frame
from fastproxy.wire.link.handshake import NO_PSK, Initiator, Responder
from tests.net.kit import Run, driven
from tests.net.link.ends import SETTINGS, Answer, Service, make_server, open_call, request
from tests.wire.link.parties import CALLER_KEY, NAME, RECEIVER_KEY, STRANGER_KEY, ephemeral

FAR = 1e6
"""So many pauses: until a test is over."""


class Entry(asyncio.Protocol):
    """The first bytes of a connection go to whoever takes links, as in a proxy."""

    def __init__(self, take: Callable[[asyncio.Transport, bytes], None]) -> None:
        self._take = take

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._take(self._transport, data)


class Scene:
    """A pool and what it leads to.

    endpoint: where it leads. parts, pool: the caller's side. made: handshakes that were begun.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        limits: LinkPoolLimits,
        settings: LinkSettings = SETTINGS,
        chance: float = 0.0,
        key: PrivateKey = CALLER_KEY,
    ) -> None:
        loop = asyncio.get_running_loop()
        parser = HeadParser(HeadLimits(), sealed=True)
        self.endpoint = endpoint
        self.made = 0
        self._key = key
        self.parts = LinkParts(
            settings, limits, LinkCounters(), landing(), Wheel(loop), loop, parser,
            known_link_answers(parser), lambda name: False, lambda: chance,
        )  # fmt: skip
        self.way = Way(lambda: [self._initiate])
        self.pool = LinkPool(endpoint, self.way, self.parts)

    def _initiate(self) -> Initiator:
        self.made += 1
        params = SETTINGS.params._replace(max_streams=0)
        return Initiator(self._key, NAME, RECEIVER_KEY.public_key, NO_PSK, params, ephemeral(self.made))


@asynccontextmanager
async def listening(
    take: Callable[[asyncio.Transport, bytes], None], path: Path | None = None
) -> AsyncIterator[Endpoint]:
    """A port on loopback, or a Unix socket, whose connections' first bytes go to `take`."""
    loop = asyncio.get_running_loop()
    if path is None:
        server = await loop.create_server(lambda: Entry(take), "127.0.0.1", 0)
        endpoint = Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    else:
        server, endpoint = await loop.create_unix_server(lambda: Entry(take), str(path)), at(path)
    try:
        yield endpoint
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def scene(
    limits: LinkPoolLimits | None = None, settings: LinkSettings = SETTINGS, **how: Any
) -> AsyncIterator[tuple[Scene, LinkServer]]:
    """A receiver that is there, and a pool that leads to it; in the end nothing is left of either."""
    loop = asyncio.get_running_loop()
    server = make_server(Loop(loop), Service(), settings)
    async with listening(lambda transport, data: server.take(transport, "127.0.0.1", data)) as endpoint:
        stage = Scene(endpoint, limits or LinkPoolLimits(), settings, **how)
        try:
            yield stage, server
        finally:
            stage.pool.abort()
            server.abort()
            await settled()
            assert stage.pool.size == 0
            stage.parts.wheel.close()
            server.wheel.close()


def at(path: Path) -> Endpoint:
    """A Unix socket, which nobody else comes by while nobody listens there."""
    return Endpoint(str(path), 0)


class Loop:
    """The running loop, where a test's clock would stand."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop


async def settled() -> None:
    """Let what was put off run; and see that no task of the pool is left."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    if tasks:
        await asyncio.wait(tasks, timeout=20)
    for _ in range(5):
        await asyncio.sleep(0)


def run(test: Callable[[], Awaitable[None]]) -> None:
    """Run a test on the event loop that the proxies run on; nothing may fail behind its back."""
    failures: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context))
        await test()
        await settled()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
    assert failures == []


def acquire(pool: LinkPool) -> asyncio.Future[CallerLink]:
    """A call that wants a link; it is driven as calls are."""
    return driven(pool.acquire())


async def cause_of(future: asyncio.Future[Any]) -> str:
    """The cause that a call is told."""
    with pytest.raises(ProxyError) as raised:
        await asyncio.wait_for(future, 20)
    return raised.value.cause.label


def test_calls_that_come_together_get_one_link() -> None:
    async def test() -> None:
        async with scene() as (stage, server):
            calls = [acquire(stage.pool) for _ in range(5)]
            links = await asyncio.gather(*calls)
            assert len({id(link) for link in links}) == 1
            assert stage.made == 1
            assert stage.pool.take() is links[0]
            assert await acquire(stage.pool) is links[0]
            assert stage.pool.size == 1
            assert not stage.pool.unused
            assert server.size == 1

    run(test)


def test_the_line_for_a_link_is_bounded() -> None:
    async def test() -> None:
        async with scene(LinkPoolLimits(waiting=2)) as (stage, _):
            calls = [acquire(stage.pool) for _ in range(3)]
            assert await cause_of(calls[2]) == "pool_exhausted"
            await asyncio.gather(*calls[:2])

    run(test)


def test_those_in_the_line_dont_overfill_the_link() -> None:
    async def test() -> None:
        async with scene() as (stage, _):
            opened: list[Answer] = []

            async def call() -> None:
                link = await stage.pool.acquire()
                open_call(link, answer := Answer())
                opened.append(answer)

            calls = [driven(call()) for _ in range(SETTINGS.params.max_streams + 3)]
            causes = await asyncio.gather(*calls, return_exceptions=True)
            refused = [each.cause.label for each in causes if isinstance(each, ProxyError)]
            assert refused == ["pool_exhausted"] * 3
            assert len(opened) == SETTINGS.params.max_streams

    run(test)


def test_an_endpoint_where_nobody_listens_is_told_at_once_and_not_asked_again_too_soon(
    tmp_path: Path,
) -> None:
    async def test() -> None:
        stage = Scene(at(tmp_path / "gone"), LinkPoolLimits(), chance=FAR)
        calls = [acquire(stage.pool) for _ in range(3)]
        assert [await cause_of(call) for call in calls] == ["connect_refused"] * 3
        assert stage.made == 1
        assert await cause_of(acquire(stage.pool)) == "connect_refused"
        assert stage.made == 1
        assert stage.pool.unused
        stage.parts.wheel.close()

    run(test)


def test_a_receiver_that_refuses_the_handshake_is_told_apart() -> None:
    async def test() -> None:
        async with scene(key=STRANGER_KEY) as (stage, server):
            assert await cause_of(acquire(stage.pool)) == "link_refused"
            assert stage.parts.counters.handshakes_failed == {"closed": 1}
            assert server.counters.handshakes_failed == {"unknown_caller": 1}

    run(test)


def test_a_connection_that_breaks_within_the_handshake_may_return() -> None:
    async def test() -> None:
        def cut(transport: asyncio.Transport, data: bytes) -> None:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 s: the end is a reset
            transport.abort()

        async with listening(cut) as endpoint:
            stage = Scene(endpoint, LinkPoolLimits())
            assert await cause_of(acquire(stage.pool)) == "connect_refused"
            assert stage.parts.counters.handshakes_failed == {"lost": 1}
            stage.parts.wheel.close()

    run(test)


@pytest.mark.parametrize("is_apart", [False, True], ids=["in one write", "right behind"])
def test_a_link_that_ends_as_soon_as_it_is_made_leaves_nobody_waiting(is_apart: bool) -> None:
    async def test() -> None:
        responder = Responder(NAME, (RECEIVER_KEY,), {CALLER_KEY.public_key: NO_PSK}.get, SETTINGS.params)

        def greet_and_go(transport: asyncio.Transport, data: bytes) -> None:
            message, established = responder.answer(data, responder.check(data), ephemeral(99))
            goodbye = established.sealer.seal(frame(GOAWAY, 0, build_goaway(0, PROTOCOL_ERROR)))
            for piece in (message, goodbye) if is_apart else (message + goodbye,):
                transport.write(piece)
            transport.close()

        async with listening(greet_and_go) as endpoint:
            stage = Scene(endpoint, LinkPoolLimits())
            calls = [acquire(stage.pool) for _ in range(3)]
            assert [await cause_of(call) for call in calls] == ["connect_refused"] * 3
            assert stage.pool.current is None
            assert stage.pool.size == 0
            stage.parts.wheel.close()

    run(test)


def test_a_link_that_is_gone_before_the_line_hears_of_it_is_not_handed_out() -> None:
    """Between the handshake and the task that tells the line lies a turn of the loop."""

    async def test() -> None:
        async with scene() as (stage, _):
            call = acquire(stage.pool)
            settle, links = stage.pool._links, list(stage.pool._links)
            while not links:
                await asyncio.sleep(0)
                links = list(settle)
            (link,) = links
            ready = link._on_ready

            def ready_and_gone() -> None:
                ready()
                link.abort()

            link._on_ready = ready_and_gone
            assert await cause_of(call) == "connect_refused"
            assert stage.pool.current is None

    run(test)


def test_a_receiver_that_never_answers_costs_its_time_and_no_more() -> None:
    async def test() -> None:
        async with listening(lambda transport, data: None) as endpoint:
            stage = Scene(endpoint, LinkPoolLimits(), replace(SETTINGS, handshake_timeout_s=0.05))
            assert await cause_of(acquire(stage.pool)) == "link_refused"
            assert stage.parts.counters.handshakes_failed == {"timeout": 1}
            assert stage.pool.size == 0
            stage.parts.wheel.close()

    run(test)


def test_a_call_that_gives_up_leaves_the_others_in_the_line() -> None:
    async def test() -> None:
        async with scene() as (stage, _):
            first = Run(stage.pool.acquire())
            second = acquire(stage.pool)
            first.drive.cancel()
            assert isinstance(first.error, asyncio.CancelledError)
            assert (await second).ready

    run(test)


def test_cutting_off_a_pool_that_connects_tells_the_line_and_leaves_no_task() -> None:
    async def test() -> None:
        async with scene() as (stage, server):
            call = acquire(stage.pool)
            await asyncio.sleep(0)
            stage.pool.abort()
            assert await cause_of(call) == "connect_refused"
            assert await cause_of(acquire(stage.pool)) == "connect_refused"
            await settled()
            assert stage.pool.unused
            assert server.counters.opened == 0

    run(test)


def test_a_pool_that_drains_makes_no_more_links() -> None:
    async def test() -> None:
        async with scene() as (stage, _):
            link = await acquire(stage.pool)
            open_call(link, Answer())
            stage.pool.drain()
            assert not link.ready
            assert not link.closed
            assert await cause_of(acquire(stage.pool)) == "connect_refused"
            assert stage.made == 1

    run(test)


def test_an_old_link_is_replaced_before_it_ends() -> None:
    async def test() -> None:
        async with scene(settings=replace(SETTINGS, max_age_s=1000)) as (stage, server):
            first = await acquire(stage.pool)
            server.handler.answer = forever  # type: ignore[attr-defined]
            open_call(first, answer := Answer())
            first.born_s -= 2000
            first._used_s = first._loop.time()
            first._look_after()
            assert stage.pool.current is first  # until the next one is there
            assert stage.pool._opening is not None
            await stage.pool._opening
            second = stage.pool.current
            assert second is not first
            assert second is not None
            assert second.ready
            assert not first.ready
            assert not first.closed
            assert not answer.told
            first.abandon(1)
            assert first.closed

    run(test)


async def forever(stream: Any, request: Any) -> None:
    """A service that doesn't answer."""
    await until(asyncio.get_running_loop().create_future())


def test_a_replacement_that_fails_harms_nobody() -> None:
    async def test() -> None:
        async with scene(settings=replace(SETTINGS, max_age_s=1000)) as (stage, server):
            first = await acquire(stage.pool)
            server.door.callers.clear()  # type: ignore[attr-defined]
            server.door._responder._caller_psk = {}.get  # type: ignore[attr-defined]
            first.born_s -= 2000
            first._look_after()
            assert stage.pool._opening is not None
            await stage.pool._opening
            assert stage.pool.current is first
            assert first.ready
            assert await acquire(stage.pool) is first
            assert stage.pool._down_since_s == 0  # calls still have all their patience when it is lost

    run(test)


def test_a_link_that_is_lost_is_made_anew_for_the_next_call() -> None:
    async def test() -> None:
        async with scene() as (stage, _):
            first = await acquire(stage.pool)
            first.begin(answer := Answer(), request(1), 0)
            first.abort()
            assert answer.cause == "connection_lost"
            assert stage.pool.current is None
            second = await acquire(stage.pool)
            assert second is not first
            assert second.ready

    run(test)


# --- waiting for an endpoint to return ----------------------------------------------------------------------


def test_calls_wait_for_an_endpoint_that_returns(tmp_path: Path) -> None:
    async def test() -> None:
        endpoint = at(tmp_path / "back")
        stage = Scene(endpoint, LinkPoolLimits(patience_s=20))
        pools = LinkPools(stage.way, stage.parts)
        pool = pools.pool(endpoint)
        assert await cause_of(acquire(pool)) == "connect_refused"
        waiting = [driven(pools.recover([endpoint])) for _ in range(3)]
        gives_up = Run(pools.recover([endpoint]))
        gives_up.drive.cancel()
        loop = asyncio.get_running_loop()
        server = make_server(Loop(loop), Service())
        async with listening(lambda transport, data: server.take(transport, "unix", data), tmp_path / "back"):
            assert await asyncio.wait_for(asyncio.gather(*waiting), 20) == [True] * 3
            assert pool.take() is not None
            pools.abort()
            server.abort()
        stage.parts.wheel.close()
        server.wheel.close()

    run(test)


def test_calls_dont_wait_longer_than_patience_allows(tmp_path: Path) -> None:
    async def test() -> None:
        endpoint = at(tmp_path / "gone")
        stage = Scene(endpoint, LinkPoolLimits(patience_s=0.1))
        pools = LinkPools(stage.way, stage.parts)
        assert await cause_of(acquire(pools.pool(endpoint))) == "connect_refused"
        assert await asyncio.wait_for(driven(pools.recover([endpoint])), 20) is False
        made = stage.made
        assert await driven(pools.recover([endpoint])) is False  # the next one isn't kept waiting at all
        assert stage.made == made
        stage.parts.wheel.close()

    run(test)


def test_cutting_off_ends_the_waiting(tmp_path: Path) -> None:
    async def test() -> None:
        endpoint = at(tmp_path / "gone")
        stage = Scene(endpoint, LinkPoolLimits(patience_s=1000), chance=FAR)
        pools = LinkPools(stage.way, stage.parts)
        assert await cause_of(acquire(pools.pool(endpoint))) == "connect_refused"
        waiting = driven(pools.recover([endpoint]))
        await asyncio.sleep(0)
        pools.abort()
        assert await asyncio.wait_for(waiting, 20) is False
        stage.parts.wheel.close()

    run(test)
