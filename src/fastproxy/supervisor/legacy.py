"""What a supervisor leaves to the program that replaces it, in the same process, by execve(2).

Process id, children, current folder and environment stay by themselves; descriptors stay where they are
marked so. What they are stands in sealed memory, in two layers:

    Legacy       what any version needs to go on without loss: sockets, the config, who waits for an answer.
                 It only ever grows, by fields with a default, and no field changes its meaning.
    Particulars  the workers, what they show and have counted. Whoever doesn't know this `FORMAT` closes their
                 descriptors once its own workers take connections: the former ones then drain by themselves,
                 as if their supervisor were gone, and only what they have counted is lost.

Between the two programs no signal is lost: it waits until the new one has said what is to be done with it.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot
from fastproxy.control import handover
from fastproxy.supervisor.process import Inherited
from fastproxy.supervisor.tally import Kept

FORMAT = 1
"""Of `Particulars`, of what goes over a worker's channel, and of the memory that workers share. It is raised
with any change of these that workers and supervisors of two versions would not both understand."""

SIGNALS = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR1, signal.SIGUSR2
)  # fmt: skip
"""Those that wait while one program replaces the other."""


class LegacyError(Exception):
    """What is left by a former program makes no sense; the message says what to do."""


class Bound(Struct, frozen=True):
    """Sockets bound to one address. address: as the config says it. fds: their descriptors."""

    address: str
    fds: tuple[int, ...]


class Legacy(Struct, frozen=True):
    """What any version needs to go on.

    version: of the program that leaves it. format: of its particulars.
    listen: what workers take connections from.
    admin, door: the listeners of the supervisor itself, None where it has none; the door's address is a path.
    grace_s: how long the workers may drain.
    snapshot: memory with the config that the new program has tried to start with, as that has written it.
    asker: a connection on which one line is awaited that tells how the upgrade went.
    others: all further descriptors, which the particulars name.
    particulars: encoded as the format has it.
    reload_is_due: whether a reload was asked for while the new program tried itself.
    command_pid: process of the command that runs with the proxy; 0 where none does.
    listen_is_own: whether others can be bound beside the sockets of `listen`; not those of a service manager.
    """

    version: str
    format: int
    listen: Bound
    admin: Bound | None
    door: Bound | None
    grace_s: float
    snapshot: int
    asker: int
    others: tuple[int, ...]
    particulars: bytes
    reload_is_due: bool = False
    command_pid: int = 0
    listen_is_own: bool = True

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that the new program is to inherit."""
        admin = () if self.admin is None else self.admin.fds
        door = () if self.door is None else self.door.fds
        return (*self.listen.fds, *admin, *door, self.snapshot, self.asker, *self.others)


class Particulars(Struct, frozen=True):
    """The workers of the former program.

    board, ledger, inboxes: the descriptors of what they share. tally: what is counted beside what they count.
    """

    board: int
    ledger: int
    inboxes: tuple[tuple[int, int], ...]
    workers: tuple[Inherited, ...]
    tally: Kept

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that are named here."""
        inboxes = (end for pair in self.inboxes for end in pair)
        channels = (worker.rest.fd for worker in self.workers if worker.rest is not None)
        return (self.board, self.ledger, *inboxes, *channels)


def particulars_of(legacy: Legacy) -> Particulars | None:
    """Return what there is of the former workers; None when this program doesn't know their format."""
    if legacy.format != FORMAT:
        return None
    try:
        return msgspec.msgpack.decode(legacy.particulars, type=Particulars)
    except msgspec.MsgspecError:  # it says this format, but has another
        return None


def leave(legacy: Legacy, python: str, arguments: Sequence[str]) -> None:
    """Become the new program; returns only by failing.

    Args:
        legacy: what it goes on with. python: its interpreter.
        arguments: those that this program was started with, the config's file first.

    Raises:
        OSError: the interpreter can't be run; all is as before.
    """
    fd = _written(legacy)
    inherited = (*legacy.descriptors, fd)
    try:
        _mark(inherited, inheritable=True)
        sys.stdout.flush()
        sys.stderr.flush()
        file, *others = (argument for argument in arguments if not argument.startswith("--take-over="))
        command = [python, "-P", "-m", "fastproxy.supervisor", file, f"--take-over={fd}", *others]
        os.execve(python, command, os.environ)  # noqa: S606 - no shell is wanted
    finally:
        _mark(inherited, inheritable=False)
        os.close(fd)


def take(fd: int) -> Legacy:
    """Read what a former program has left; its descriptors are no further program's from now on.

    Raises:
        LegacyError: it can't be read.
    """
    try:
        legacy = msgspec.msgpack.decode(os.pread(fd, os.fstat(fd).st_size, 0), type=Legacy)
        os.close(fd)
        _mark(legacy.descriptors, inheritable=False)
    except (OSError, msgspec.MsgspecError) as error:
        raise LegacyError(
            f"what the former program has left can't be read ({error}); `--take-over` is only for `fastproxy "
            "upgrade` to use: start the proxy with `fastproxy run FILE`"
        ) from error
    return legacy


def tried(legacy: Legacy) -> Snapshot:
    """Return the config that this program has tried to start with.

    Raises:
        LegacyError: it isn't there.
    """
    snapshot = handover.read(legacy.snapshot)
    if not isinstance(snapshot, OutSnapshot | InSnapshot):
        raise LegacyError("the former program has left no config; start the proxy with `fastproxy run FILE`")
    return snapshot


def close_all(fds: Iterable[int]) -> None:
    """Close descriptors that nobody here goes on with."""
    for fd in fds:
        with suppress(OSError):
            os.close(fd)


def hold_signals() -> None:
    """From now on, have signals wait."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def release_signals() -> None:
    """Take the signals that have waited, and all later ones at once."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _written(legacy: Legacy) -> int:
    fd = os.memfd_create("fastproxy-legacy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(fd, "wb", closefd=False) as file:
        file.write(msgspec.msgpack.encode(legacy))
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, seals)
    return fd


def _mark(fds: Iterable[int], *, inheritable: bool) -> None:
    for fd in fds:
        os.set_inheritable(fd, inheritable)
