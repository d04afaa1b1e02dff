"""Driven coroutines: order, re-entrancy, cancellation, and the bridge to asyncio."""

from __future__ import annotations

import asyncio

import pytest

from fastproxy.net.drive import Drive, Waiter, until
from tests.net.kit import Run


def test_a_coroutine_goes_on_inside_the_call_that_completes_its_wait() -> None:
    steps: list[str] = []
    waiter: Waiter[str] = Waiter()

    async def work() -> str:
        steps.append("waits")
        value = await waiter
        steps.append(f"got {value}")
        return value

    run = Run(work())
    steps.append("outside")
    waiter.set("a value")
    assert steps == ["waits", "outside", "got a value"]
    assert run.value() == "a value"


def test_what_is_complete_already_does_not_suspend() -> None:
    waiter: Waiter[int] = Waiter()

    async def work() -> int:
        waiter.set(7)  # inside its own drive, before anybody waits
        return await waiter

    assert Run(work()).value() == 7


def test_two_drives_that_complete_each_other_take_turns() -> None:
    first: Waiter[str] = Waiter()
    second: Waiter[str] = Waiter()

    async def one() -> str:
        second.set("from one")
        return await first

    async def two() -> str:
        value = await second
        first.set("from two")
        return value

    run_two = Run(two())
    run_one = Run(one())
    assert (run_one.value(), run_two.value()) == ("from two", "from one")


def test_only_the_first_completion_counts() -> None:
    waiter: Waiter[int] = Waiter()
    waiter.set(1)
    waiter.set(2)
    waiter.fail(ValueError())

    async def work() -> int:
        return await waiter

    assert Run(work()).value() == 1
    assert waiter.result == 1


def test_a_failure_is_raised_where_it_is_awaited() -> None:
    waiter: Waiter[None] = Waiter()

    async def work() -> str:
        try:
            await waiter
        except ValueError as error:
            return f"caught {error}"
        return "nothing"

    run = Run(work())
    waiter.fail(ValueError("this"))
    assert run.value() == "caught this"


def test_an_exception_ends_the_drive_and_is_reported_once() -> None:
    ends: list[BaseException | None] = []

    async def work() -> None:
        raise ValueError

    drive = Drive(ends.append)
    drive.start(work())
    drive.cancel()
    assert drive.idle
    assert [type(end) for end in ends] == [ValueError]


def test_cancelling_runs_the_cleanup_and_detaches_the_waiter() -> None:
    waiter: Waiter[None] = Waiter()
    cleaned: list[str] = []

    async def work() -> None:
        try:
            await waiter
        finally:
            cleaned.append("up")

    run = Run(work())
    run.drive.cancel()
    assert cleaned == ["up"]
    assert isinstance(run.error, asyncio.CancelledError)
    waiter.set(None)  # too late: must not resume what is over
    assert cleaned == ["up"]


def test_a_coroutine_may_catch_what_is_thrown_and_wait_again() -> None:
    first: Waiter[None] = Waiter()
    second: Waiter[str] = Waiter()

    async def work() -> str:
        try:
            await first
        except TimeoutError:
            return await second
        return "not thrown"

    run = Run(work())
    run.drive.throw(TimeoutError())
    first.set(None)  # nobody waits for it any more
    assert not run.done
    second.set("went on")
    assert run.value() == "went on"


def test_throwing_at_a_running_coroutine_reaches_it_at_its_next_wait() -> None:
    waiter: Waiter[None] = Waiter()
    steps: list[str] = []
    drives: list[Drive] = []

    async def work() -> None:
        drives[0].throw(TimeoutError())
        steps.append("still running")
        try:
            await waiter
        except TimeoutError:
            steps.append("raised")

    drive = Drive(lambda error: steps.append(f"ended with {error}"))
    drives.append(drive)
    drive.start(work())
    assert steps == ["still running", "raised", "ended with None"]


def test_one_drive_runs_one_coroutine_after_the_other() -> None:
    waiters: list[Waiter[str]] = []
    steps: list[str] = []

    async def work() -> None:
        waiter: Waiter[str] = Waiter()
        waiters.append(waiter)
        steps.append(await waiter)

    drive = Drive(lambda error: steps.append(f"ended with {error}"))
    drive.start(work())
    waiters[0].set("first")
    assert drive.idle
    drive.start(work())
    waiters[0].set("again")  # it was set before: nothing happens
    assert not drive.idle
    waiters[1].set("second")
    assert steps == ["first", "ended with None", "second", "ended with None"]


def test_until_brings_results_failures_and_cancellation_across() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()

        def turn() -> asyncio.Future[None]:
            passed: asyncio.Future[None] = loop.create_future()
            loop.call_soon(passed.set_result, None)
            return passed

        good: asyncio.Future[int] = loop.create_future()
        run = Run(until(good))
        good.set_result(5)
        await turn()
        assert run.value() == 5

        bad: asyncio.Future[int] = loop.create_future()
        run = Run(until(bad))
        bad.set_exception(OSError("no"))
        await turn()
        with pytest.raises(OSError, match="no"):
            run.value()

        pending: asyncio.Future[int] = loop.create_future()
        run = Run(until(pending))
        run.drive.cancel()
        assert pending.cancelled()
        assert isinstance(run.error, asyncio.CancelledError)
        await turn()

    asyncio.run(main())


def test_it_says_for_how_long_a_coroutine_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr("fastproxy.net.drive._clock", lambda: now_s)
    first, second = Waiter[None](), Waiter[None]()

    async def work() -> None:
        nonlocal now_s
        now_s += 1  # works
        await first
        now_s += 2
        with pytest.raises(KeyError):
            await second
        now_s += 4

    run = Run(work())
    now_s += 10
    first.set(None)
    now_s += 20
    run.drive.throw(KeyError())
    assert run.drive.idle
    assert run.drive.waited_s == 30
    run.drive.start(_nothing())
    assert run.drive.waited_s == 0


async def _nothing() -> None:
    pass
