"""Links made with a key that is to be used no more are replaced, from either end, and no call is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from fastproxy.net.link.caller import CallerLink
from fastproxy.net.link.pool import LinkPool
from fastproxy.net.link.receiver import ReceiverLink
from fastproxy.wire.identity import PrivateKey
from tests.net.link.ends import Answer, open_call
from tests.net.link.test_link_pool import acquire, forever, run, scene
from tests.wire.link.parties import CALLER_KEY, RECEIVER_KEY


def is_no_longer(link: CallerLink | ReceiverLink) -> bool:
    """No link may stay."""
    return False


async def until_it_holds(condition: Callable[[], bool]) -> None:
    """Wait for what is on its way."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


def test_each_end_knows_the_key_by_which_it_has_proven_itself() -> None:
    async def test() -> None:
        async with scene() as (stage, server):
            link = await acquire(stage.pool)
            (other,) = server.links
            assert (link.own_key, link.identity) == (CALLER_KEY.public_key, RECEIVER_KEY.public_key)
            assert (other.own_key, other.identity) == (RECEIVER_KEY.public_key, CALLER_KEY.public_key)

    run(test)


def test_a_caller_makes_another_link_before_it_leaves_the_one_of_its_former_key() -> None:
    async def test() -> None:
        async with scene() as (stage, server):
            first = await acquire(stage.pool)
            server.handler.answer = forever  # type: ignore[attr-defined]
            open_call(first, answer := Answer())
            stage.pool.replace(lambda link: link is first)
            assert stage.pool._opening is None, "it may stay"
            stage.pool.replace(lambda link: link is not first)
            assert stage.pool.current is first, "until the next one is there"
            stage.pool.replace(lambda link: link is not first)
            assert stage.pool._opening is not None
            await stage.pool._opening
            assert stage.made == 2
            second = stage.pool.current
            assert second is not None
            assert second is not first
            assert second.ready
            assert first.draining
            assert not first.closed
            assert not answer.told
            stage.pool.replace(lambda link: link is not first)
            assert stage.pool.current is second
            first.abandon(1)
            assert first.closed

    run(test)


def test_a_new_key_that_is_not_accepted_leaves_the_link_and_is_tried_again_after_a_pause() -> None:
    async def test() -> None:
        async with scene() as (stage, server):
            first = await acquire(stage.pool)
            accepted = server.door._responder._caller_psk  # type: ignore[attr-defined]
            server.door._responder._caller_psk = {}.get  # type: ignore[attr-defined]
            stage.pool.replace(is_no_longer)
            assert stage.pool._opening is not None
            await stage.pool._opening
            assert stage.pool.current is first
            assert await acquire(stage.pool) is first
            stage.pool._retry_s = stage.parts.loop.time() + 1000
            stage.pool.replace(is_no_longer)
            assert stage.pool._opening is None, "within the pause"
            stage.pool._retry_s = 0.0
            server.door._responder._caller_psk = accepted
            stage.pool.replace(is_no_longer)
            assert stage.pool._opening is not None
            await stage.pool._opening
            assert stage.pool.current is not first

    run(test)


def test_a_receiver_asks_for_other_links_and_takes_what_comes_on_these_until_then() -> None:
    async def test() -> None:
        async with scene() as (stage, server):
            first = await acquire(stage.pool)
            await until_it_holds(lambda: any(link.born_s for link in server.links))
            assert server.replace(lambda link: True) == 0
            assert server.replace(is_no_longer) == 1
            assert first.ready, "it hasn't heard of it"
            open_call(first, answer := Answer())
            await until_it_holds(lambda: first.draining and answer.told)
            assert answer.response is not None
            assert await acquire(stage.pool) is not first

    run(test)


def test_a_receiver_shakes_hands_by_the_keys_that_it_has_now() -> None:
    async def test() -> None:
        async with scene() as (stage, server):
            responder: Any = server.door._responder  # type: ignore[attr-defined]
            responder.replace_keys([PrivateKey(b"n" * 32)])
            stage.pool.replace(is_no_longer)
            future = acquire(stage.pool)
            await asyncio.wait((future,))
            assert future.exception() is not None
            responder.replace_keys([PrivateKey(b"n" * 32), RECEIVER_KEY])
            stage.pool._failures = 0
            assert (await acquire(stage.pool)).ready

    run(test)


def test_links_are_told_of_when_they_are_there_and_when_they_are_gone() -> None:
    async def test() -> None:
        async with scene() as (stage, server):
            noted: list[tuple[str, bytes, bool]] = []
            way = replace(stage.way, note_use=lambda link, there: noted.append(("out", link.own_key, there)))
            stage.pool = LinkPool(stage.endpoint, way, stage.parts)
            server._note_use = lambda link, there: noted.append(("in", link.own_key, there))
            link = await acquire(stage.pool)
            await until_it_holds(lambda: len(noted) == 2)
            link.abort()
            await until_it_holds(lambda: len(noted) == 4)
            out, inside = ("out", CALLER_KEY.public_key), ("in", RECEIVER_KEY.public_key)
            assert noted == [(*out, True), (*inside, True), (*out, False), (*inside, False)]
            server.door._responder._caller_psk = {}.get  # type: ignore[attr-defined]
            future = acquire(stage.pool)
            await asyncio.wait((future,))
            assert future.exception() is not None
            assert len(noted) == 4, "who isn't proven uses no key"

    run(test)
