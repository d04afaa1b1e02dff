"""Lines to a file descriptor, without ever waiting for whoever reads them.

All lines of one turn of the event loop leave in one write, at its end: under load a write for each would cost
as much as the request that it tells of. What can't leave now (a pipe that nobody empties) is held, up to a
limit, and tried again soon; lines beyond that are dropped, and where they are missing a line says how many.
An error (a full disk, a reader that is gone) drops what is held. No line is cut but by such an error, and
none passes another.
Knows nothing of what the lines mean.
"""

from __future__ import annotations

import asyncio
import os
import select
import stat
import threading
import time

_HELD_BYTES = 65_536
"""What may be held, apart from one line of any size; as much leaves before the turn is over."""
_RETRY_S = 0.02
"""How long a reader that takes nothing is left alone, in seconds."""
_PATIENCE_S = 0.5
"""How long a reader has to take the last lines of a process, in seconds."""
_DROPPED = b'{"level":"warning","message":"log lines were dropped","dropped":%d}\n'


class Sink:
    """Writes to a file descriptor what it takes at once; others may share it, so its flags stay as they are.

    Linux is asked not to wait by the write itself, which it can do for anonymous pipes and sockets since 6.4.
    Where it can't, a poll comes first, and the parts are small enough that none blocks after it. A terminal
    promises no such size, so it is opened once more, for writes that don't wait. A regular file is always
    written whole: there is no asking it.
    Workers share one pipe. What it takes wholly or not at all is what POSIX promises (PIPE_BUF): whole lines
    go in parts of that size, so that no line of one worker lands within one of another.

    Args:
        fd: a file, pipe, terminal or socket; not closed here.
    """

    __slots__ = ("_asks_first", "_fd", "_poll")

    def __init__(self, fd: int) -> None:
        self._fd = _unwaiting(fd) if os.isatty(fd) else fd
        self._asks_first = not hasattr(os, "RWF_NOWAIT")
        self._poll = None
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            self._poll = select.poll()
            self._poll.register(self._fd, select.POLLOUT)

    def take(self, data: bytes) -> int:
        """Write as much as goes without waiting; return how many bytes.

        Raises:
            OSError: nothing can be written, now or later.
        """
        if self._poll is None:
            return os.write(self._fd, data)
        written, view = 0, memoryview(data)
        try:
            while written < len(data) and (
                taken := self._take_part(view[written : _end_of_part(data, written)])
            ):
                written += taken
        except OSError:
            if not written:
                raise
        return written

    def can_take(self, timeout_s: float = 0.0) -> bool:
        """Say whether anything can be written, waiting this long for it."""
        return self._poll is None or any(
            event & select.POLLOUT for _, event in self._poll.poll(timeout_s * 1000)
        )

    def _take_part(self, part: memoryview) -> int:
        try:
            if not self._asks_first:
                try:
                    return os.pwritev(self._fd, (part,), -1, os.RWF_NOWAIT)
                except BlockingIOError:
                    raise
                except OSError:  # not this kernel, or not this kind of file; what else it may be shows below
                    self._asks_first = True
            return os.write(self._fd, part) if self.can_take() else 0
        except BlockingIOError:  # full; or a terminal, or filled meanwhile by somebody who doesn't wait
            return 0


def _end_of_part(data: bytes, start: int) -> int:
    """Return where the whole lines end that a pipe takes at once, from here on; longer ones go in pieces."""
    end = start + select.PIPE_BUF
    return end if end >= len(data) else data.rfind(b"\n", start, end) + 1 or end


