"""A config snapshot on its way from the supervisor, which loads it, to the workers, which run it.

It lies in anonymous memory (memfd_create(2)) that only processes reach which inherit its descriptor: no file,
no socket that anybody else could connect to. A worker that replaces another gets the very same config,
whatever has become of the file. Secrets can be pickled here and nowhere else.
"""

from __future__ import annotations

import io
import os
import pickle
from types import MappingProxyType
from typing import Any

from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import Snapshot


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Secret):
            return Secret, (value.reveal(),)
        if isinstance(value, MappingProxyType):
            return _unchanging, (dict(value),)
        return NotImplemented


def _unchanging(values: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    return MappingProxyType(values)


def pack(snapshot: Snapshot) -> bytes:
    """Return a snapshot as bytes, for a worker alone: they hold its secrets."""
    content = io.BytesIO()
    _Pickler(content, pickle.HIGHEST_PROTOCOL).dump(snapshot)
    return content.getvalue()


def unpack(content: bytes) -> Snapshot:
    """Return the snapshot that the supervisor has packed."""
    snapshot: Snapshot = pickle.loads(content)  # noqa: S301 - of this proxy's own supervisor
    return snapshot


def put(content: bytes) -> int:
    """Write bytes into memory of their own; return its descriptor, which no program inherits unasked."""
    fd = os.memfd_create("fastproxy-config", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(content)
    return fd


def get(fd: int) -> bytes:
    """Read what the supervisor has put there."""
    return os.pread(fd, os.fstat(fd).st_size, 0)
