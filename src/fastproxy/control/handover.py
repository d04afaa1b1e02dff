"""A config snapshot on its way from the process that reads it, by the supervisor, to the workers that run it.

It lies in anonymous memory (memfd_create(2)) that only processes reach which inherit its descriptor: no file,
no socket that anybody else could connect to. A worker that replaces another gets the very same config,
whatever has become of the file. Secrets can be pickled here and nowhere else.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
from types import MappingProxyType
from typing import Any

from fastproxy.config.problem import Problem
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Secret):
            return Secret, (value.reveal(),)
        if isinstance(value, MappingProxyType):
            return _unchanging, (dict(value),)
        return NotImplemented


def _unchanging(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


def make() -> int:
    """Return a descriptor of such memory, empty, which no program inherits unasked."""
    return os.memfd_create("fastproxy-config", os.MFD_CLOEXEC)


def write(fd: int, content: Snapshot | tuple[Problem, ...]) -> None:
    """Write a snapshot, or why there is none, into empty memory."""
    pickled = io.BytesIO()
    _Pickler(pickled, pickle.HIGHEST_PROTOCOL).dump(content)
    with open(fd, "wb", closefd=False) as file:
        file.write(pickled.getbuffer())


def read(fd: int) -> Snapshot | tuple[Problem, ...] | None:
    """Read what was written; None when nothing was."""
    size = os.fstat(fd).st_size
    if not size:
        return None
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as pickled:
        found: Snapshot | tuple[Problem, ...] = pickle.loads(pickled)  # noqa: S301 - of this proxy itself
    return found


def put(snapshot: Snapshot) -> int:
    """Return a descriptor of memory with a snapshot in it."""
    fd = make()
    try:
        write(fd, snapshot)
    except BaseException:
        os.close(fd)
        raise
    return fd


def keep(content: bytes) -> int:
    """Return a descriptor of memory with what another process has written."""
    fd = make()
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    return fd


def content(fd: int) -> bytes:
    """Return the bytes of what was written, for a worker of this proxy alone: they hold its secrets."""
    return os.pread(fd, os.fstat(fd).st_size, 0)


def unpack(content: bytes) -> Snapshot:
    """Return the snapshot that these bytes are."""
    snapshot = pickle.loads(content)  # noqa: S301 - of this proxy itself
    assert isinstance(snapshot, OutSnapshot | InSnapshot)
    return snapshot
