"""Where a proxy's memory goes when a load is over: back to the system.

Under load the allocator may keep what it was given (`ALLOCATOR`): asking the system for the same pages with
each body costs a sixth to a quarter of the CPU a megabyte. Once the load has passed, what is free is given
back, wherever in the heap it lies.
"""

from __future__ import annotations

import gc
from collections.abc import Callable

ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": str(16 << 20), "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}
"""Settings of glibc's allocator, by their names in the environment (mallopt(3)): how much free memory it
keeps at the top of the heap, and from which size on it maps a piece by itself. By default it keeps 128 KiB,
and gives and takes the rest again and again."""

_CALM_EXCHANGES = 8
"""With so few under way nobody waits for the 1 to 3 ms that giving memory back takes."""
_WORTH_BYTES = 2 << 20
"""Less isn't worth it."""


class MemoryKeeper:
    """Gives memory back when a load has passed; asked every so often.

    Args:
        in_flight: how many exchanges there are now.
        resident_bytes: how much memory is resident now; None where nobody knows.
        give_back: returns to the system what is free.
    """

    __slots__ = ("_at_rest_bytes", "_give_back", "_in_flight", "_resident_bytes")

    def __init__(
        self,
        in_flight: Callable[[], int],
        resident_bytes: Callable[[], int | None],
        give_back: Callable[[], None],
    ) -> None:
        self._in_flight = in_flight
        self._resident_bytes = resident_bytes
        self._give_back = give_back
        self._at_rest_bytes = resident_bytes() or 0

    def look(self) -> None:
        """Give back what a load has left, if it is over."""
        resident_bytes = self._resident_bytes() or 0
        if self._in_flight() < _CALM_EXCHANGES and resident_bytes >= self._at_rest_bytes + _WORTH_BYTES:
            self._give_back()
            self._at_rest_bytes = self._resident_bytes() or 0


def give_back() -> None:
    """Collect what is garbage, and return to the system the free pages of the whole heap (malloc_trim(3)).

    Where the C library has no such function, collecting has to do.
    """
    import ctypes  # noqa: PLC0415 - 0.3 MiB that a proxy needs only after a load

    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
