"""Memory that a load has left is given back once the load is over, and not before."""

from __future__ import annotations

import ctypes
import sys

from fastproxy.app.memory import MemoryKeeper, give_back
from fastproxy.telemetry.process import resident_bytes

MIB = 1 << 20


class House:
    """A proxy as the keeper sees it. at_rest_mib: what giving back can't go below."""

    def __init__(self) -> None:
        self.in_flight = 0
        self.resident_mib: int | None = 40
        self.at_rest_mib = 40
        self.given_back = 0
        self.keeper = MemoryKeeper(lambda: self.in_flight, self._resident_bytes, self._give_back)

    def _resident_bytes(self) -> int | None:
        return None if self.resident_mib is None else self.resident_mib * MIB

    def _give_back(self) -> None:
        self.given_back += 1
        self.resident_mib = self.at_rest_mib

    def look(self) -> int:
        """Let the keeper look; return how often it has given something back."""
        self.keeper.look()
        return self.given_back


def test_what_a_load_left_is_given_back_once() -> None:
    house = House()
    house.resident_mib = 60
    assert [house.look(), house.look()] == [1, 1]
    house.resident_mib = 50
    assert house.look() == 2


def test_nothing_is_given_back_while_there_is_a_load() -> None:
    house = House()
    house.resident_mib, house.in_flight = 60, 100
    assert house.look() == 0
    house.in_flight = 0
    assert house.look() == 1


def test_little_is_kept() -> None:
    house = House()
    house.resident_mib = 41
    assert house.look() == 0


def test_what_stays_in_use_is_not_asked_for_again() -> None:
    house = House()
    house.resident_mib = house.at_rest_mib = 60
    assert [house.look(), house.look()] == [1, 1]


def test_where_nobody_knows_the_memory_nothing_happens() -> None:
    house = House()
    house.resident_mib = None
    assert house.look() == 0


def test_free_memory_inside_the_heap_goes_back_to_the_system() -> None:
    assert sys.platform == "linux"
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    pieces = [libc.malloc(60_000) for _ in range(1000)]  # too small to be mapped one by one
    for piece in pieces:
        ctypes.memset(piece, 1, 60_000)
    full = resident_bytes()
    for piece in pieces[:-1]:  # the last keeps the heap's end where it is
        libc.free(piece)
    give_back()
    now = resident_bytes()
    libc.free(pieces[-1])
    assert full is not None
    assert now is not None
    assert full - now > 40 * MIB
