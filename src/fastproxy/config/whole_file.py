"""Files that change as a whole: whoever reads one has all of it as it was, or all of it as it is now."""

from __future__ import annotations

import os
from pathlib import Path


def write_whole(file: Path, content: bytes, *, mode: int, owner: os.stat_result) -> None:
    """Put a file there, or in the place of the one that is there, and see that it outlasts a crash.

    Args:
        mode: permissions, from the first moment on. owner: of which file it gets user and group, so that who
            reads that one can read this one, also where root writes it.

    Raises:
        OSError: it can't be written.
    """
    new = file.with_name(f".{file.name}.new")
    new.unlink(missing_ok=True)  # of somebody who didn't come to an end
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            written = os.fstat(descriptor)
            if (written.st_uid, written.st_gid) != (owner.st_uid, owner.st_gid):
                os.fchown(descriptor, owner.st_uid, owner.st_gid)
            os.fchmod(descriptor, mode)
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
        move_whole(new, file)
    except OSError:
        new.unlink(missing_ok=True)
        raise


def move_whole(file: Path, to: Path) -> None:
    """Have one file take the place of another at once, and see that it outlasts a crash."""
    file.rename(to)
    descriptor = os.open(to.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
