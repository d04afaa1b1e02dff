"""The replay window against a naive model: every counter ever taken, and the highest of them.

Both the one that a process has for itself and the one that several share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import cycle, repeat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastproxy.wire.envelope import MAX_COUNTER
from fastproxy.wire.replay import ReplayWindow
from fastproxy.wire.shared_windows import SharedWindow
from tests.wire.parties import make_windows

STEPS = st.lists(
    st.one_of(
        st.integers(-260, 260),  # near the highest one: the window's edges
        st.integers(0, 2000).map(lambda jump: jump + 260),
        st.sampled_from([0, 63, 64, 65, 127, 128, 129, 1 << 30]),
    ),
    max_size=150,
)


Windows = Callable[[int], Iterator[ReplayWindow | SharedWindow]]


def own(width: int) -> Iterator[ReplayWindow]:
    """One process's window."""
    return repeat(ReplayWindow(width))


def shared(width: int) -> Iterator[SharedWindow]:
    """A window as three processes see it in turn."""
    windows = make_windows(3, width)
    windows.enter(b"another", b"o" * 8, 3, 2, (1, 0))
    return cycle([windows.enter(b"session", b"o" * 8, 3, 2, (1, 0)) for _ in range(3)])


@given(st.sampled_from([own, shared]), STEPS, st.sampled_from([64, 128, 192]))
@settings(max_examples=200, deadline=None)
def test_it_takes_what_the_model_takes(make: Windows, steps: list[int], width: int) -> None:
    windows = make(width)
    seen: set[int] = set()
    highest = -1
    for step in steps:
        counter = min(max(highest + step, 0), MAX_COUNTER)
        is_new = counter > highest - width and counter not in seen
        assert next(windows).check(counter) == is_new
        assert next(windows).mark(counter) == is_new
        if is_new:
            seen.add(counter)
            highest = max(highest, counter)
    for counter in range(max(0, highest - width - 70), highest + 70):
        assert next(windows).check(counter) == (counter > highest - width and counter not in seen)


def test_the_last_counter_of_all_is_taken_once() -> None:
    window = ReplayWindow()
    assert window.mark(MAX_COUNTER)
    assert not window.mark(MAX_COUNTER)
    assert window.mark(MAX_COUNTER - 4095)
    assert not window.check(MAX_COUNTER - 4096)


@pytest.mark.parametrize("width", [0, -64, 63, 100])
def test_a_width_is_a_positive_multiple_of_64(width: int) -> None:
    with pytest.raises(ValueError, match="multiple of 64"):
        ReplayWindow(width)
