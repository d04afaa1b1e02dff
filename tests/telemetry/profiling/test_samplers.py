"""CPU, wall clock and stalls: known functions are found, with the time that they took.

Everything here is compared with what the same process measured of itself: a busy machine changes both alike.
The tests' own time limit takes another way, since the clock that it uses by default is the profilers'.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType

import pytest
import uvloop

from fastproxy.net.drive import Drive, Waiter
from fastproxy.telemetry.profiling.cpu import CpuProfiler
from fastproxy.telemetry.profiling.profile import Profile, ValueType
from fastproxy.telemetry.profiling.stalls import STALL_S, StallProfiler
from fastproxy.telemetry.profiling.ticks import Ticks
from fastproxy.telemetry.profiling.wall import AT_A_TIME, WallProfiler
from tests.telemetry.profiling.seen import total, values_of

pytestmark = pytest.mark.timeout(60, method="thread")

NS = 10**9


def run(main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())  # type: ignore[arg-type]


def wall_ticks() -> Ticks:
    return Ticks(signal.ITIMER_REAL, signal.SIGALRM, time.monotonic)


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    threads = set(threading.enumerate())
    yield
    assert signal.getitimer(signal.ITIMER_REAL) == signal.getitimer(signal.ITIMER_PROF) == (0, 0)
    assert set(threading.enumerate()) <= threads


def burn(cpu_s: float) -> float:
    """Spend CPU time; return the longest part of it in which nothing happened, for a machine stood still."""
    now_s = time.thread_time()
    end_s, longest_s = now_s + cpu_s, 0.0
    while now_s < end_s:
        sum(range(500))
        before_s, now_s = now_s, time.thread_time()
        longest_s = max(longest_s, now_s - before_s)
    return longest_s


def burn_in_c() -> None:
    """Spend time in one call of C code that gives no signal's handler a chance."""
    pow(3, 1_500_000)


# --- CPU --------------------------------------------------------------------------------------------------


def test_cpu_time_is_that_of_the_process_and_stands_at_the_busy_function() -> None:
    async def main() -> None:
        profiler = CpuProfiler()
        for _ in range(5):
            before_ns = time.process_time_ns()
            profiler.start()
            longest_s = burn(0.6)
            profile = profiler.stop()
            spent_ns = time.process_time_ns() - before_ns
            if longest_s < 0.05:
                break  # what a virtual machine stands still may count as CPU time, and no tick falls into it
        seen_ns = total(profile)[1]
        assert 0.7 * spent_ns < seen_ns <= spent_ns
        assert values_of(profile, "test_samplers.burn")[1] > 0.8 * seen_ns
        assert values_of(profile, "main")[1] > 0.8 * seen_ns  # callers have it as well
        assert profile.types == [ValueType("samples", "count"), ValueType("cpu", "nanoseconds")]
        (frame,) = {(f.file, f.first_line) for f in profile.frames if f.function.endswith(".burn")}
        assert frame == (__file__, burn.__code__.co_firstlineno)

    run(main)


def test_cpu_time_in_c_code_stands_at_the_function_that_calls_it() -> None:
    profiler = CpuProfiler()
    profiler.start()
    end_s = time.process_time() + 0.5
    while time.process_time() < end_s:
        burn_in_c()
    profile = profiler.stop()
    assert values_of(profile, "burn_in_c")[1] > 0.8 * total(profile)[1]


def test_cpu_time_of_other_threads_is_told_apart() -> None:
    profiler = CpuProfiler()
    profiler.start()
    other = threading.Thread(target=burn, args=(0.5,))
    other.start()
    other.join()
    profile = profiler.stop()
    assert values_of(profile, "(other threads)")[1] > 0.6 * total(profile)[1]


# --- wall clock -------------------------------------------------------------------------------------------


async def wait_for_nothing() -> None:
    await asyncio.get_running_loop().create_future()


async def wait_driven(waiter: Waiter[None]) -> None:
    await waiter


def test_the_wall_clock_shows_what_waits_and_what_runs() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(wait_for_nothing())
        waiter: Waiter[None] = Waiter()
        coroutine = wait_driven(waiter)
        Drive(lambda error: None).start(coroutine)
        profiler = WallProfiler(wall_ticks(), loop, lambda: [("exchange, wait", coroutine)])
        profiler.start()
        await asyncio.sleep(0.3)
        burn(0.3)
        profile = profiler.stop()
        waiter.set(None)
        task.cancel()
        in_main_ns = values_of(profile, "(thread MainThread)")[1]
        assert 0.5 * NS < in_main_ns <= profile.duration_ns
        assert values_of(profile, "test_samplers.burn")[1] > 0.2 * NS
        for waits in ("wait_for_nothing", "wait_driven"):
            assert values_of(profile, waits)[1] == pytest.approx(in_main_ns, rel=0.01)
        assert values_of(profile, "(exchange, wait)") == values_of(profile, "wait_driven")

    run(main)


