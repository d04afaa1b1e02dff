"""Giving commands to a proxy that runs on this machine, at its supervisor's door.

The proxy is named by the id of its process or by its config file. Which of the folders its door is in, the
process itself says: by its user, its environment and its view of the file system, so that it is found in a
container or behind a service manager's private folders as well. And it is talked to only when the kernel
vouches that it is that process which listens there: nobody else gets a command, or answers in its stead.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from fastproxy.supervisor.door import LINE_LIMIT_BYTES, folders, peer_of
from fastproxy.telemetry.terminal import harmless

PROCESSES = Path("/proc")
_MODULE = "fastproxy.supervisor"
"""What `fastproxy run FILE` becomes: `python -P -m fastproxy.supervisor FILE`."""
_REHEARSAL = "--try"
"""With this a supervisor only tries whether it could take over from another."""


def ask(target: str, command: str, args: dict[str, Any], patience_s: float) -> dict[str, Any]:
    """Have a running proxy do something; return what it says of it.

    Args:
        target: id of its process, or its config file. command, args: what to do.
        patience_s: how long that may take.

    Raises:
        click.ClickException: it isn't done; the message says why.
    """
    pid = find(target)
    with _door_of(pid) as sock:
        sock.settimeout(patience_s)
        try:
            sock.sendall(json.dumps({"command": command, "args": args}).encode() + b"\n")
            line = _line(sock)
        except TimeoutError as error:
            raise click.ClickException(
                f"process {pid} has not answered within {patience_s:g} s; its log says what it does"
            ) from error
        except OSError as error:
            raise click.ClickException(f"process {pid} hung up: {error.strerror}") from error
    if not line.endswith(b"\n"):
        raise click.ClickException(f"process {pid} ended without an answer; its log says why")
    said: dict[str, Any] = json.loads(line)
    if not said.pop("ok"):
        raise click.ClickException(harmless(said["error"], "\n"))
    return said


def find(target: str) -> int:
    """Return the id of the process that owns a running proxy.

    Args:
        target: the id itself, or the config file.

    Raises:
        click.ClickException: there is none, or more than one; the message says which.
    """
    if target.isascii() and target.isdigit():
        try:
            config_file(int(target))
        except FileNotFoundError as error:
            raise click.ClickException(f"there is no process {target}") from error
        except LookupError as error:
            raise click.ClickException(
                f"process {target} is not a proxy that `fastproxy run` started; see `pgrep -af {_MODULE}`"
            ) from error
        return int(target)
    if not os.path.exists(target):
        raise click.ClickException(f"there is no file {target}")
    found = [pid for pid in _pids() if _runs(pid, target)]
    if not found:
        raise click.ClickException(f"no proxy runs with {target}, or it is another user's")
    if len(found) > 1:
        raise click.ClickException(
            f"several proxies run with {target}: processes {', '.join(map(str, found))}; say which by its id"
        )
    return found[0]


def running() -> list[str]:
    """Return the ids of the processes that own running proxies of this user."""
    found = []
    for pid in _pids():
        with suppress(OSError, LookupError):
            if is_ours(pid):
                config_file(pid)
                found.append(pid)
    return [str(pid) for pid in sorted(found)]


def is_ours(pid: int) -> bool:
    """Whether a process is this user's, in all its ids; root's are root's alone.

    What another user's process says of itself must not lead to anything that this user may read and that one
    may not: its command line can name any config file, and that file any secret. Who owns its folder in /proc
    proves nothing, since that is root for every process that can't be dumped.

    Raises:
        OSError: there is no such process.
    """
    for line in (PROCESSES / str(pid) / "status").read_text().splitlines():
        name, _, ids = line.partition(":")
        if name == "Uid":  # real, effective, saved, of the file system (proc_pid_status(5))
            return {int(uid) for uid in ids.split()} == {os.geteuid()}
    return False


def config_file(pid: int) -> Path:
    """Return the config file that a proxy's process runs.

    Raises:
        FileNotFoundError: there is no such process. PermissionError: it is another user's.
        LookupError: it is no proxy, or only tries whether it could be one.
    """
    folder = PROCESSES / str(pid)
    arguments = (folder / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
    place = arguments.index("-m") if "-m" in arguments else len(arguments)
    if arguments[place + 1 : place + 2] != [_MODULE] or _REHEARSAL in arguments[place + 3 : place + 4]:
        raise LookupError
    return folder.joinpath("cwd").readlink() / arguments[place + 2]


def _pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROCESSES.iterdir() if entry.name.isdigit())


def _runs(pid: int, file: str) -> bool:
    try:
        return config_file(pid).samefile(file)
    except (OSError, LookupError):  # gone meanwhile, another user's, or no proxy
        return False


def _door_of(pid: int) -> socket.socket:
    """Return a connection to a process's door.

    Raises:
        click.ClickException: there is none for us.
    """
    folder = PROCESSES / str(pid)
    try:
        environ = dict(
            variable.split("=", 1)
            for variable in (folder / "environ").read_bytes().decode(errors="surrogateescape").split("\0")
            if "=" in variable
        )
        uid = folder.stat().st_uid
        own_id = _id_as_it_sees_it(folder)
    except PermissionError as error:
        raise click.ClickException(f"process {pid} belongs to another user; run this as that user") from error
    except FileNotFoundError as error:
        raise click.ClickException(f"there is no process {pid}") from error
    for place in folders(environ, uid):
        for root in ("", f"{folder}/root"):
            with suppress(OSError):
                sock = _connected(Path(f"{root}{place}"), f"{own_id}.sock")
                if peer_of(sock) == (pid, uid):
                    return sock
                sock.close()
    raise click.ClickException(
        f"process {pid} takes no commands: it is only starting or just ending, or it had no folder for its "
        "socket, and then its log says so"
    )


def _id_as_it_sees_it(folder: Path) -> int:
    """The id of a process in its own namespace: 1 where it is the first one of a container."""
    for line in (folder / "status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "NSpid":
            return int(value.split()[-1])
    return int(folder.name)  # a kernel before 4.1


def _connected(folder: Path, name: str) -> socket.socket:
    """Connect to a socket by its folder's descriptor: a path as long as any has no place in an address."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(f"/proc/self/fd/{fd}/{name}")
    except BaseException:
        sock.close()
        raise
    finally:
        os.close(fd)
    return sock


def _line(sock: socket.socket) -> bytes:
    said = b""
    while not said.endswith(b"\n") and len(said) < LINE_LIMIT_BYTES and (piece := sock.recv(65_536)):
        said += piece
    return said
