"""Places on the board: each one's own, the lowest first, given back when it is free."""

from __future__ import annotations

import pytest

from fastproxy.control.board import SLOTS
from fastproxy.supervisor.slots import Slots


def test_each_place_is_taken_once() -> None:
    slots = Slots()
    assert [slots.take() for _ in range(SLOTS)] == list(range(SLOTS))
    with pytest.raises(OSError, match="workers already"):  # as of any other thing that is used up
        slots.take()


def test_the_lowest_free_place_is_taken_first() -> None:
    slots = Slots()
    for _ in range(5):
        slots.take()
    for number in (3, 1):
        slots.give_back(number)
    assert [slots.take() for _ in range(3)] == [1, 3, 5]
