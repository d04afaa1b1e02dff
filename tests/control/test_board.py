"""What a worker shows is seen by whoever has the board, and by nobody else's slot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fastproxy.control import board
from fastproxy.control.board import SLOTS, Board, Slot

_WORKER = """
import sys
from fastproxy.control.board import Board
slot = Board(int(sys.argv[1])).slot(int(sys.argv[2]))
slot.beat_s, slot.connections, slot.in_flight = 12.25, 3, 2
"""


@pytest.fixture
def fd() -> Iterator[int]:
    made = board.make()
    yield made
    os.close(made)


def shown(slot: Slot) -> tuple[float, int, int]:
    return slot.beat_s, slot.connections, slot.in_flight


def test_another_process_shows_itself_in_its_slot_alone(fd: int) -> None:
    seen = Board(fd)
    command = [sys.executable, "-c", _WORKER, str(fd), str(SLOTS - 1)]
    subprocess.run(command, pass_fds=[fd], check=True)
    assert shown(seen.slot(SLOTS - 1)) == (12.25, 3, 2)
    assert shown(seen.slot(SLOTS - 2)) == shown(seen.slot(0)) == (0, 0, 0)


def test_what_was_shown_outlives_who_showed_it_until_it_is_cleared(fd: int) -> None:
    slot = Board(fd).slot(7)
    slot.beat_s, slot.in_flight = 0.5, 9
    del slot
    again = Board(fd).slot(7)
    assert shown(again) == (0.5, 0, 9)
    again.clear()
    assert shown(again) == (0, 0, 0)


def test_no_program_inherits_it_unasked(fd: int) -> None:
    assert not os.get_inheritable(fd)
