"""Which processes are the workers of a running proxy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_PROGRAM = b"fastproxy.app.worker"


def workers_of(supervisor: int) -> list[int]:
    """Return the processes of its workers that live, the oldest first; none when it is gone."""
    return [child for child in _children(supervisor) if _PROGRAM in _command(child)]


def _children(parent: int) -> Iterator[int]:
    for thread in Path(f"/proc/{parent}/task").glob("*"):
        with suppress(FileNotFoundError):  # the thread has ended
            yield from map(int, (thread / "children").read_text().split())


def _command(process: int) -> list[bytes]:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ProcessLookupError):  # it has ended
        return []