def _unwaiting(terminal: int) -> int:
    """Open a terminal for writes that don't wait; return it as it is where that isn't allowed."""
    try:
        return os.open(os.ttyname(terminal), os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return terminal


class LineOutput:
    """Writes lines to a file descriptor that stays open as long as the process.

    dropped: lines that were not, or not entirely, written so far.

    Args:
        fd: a file, pipe, terminal or socket; not closed here.
    """

    __slots__ = (
        "_fd",
        "_held",
        "_held_bytes",
        "_is_cut",
        "_is_due",
        "_is_stuck",
        "_is_writing",
        "_loop",
        "_missed",
        "_sink",
        "_thread_id",
        "_untold",
        "dropped",
    )

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._sink = Sink(fd)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread_id = 0
        self.dropped = 0
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._is_cut = False  # what was written last is not the end of a line
        # lines dropped before the first and behind the last one that is held
        self._untold = 0
        self._missed = 0
        self._is_due = False  # the end of this turn is waited for
        self._is_stuck = False  # no earlier than the next retry
        self._is_writing = False

    def leads_where(self, fd: int) -> bool:
        """Say whether another file descriptor leads to the same file, pipe, terminal or socket."""
        return os.path.sameopenfile(self._fd, fd)

    def gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, hold lines until the turn of this loop is over. To be called in the loop's thread."""
        self._loop = loop
        self._thread_id = threading.get_ident()

    def settle(self) -> None:
        """Write what is held, and from now on each line at once.

        For the end of a process, when nobody is served any more: a slow reader is waited for, though not
        long.
        """
        self._loop = None
        self._is_stuck = False
        self.flush()
        end_s = time.monotonic() + _PATIENCE_S
        while self._held and (left_s := end_s - time.monotonic()) > 0 and self._sink.can_take(left_s):
            self.flush()

    def write(self, line: bytes) -> None:
        """Write one line at once, its newline included, behind those that are held. From any thread."""
        if self._loop is not None and self._thread_id != threading.get_ident():
            self._loop.call_soon_threadsafe(self.write, line)
            return
        self.hold(line)
        if not self._is_stuck:
            self.flush()

    def hold(self, line: bytes) -> None:
        """Write one line, its newline included, at the end of this turn of the loop. In its thread only."""
        held_bytes = self._held_bytes + len(line)
        if self._missed or (held_bytes > _HELD_BYTES and self._held):
            if not self._make_room():
                self._missed += 1
                self.dropped += 1
                return
            held_bytes = self._held_bytes + len(line)
        self._held.append(line)
        self._held_bytes = held_bytes
        if self._loop is None:
            self.flush()
        elif not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._end_turn)

    def flush(self) -> None:
        """Write what is held, as far as it goes without waiting."""
        if self._is_writing:  # a log call within this one, of a signal's handler or of what was collected
            return
        self._is_writing = True
        try:
            while (self._held or self._untold) and self._put():
                pass
        finally:
            self._is_writing = False
        self._held_bytes = sum(map(len, self._held))
        if self._held and self._loop is not None and not self._is_stuck:
            self._is_stuck = True
            self._loop.call_later(_RETRY_S, self._retry)

    def _make_room(self) -> bool:
        if not self._is_stuck:
            self.flush()
        return not self._held

    def _put(self) -> bool:
        """Write all that is held at this moment; return whether it went out."""
        held, self._held = self._held, []
        lines = b"".join(held)
        data = lines
        if self._untold:  # lines were dropped right before these, perhaps in the midst of one
            data = b"\n" * self._is_cut + _DROPPED % self._untold + lines
        try:
            written = self._sink.take(data)
        except OSError:
            lost = lines.count(b"\n")
            self.dropped += lost
            self._untold += lost + self._missed
            self._missed = 0
            return False
        if written:
            self._is_cut = data[written - 1] != ord("\n")
            self._untold = 0
        if written < len(data):  # what is left waits, be it only to say how many lines are missing
            self._held.insert(0, data[written:] if written else lines)
            return False
        self._untold, self._missed = self._missed, 0
        return True

    def _end_turn(self) -> None:
        self._is_due = False
        if not self._is_stuck:
            self.flush()

    def _retry(self) -> None:
        self._is_stuck = False
        self.flush()
