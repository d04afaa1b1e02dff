"""Names are resolved again and again; what was known last is kept. The resolver is played by the test."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest

from fastproxy.discovery.dns import DnsSource
from fastproxy.model import Endpoint
from tests.discovery.addresses import ip, name, unix


class Resolver:
    """Answers what the test says, one look-up after the other."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[str, asyncio.Future[Sequence[str]]]] = asyncio.Queue()

    def resolve(self, host: str, port: int) -> Awaitable[Sequence[str]]:
        answer: asyncio.Future[Sequence[str]] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait((host, answer))
        return answer

    async def answer(self, reply: Sequence[str] | Exception) -> None:
        """Wait until a name is looked up, and answer."""
        _, answer = await self.asked.get()
        if isinstance(reply, Exception):
            answer.set_exception(reply)
        else:
            answer.set_result(reply)


def test_why_nothing_is_known_is_told_by_name() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("api.test"))
        assert "api.test" in source.missing
        await start(source, resolver, OSError(-2, "Name or service not known"))
        assert source.missing == "api.test:80 doesn't resolve: [Errno -2] Name or service not known"
        await source.close()

    run(play)


def hosts(source: DnsSource) -> list[str]:
    return [endpoint.host for endpoint in source.endpoints]


async def start(source: DnsSource, resolver: Resolver, *replies: Sequence[str] | Exception) -> None:
    starting = asyncio.ensure_future(source.start())
    for reply in replies:
        await resolver.answer(reply)
    await starting


async def settled(resolver: Resolver, source: DnsSource, reply: Sequence[str] | Exception) -> list[str]:
    """Answer the next look-up, and wait until the one after it has begun: then the answer is worked in."""
    await resolver.answer(reply)
    _, following = await resolver.asked.get()
    resolver.asked.put_nowait(("again", following))
    return hosts(source)


def source_of(resolver: Resolver, *addresses: object, timeout_s: float = 5.0) -> DnsSource:
    return DnsSource(addresses, refresh_s=0.0, timeout_s=timeout_s, resolve=resolver.resolve)  # type: ignore[arg-type]


def run(play: Callable[[], Awaitable[None]]) -> None:
    async def played() -> None:
        await play()

    asyncio.run(played())


def test_all_addresses_of_both_versions_in_a_steady_order() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("api", 8080))
        await start(source, resolver, ["192.0.2.2", "192.0.2.1", "2001:db8::1", "192.0.2.2"])
        assert hosts(source) == ["192.0.2.1", "192.0.2.2", "2001:db8::1"]
        assert {(endpoint.port, endpoint.authority) for endpoint in source.endpoints} == {(8080, "api:8080")}
        before = source.endpoints
        await settled(resolver, source, ["2001:db8::1", "192.0.2.2", "192.0.2.1"])
        assert source.endpoints is before
        await source.close()

    run(play)


def test_names_and_fixed_addresses_mix_in_the_order_of_the_config() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(
            resolver, ip("192.0.2.9"), name("a"), unix("/run/x.sock"), name("b"), ip("192.0.2.1")
        )
        assert hosts(source) == ["192.0.2.9", "/run/x.sock", "192.0.2.1"]
        await start(source, resolver, ["192.0.2.1"], ["192.0.2.3"])
        assert hosts(source) == ["192.0.2.9", "192.0.2.1", "/run/x.sock", "192.0.2.3"]
        assert source.endpoints[2] == Endpoint("/run/x.sock", 0, "unix:/run/x.sock")
        await source.close()

    run(play)


def test_changes_are_taken_over_and_failures_keep_what_was_known() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("api"))
        await start(source, resolver, ["192.0.2.1"])
        assert await settled(resolver, source, ["192.0.2.2"]) == ["192.0.2.2"]
        assert await settled(resolver, source, OSError("no such name")) == ["192.0.2.2"]
        assert await settled(resolver, source, []) == ["192.0.2.2"]
        assert await settled(resolver, source, UnicodeError("label too long")) == ["192.0.2.2"]
        assert await settled(resolver, source, ["192.0.2.3"]) == ["192.0.2.3"]
        await source.close()

    run(play)


def test_a_first_failure_does_not_prevent_the_start() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("api"))
        await start(source, resolver, OSError("server silent"))
        assert hosts(source) == []
        assert source.age_s(1e9) is None
        assert await settled(resolver, source, ["192.0.2.1"]) == ["192.0.2.1"]
        await source.close()

    run(play)


def test_a_silent_server_neither_holds_up_the_start_nor_gets_a_second_look_up() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("api"), timeout_s=0.001)
        await source.start()
        keeper_turns = [await asyncio.wait_for(source._places[0].refresh(), 5) for _ in range(3)]  # type: ignore[union-attr]
        assert keeper_turns == [False, False, False]
        assert resolver.asked.qsize() == 1
        await source.close()
        _, lookup = resolver.asked.get_nowait()
        assert lookup.cancelled()

    run(play)


def test_the_age_is_that_of_the_stalest_name() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("a"), name("b"))
        before_s = asyncio.get_running_loop().time()
        await start(source, resolver, ["192.0.2.1"], ["192.0.2.2"])
        age_s = source.age_s(before_s + 100.0)
        assert age_s is not None
        assert 0.0 < age_s <= 100.0
        await source.close()

    run(play)


def test_an_answer_is_bounded() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("api"))
        await start(source, resolver, [f"10.0.{n // 256}.{n % 256}" for n in range(10_000)])
        assert len(source.endpoints) == 256
        await source.close()

    run(play)


def test_nothing_is_looked_up_after_close() -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("api"))
        await start(source, resolver, ["192.0.2.1"])
        await source.close()
        assert len(asyncio.all_tasks()) == 1
        assert hosts(source) == ["192.0.2.1"]

    run(play)


def test_a_change_of_state_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def play() -> None:
        resolver = Resolver()
        source = source_of(resolver, name("api"))
        await start(source, resolver, ["192.0.2.1"])
        for reply in (OSError("x"), OSError("y"), OSError("z"), ["192.0.2.1"], ["192.0.2.1"]):
            await settled(resolver, source, reply)
        await source.close()

    with caplog.at_level(logging.INFO, "fastproxy.discovery"):
        run(play)
    assert [record.message for record in caplog.records] == [
        "a name has new addresses",
        "a name doesn't resolve; its last known addresses are kept",
        "a name resolves again",
    ]