def test_of_much_that_waits_some_stand_for_all() -> None:
    count = 5 * AT_A_TIME

    async def main() -> None:
        waiting: list[tuple[str, None]] = [("exchange, wait", None)] * count
        profiler = WallProfiler(wall_ticks(), asyncio.get_running_loop(), lambda: waiting)
        profiler.start()
        await asyncio.sleep(0.2)
        profile = profiler.stop()
        in_main_ns = values_of(profile, "(thread MainThread)")[1]
        assert in_main_ns > 0
        assert values_of(profile, "(exchange, wait)")[1] == pytest.approx(count * in_main_ns, rel=0.1)

    run(main)


# --- stalls -----------------------------------------------------------------------------------------------


def stand_still(seconds: float) -> None:
    time.sleep(seconds)


async def stalls_of(cause: Callable[[], None]) -> tuple[Profile, float]:
    """Take a profile in which the loop is held up once; return it, and for how long, in nanoseconds."""
    profiler = StallProfiler(wall_ticks(), asyncio.get_running_loop())
    profiler.start()
    await asyncio.sleep(0.05)
    before_ns = time.monotonic_ns()
    cause()
    lasted_ns = time.monotonic_ns() - before_ns
    await asyncio.sleep(0.05)
    return profiler.stop(), lasted_ns


def test_a_stall_is_as_long_as_it_was_and_stands_at_its_cause() -> None:
    async def main() -> None:
        profile, _ = await stalls_of(lambda: stand_still(0.3))
        contentions, delay_ns = values_of(profile, "stand_still")
        assert contentions >= 1
        assert 0.25 * NS < delay_ns <= profile.duration_ns
        assert profile.types == [ValueType("contentions", "count"), ValueType("delay", "nanoseconds")]

    run(main)


def test_a_stall_in_c_code_stands_at_the_function_that_called_it() -> None:
    def cause() -> None:
        end_s = time.monotonic() + 0.2
        while time.monotonic() < end_s:
            burn_in_c()

    async def main() -> None:
        profile, lasted_ns = await stalls_of(cause)
        assert values_of(profile, "cause")[1] > 0.8 * lasted_ns

    run(main)


def test_turns_that_are_short_are_no_stalls() -> None:
    """Each turn is far below the limit; what a busy machine adds is told by the same clock, and excused."""

    async def main() -> None:
        profiler = StallProfiler(wall_ticks(), asyncio.get_running_loop())
        profiler.start()
        longest_s = 0.0
        for _ in range(100):
            before_s = time.monotonic()
            brief()
            await asyncio.sleep(0)
            longest_s = max(longest_s, time.monotonic() - before_s)
        profile = profiler.stop()
        assert longest_s > STALL_S / 2 or values_of(profile, "brief") == [0, 0]

    run(main)


def brief() -> None:
    end_s = time.monotonic() + 0.002
    while time.monotonic() < end_s:
        pass


# --- what holds for all of them ---------------------------------------------------------------------------


def test_signals_of_the_loop_go_on_working_and_a_next_profile_starts_empty() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, told.set)
        ticks = wall_ticks()
        profilers = CpuProfiler(), WallProfiler(ticks, loop, list), StallProfiler(ticks, loop)
        for profiler in profilers:
            profiler.start()
        signal.raise_signal(signal.SIGUSR1)
        await asyncio.wait_for(told.wait(), 30)
        burn(0.1)
        for profiler in profilers:
            profiler.stop()
        for profiler in profilers:
            profiler.start()
            assert profiler.stop().samples == []

    run(main)


def test_what_goes_wrong_in_a_tick_ends_the_profile_and_not_what_it_interrupts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = []

    def on_tick(frame: FrameType | None, due_s: float, now_s: float) -> None:
        calls.append(now_s)
        raise RuntimeError("a mistake")

    ticks = wall_ticks()
    ticks.start(0.001, on_tick)
    while not calls:
        burn(0.01)
    burn(0.02)
    assert len(calls) == 1
    assert "a profile ends early" in caplog.text
    ticks.stop(on_tick)


def test_ticks_that_cost_much_come_rarely() -> None:
    calls = []

    def on_tick(frame: FrameType | None, due_s: float, now_s: float) -> None:
        calls.append(now_s)
        burn(0.005)

    ticks = Ticks(signal.ITIMER_PROF, signal.SIGPROF, time.process_time)
    ticks.start(0.001, on_tick)
    burn(0.4)
    ticks.stop(on_tick)
    assert len(calls) == 1  # a hundred times its cost has to pass before the next


def test_profiles_need_the_main_thread() -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            CpuProfiler().start()
        except ValueError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert len(caught) == 1


def test_no_signal_is_ever_deadly() -> None:
    """The last one may come when nobody waits for it any more; by default it would end the process."""
    profiler = CpuProfiler()
    profiler.start()
    profiler.stop()
    signal.raise_signal(signal.SIGPROF)
    assert sys.is_finalizing() is False
