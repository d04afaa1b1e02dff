"""The file that says that a proxy is ready, and which process and addresses it has.

Whoever reads it finds a whole one or none: it is written beside its place and then moved there. It appears
when the proxy is first ready, says `draining` from the moment that the proxy is on its way to its end, and
goes with it. One that an earlier proxy has left is removed at the start. It holds no secret, and everybody
may read it: the readers may be other users, in other containers.
Knows nothing of what readiness is.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from fastproxy.net.listener import StartError

State = Literal["ready", "draining"]


class Standing(Struct, frozen=True):
    """What the file says, as one JSON object.

    state: `ready` or `draining`. pid: the process to send signals to. pid_namespace: in which that number
    means it (the inode number of /proc/PID/ns/pid; 0 where unknown). started_ticks: when it began, in ticks
    since the machine did: of two processes that had the same number one after the other, which one this is.
    name, role: of the proxy. listen, admin: its addresses; admin is "" where it has none.
    """

    state: State
    pid: int
    pid_namespace: int
    started_ticks: int
    name: str
    role: str
    listen: str
    admin: str


class ReadyFile:
    """The ready file of this proxy.

    Args:
        path: where it is to be.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = path.with_name(f".{path.name}.{os.getpid()}")
        self._standing: Standing | None = None

    def prepare(self) -> None:
        """See that it can be written later, and that none is there now.

        Raises:
            StartError: it can't be written.
        """
        try:
            if self._path.exists() and not stat.S_ISREG(self._path.stat().st_mode):
                raise StartError(
                    f"--ready-file {self._path}: something that is no file is there; name another one"
                )
            self._write(b"")
            self._path.unlink(missing_ok=True)
            self._beside.unlink()
        except OSError as error:
            raise StartError(
                f"--ready-file {self._path} can't be written: {error.strerror}; "
                "name one in a folder that exists and that this user may write to"
            ) from error

    def write(self, standing: Standing) -> None:
        """Say how the proxy is.

        Raises:
            OSError: it can't be written.
        """
        self._write(msgspec.json.encode(standing) + b"\n")
        self._beside.replace(self._path)
        self._standing = standing

    def remove(self) -> None:
        """Say nothing any more, unless another process has taken over and says something there."""
        with suppress(OSError, ValueError, msgspec.MsgspecError):
            if self._standing is not None and read(self._path).pid == self._standing.pid:
                self._path.unlink()

    def _write(self, content: bytes) -> None:
        self._beside.unlink(missing_ok=True)
        # Made anew, so that nothing is written to what somebody has put there; for all to read, whatever the
        # umask.
        fd = os.open(self._beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o644)
            file.write(content)


def read(path: Path) -> Standing:
    """Return what a ready file says.

    Raises:
        OSError: it can't be read. ValueError: it is something else.
    """
    with path.open("rb") as file:
        content = file.read(4096)
    try:
        return msgspec.json.decode(content, type=Standing)
    except msgspec.MsgspecError as exc:
        raise ValueError(f"{path} is not a file that `fastproxy run --ready-file` has written") from exc


def own_identity() -> tuple[int, int, int]:
    """Return what tells this process from all others: the numbers that `Standing` has of it."""
    pid = os.getpid()
    return pid, pid_namespace(), started_ticks(pid)


def pid_namespace() -> int:
    """Return the namespace of process ids that this process is in; 0 where unknown."""
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


def started_ticks(pid: int) -> int:
    """Return when a process began (field 22 of proc_pid_stat(5)); 0 where there is none to be seen."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return int(fields[19])
