"""Lines to a file descriptor, without ever waiting for whoever reads them.

A pipe that nobody empties or a full disk must not stop the proxy: a line that can't be written now is
dropped, and the next one that can says how many were.
Knows nothing of what the lines mean.
"""

from __future__ import annotations

import os
import select

# A pipe that polls as writable takes this much without blocking (POSIX: PIPE_BUF); longer lines go in parts.
_PART_BYTES = select.PIPE_BUF

_DROPPED = b'{"level":"warning","message":"log lines were dropped","dropped":%d}\n'


class LineOutput:
    """Writes lines to a file descriptor that stays open as long as the process.

    Args:
        fd: a file, pipe, terminal or socket; not closed here.
    """

    __slots__ = ("_fd", "_is_cut", "_poll", "_untold", "dropped")

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._is_cut = False
        self._untold = 0
        self.dropped = 0
        """Lines that were not, or not entirely, written so far."""

    def write(self, line: bytes) -> bool:
        """Write one line, its newline included; return whether all of it went out."""
        if self._untold and self._try(_DROPPED % self._untold):
            self._untold = 0
        if self._try(line):
            return True
        self._untold += 1
        self.dropped += 1
        return False

    def _try(self, line: bytes) -> bool:
        if self._is_cut:
            line = b"\n" + line
        written = 0
        try:
            while written < len(line):
                if not self._can_write():
                    return False
                written += os.write(self._fd, line[written : written + _PART_BYTES])
        except OSError:  # disk full, reader gone, or O_NONBLOCK and full
            return False
        finally:
            self._is_cut = (self._is_cut and not written) or 0 < written < len(line)
        return True

    def _can_write(self) -> bool:
        return any(event & select.POLLOUT for _, event in self._poll.poll(0))
