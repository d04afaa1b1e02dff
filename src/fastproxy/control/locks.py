"""Locks between processes: byte ranges of a file (fcntl(2)), which the kernel frees when a process ends.

A lock and its release are two system calls, 1.2 µs together. A process that is alone has them all for good,
at no cost: it holds the whole range. Who comes after it has to wait until it was told of them.
Locks are a process's, not a thread's, and go when it closes any descriptor of the file: only the thread of
the event loop uses them, and the file stays open. A mutex in the memory itself (pthread's robust one, by way
of ctypes) took 0.8 µs, and would have tied the layout of that memory to a C library.
"""

from __future__ import annotations

from fcntl import LOCK_EX, LOCK_UN, lockf


class FileLocks:
    """The locks of one file, by number; see `bounds.Locks`.

    Args:
        fd: of the file; not closed here.
    """

    __slots__ = ("_fd", "_has_all")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._has_all = False

    def acquire(self, number: int) -> None:
        """Wait for a lock, and have it; the same one is never had twice at a time."""
        if not self._has_all:
            lockf(self._fd, LOCK_EX, 1, number)

    def release(self, number: int) -> None:
        """Have a lock no more."""
        if not self._has_all:
            lockf(self._fd, LOCK_UN, 1, number)

    def have_all(self) -> None:
        """Have all of them until `share`; waits until nobody else has any."""
        if not self._has_all:
            lockf(self._fd, LOCK_EX)
            self._has_all = True

    def share(self) -> None:
        """Have none: others are there."""
        if self._has_all:
            self._has_all = False
            lockf(self._fd, LOCK_UN)
