"""The wheel: never early, two ticks late at most, whatever is moved, and quiet when nothing is left to do."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.net.timers import TICK_S, Timer, Wheel
from tests.net.kit import Clock

LATEST = 2 * TICK_S + 1e-9
"""A tick to the end of the bucket and one to the wheel's next turn; the clock itself is exact here."""


class Bell:
    """A timer that notes when it rang."""

    def __init__(self, wheel: Wheel, clock: Clock) -> None:
        self.rang: list[float] = []
        self.timer = Timer(wheel, lambda: self.rang.append(clock.time()))


def bells(number: int) -> tuple[Clock, Wheel, list[Bell]]:
    clock = Clock()
    wheel = Wheel(clock.loop)
    return clock, wheel, [Bell(wheel, clock) for _ in range(number)]


def assert_on_time(rang: list[float], deadline: float) -> None:
    assert len(rang) == 1
    assert deadline <= rang[0] <= deadline + LATEST


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0, 3), min_size=1, max_size=30), st.floats(0, 0.05))
def test_every_timer_fires_once_and_on_time(delays: list[float], offset: float) -> None:
    clock, _, ringing = bells(len(delays))
    clock.now += offset
    deadlines = [clock.now + delay for delay in delays]
    for bell, deadline in zip(ringing, deadlines, strict=True):
        bell.timer.set(deadline)
    clock.advance(4)
    for bell, deadline in zip(ringing, deadlines, strict=True):
        assert_on_time(bell.rang, deadline)
    assert clock.idle


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 0.2), st.one_of(st.none(), st.floats(0.001, 0.5))), max_size=25))
def test_a_timer_that_is_moved_fires_for_its_last_setting_alone(
    moves: list[tuple[float, float | None]],
) -> None:
    clock, _, (bell,) = bells(1)
    deadline: float | None = None
    for wait_s, delay_s in moves:
        before = len(bell.rang)
        clock.advance(wait_s)
        if deadline is not None and deadline + LATEST <= clock.now:
            assert len(bell.rang) == before + 1
        if len(bell.rang) > before:
            assert deadline is not None
            assert_on_time(bell.rang[before:], deadline)
            deadline = None
        if delay_s is None:
            bell.timer.unset()
            deadline = None
        else:
            deadline = clock.now + delay_s
            bell.timer.set(deadline)
    before = len(bell.rang)
    clock.advance(2)
    if deadline is None:
        assert len(bell.rang) == before
    else:
        assert_on_time(bell.rang[before:], deadline)


def test_moving_later_and_earlier() -> None:
    clock, _, (later, earlier) = bells(2)
    start = clock.now
    later.timer.set(start + 0.1)
    later.timer.set(start + 0.5)
    earlier.timer.set(start + 0.5)
    earlier.timer.set(start + 0.1)
    clock.advance(1)
    assert_on_time(later.rang, start + 0.5)
    assert_on_time(earlier.rang, start + 0.1)


def test_a_closed_timer_is_off_the_wheel() -> None:
    clock, wheel, (bell,) = bells(1)
    bell.timer.set(clock.now + 0.1)
    bell.timer.close()
    assert not wheel._buckets
    clock.advance(1)
    assert bell.rang == []


def test_a_closed_wheel_calls_nobody() -> None:
    clock, wheel, (bell,) = bells(1)
    bell.timer.set(clock.now + 0.1)
    wheel.close()
    assert clock.idle
    clock.advance(1)
    assert bell.rang == []


def test_a_timer_may_set_itself_again_when_it_fires() -> None:
    clock = Clock()
    wheel = Wheel(clock.loop)
    rang: list[float] = []

    def again() -> None:
        rang.append(clock.time())
        if len(rang) < 3:
            timer.set(clock.time() + 0.1)

    timer = Timer(wheel, again)
    timer.set(clock.now + 0.1)
    clock.advance(1)
    assert len(rang) == 3
    assert all(0.1 <= after - before <= 0.1 + LATEST for before, after in pairwise(rang))


def test_a_timer_may_close_others_that_are_due_with_it() -> None:
    clock = Clock()
    wheel = Wheel(clock.loop)
    fired: list[str] = []

    def fire(name: str, other: str) -> None:
        fired.append(name)
        timers[other].close()

    timers = {
        "one": Timer(wheel, lambda: fire("one", "two")),
        "two": Timer(wheel, lambda: fire("two", "one")),
    }
    for timer in timers.values():
        timer.set(clock.now + 0.1)
    clock.advance(1)
    assert len(fired) == 1


def test_a_loop_that_stood_still_loses_nothing() -> None:
    clock, _, ringing = bells(3)
    for number, bell in enumerate(ringing):
        bell.timer.set(clock.now + 0.1 * (number + 1))
    clock.now += 3600  # no callback ran meanwhile
    clock.advance(TICK_S)
    assert [len(bell.rang) for bell in ringing] == [1, 1, 1]


def test_many_timers_that_never_fire_leave_nothing_behind() -> None:
    clock, wheel, ringing = bells(2000)
    chance = random.Random(1)
    for _ in range(5):
        for bell in ringing:
            bell.timer.set(clock.now + chance.uniform(0.5, 2))
        clock.advance(0.3)
    for bell in ringing:
        bell.timer.close()
    assert not wheel._buckets
    clock.advance(5)
    assert clock.idle
    assert not any(bell.rang for bell in ringing)
