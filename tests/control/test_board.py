"""What a worker shows is seen by whoever has the board, and by nobody else's slot."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fastproxy.control import board
from fastproxy.control.board import FRESH_S, PLACES, SLOTS, Board, Slot

NOW_S = 1000.0

_WORKER = """
import sys
from fastproxy.control.board import Board
slot = Board(int(sys.argv[1])).slot(int(sys.argv[2]))
slot.beat_s, slot.connections_word[0], slot.in_flight = 12.25, 3, 2
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


@pytest.fixture
def boards() -> Iterator[tuple[Board, Board]]:
    """One board, as two processes see it."""
    fd = board.make()
    yield Board(fd), Board(fd)
    os.close(fd)


def show(shared: Board, number: int, connections: int, links: int, beat_s: float = NOW_S) -> None:
    """Have a worker show this."""
    slot = shared.slot(number)
    slot.beat_s = beat_s
    slot.connections_word[0] = connections
    slot.links_word[0] = links


def test_what_one_writes_the_other_reads(boards: tuple[Board, Board]) -> None:
    show(boards[0], 3, 7, 2)
    slot = boards[1].slot(3)
    assert (slot.beat_s, slot.connections, slot.links) == (NOW_S, 7, 2)
    assert (boards[1].slot(2).connections, boards[1].slot(4).connections) == (0, 0)
    boards[1].slot(3).clear()
    assert (boards[0].slot(3).beat_s, boards[0].slot(3).connections, boards[0].slot(3).links) == (0, 0, 0)


def test_takers_are_those_who_say_so_and_beat(boards: tuple[Board, Board]) -> None:
    own, other = boards
    for place, number in ((0, 5), (1, 6), (2, 7), (PLACES - 1, 8)):
        show(own, number, 10 + number, number)
        own.take_over(place, number)
    show(own, 6, 1, 1, beat_s=NOW_S - FRESH_S - 0.1)
    own.leave(2, 7)
    assert list(other.takers(3, NOW_S)) == [(0, 5, 15, 5)]
    assert list(other.takers(PLACES, NOW_S)) == [(0, 5, 15, 5), (PLACES - 1, 8, 18, 8)]


def test_a_place_is_the_latest_ones_until_that_one_is_gone(boards: tuple[Board, Board]) -> None:
    own, _ = boards
    for number in (1, 2):
        show(own, number, number, 0)
        own.take_over(0, number)
    own.claim(0, 1, NOW_S)
    own.leave(0, 1)
    assert [number for _, number, _, _ in own.takers(1, NOW_S)] == [2]
    own.slot(2).clear()  # as of a worker that has ended
    own.claim(0, 1, NOW_S)
    assert [number for _, number, _, _ in own.takers(1, NOW_S)] == [1]
    own.leave(0, 1)
    assert list(own.takers(1, NOW_S)) == []
