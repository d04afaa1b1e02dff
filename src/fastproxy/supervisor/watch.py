"""Whether a file has changed, and whoever writes it is through with it.

By its identity, length and times, so that a look costs one system call. Links are followed: a mounted folder
of configs changes by having one lead elsewhere.
"""

from __future__ import annotations

import os
from pathlib import Path

_Look = tuple[int, int, int, int] | None


class FileWatch:
    """Looks at a file again and again.

    Args:
        file: where it is, or will be again.
    """

    __slots__ = ("_file", "_last", "_taken")

    def __init__(self, file: Path) -> None:
        self._file = file
        self._taken = self._last = self._look()

    def has_changed(self) -> bool:
        """Say, once, that the file is another than it was, and the same as at the look before.

        One that is not there hasn't changed: it is about to be replaced.
        """
        before, self._last = self._last, self._look()
        if self._last is None or self._last != before or self._last == self._taken:
            return False
        self._taken = self._last
        return True

    def _look(self) -> _Look:
        try:
            status = os.stat(self._file)
        except OSError:
            return None
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
