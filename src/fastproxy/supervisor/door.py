"""The supervisor's own door: a Unix socket at which commands are given, and answered.

Who may give commands: the proxy's own user and root, by two proofs. The socket has mode 0600 in a folder
that only its owner can write to, and the kernel says which user connects (SO_PEERCRED). It is a file, and not
a name in the abstract namespace: those are reached from every container that shares the host's network.
A conversation is one line of JSON each way:

    {"command": "upgrade", "args": {"python": "/opt/new/bin/python"}}
    {"ok": true, …}    or    {"ok": false, "error": "why not, and what to do"}

Knows nothing of what the commands do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct, field

from fastproxy.net.listener import StartError, bind, remove_stale

LINE_LIMIT_BYTES = 65_536
"""A command's line at most; of whoever may give one, it protects against mistakes."""
_CONVERSATIONS = 16
"""At a time. Commands are given by people, and by what they have scheduled."""
_ASK_LIMIT_S = 5.0
"""How long a command may take to be said."""

_LOG = logging.getLogger("fastproxy.supervisor")


class RefusedError(Exception):
    """A command isn't done; the message says why, and what to do."""


class Asked(NamedTuple):
    """A command that was given. args: what it says. fd: of the connection that waits for the answer."""

    args: dict[str, Any]
    fd: int


Command = Callable[[Asked], Awaitable[dict[str, Any]]]
"""Does what it is asked for, and returns what there is to say of it.

Raises:
    RefusedError: it isn't done.
"""


class _Line(Struct, forbid_unknown_fields=True):
    command: str
    args: dict[str, Any] = field(default_factory=dict)


def folders(environ: Mapping[str, str], uid: int) -> list[Path]:
    """Return where a supervisor's door may be; the first folder that it can have for itself is taken.

    Args:
        environ: the supervisor's environment. uid: its user.
    """
    candidates = [environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]]  # systemd.exec(5)
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        candidates.append(f"{runtime}/fastproxy")
    temporary = environ.get("TMPDIR") or "/tmp"  # noqa: S108 - `is_private` judges what is there
    candidates += ["/run/fastproxy", f"{temporary}/fastproxy-{uid}"]
    return [Path(candidate) for candidate in candidates if candidate.startswith("/")]


def is_private(folder: Path, uid: int) -> bool:
    """Whether a folder is this user's, and nobody else can put anything into it."""
    status = os.lstat(folder)  # of a link itself: it could be led elsewhere later
    return stat.S_ISDIR(status.st_mode) and status.st_uid == uid and not status.st_mode & 0o022


def peer_of(sock: socket.socket) -> tuple[int, int]:
    """Return process id and user of the other end of a Unix socket (SO_PEERCRED)."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[:4], "little"), int.from_bytes(credentials[4:8], "little")


NOBODY = -1
"""In place of a connection, where nobody waits for an answer any more."""


def answer(fd: int, said: Mapping[str, Any]) -> None:
    """Answer a command whose connection another program has taken, and close it."""
    with suppress(OSError), socket.socket(fileno=fd) as sock:  # whoever asked may be gone
        sock.setblocking(False)
        sock.send(msgspec.json.encode(said) + b"\n")


class Door:
    """Takes commands.

    path: of the socket's file; "" while it is not open.
    """

    def __init__(self) -> None:
        self.path = ""
        self._commands: dict[str, Command] = {}
        self._conversations: set[asyncio.Task[None]] = set()
        self._sock: socket.socket | None = None
        self._server: asyncio.Server | None = None

    def register(self, name: str, command: Command) -> None:
        """From now on, take this command."""
        self._commands[name] = command

    async def open(self, environ: Mapping[str, str] = os.environ) -> None:
        """Take commands. A proxy serves without a door where it can have none; the log says so."""
        reasons = []
        for folder in folders(environ, os.geteuid()):
            try:
                folder.mkdir(mode=0o700, exist_ok=True)
                if not is_private(folder, os.geteuid()):
                    reasons.append(f"{folder} belongs to another user, or others can write to it")
                    continue
                path = f"{folder}/{os.getpid()}.sock"
                sock = bind(path, 0, 0o600)
            except OSError as error:
                reasons.append(f"{folder}: {error.strerror}")
            except StartError as error:
                reasons.append(str(error))
            else:
                _tidy(folder)
                await self._serve(sock, path)
                return
        _LOG.warning(
            "there is no folder for the socket by which commands come: `fastproxy upgrade` and its like "
            "can't reach this proxy; give it a folder in RUNTIME_DIRECTORY or XDG_RUNTIME_DIR",
            extra={"reasons": reasons},
        )

    async def adopt(self, fd: int, path: str) -> None:
        """Take commands at a socket that a former program has opened."""
        await self._serve(socket.socket(fileno=fd), path)

    @property
    def descriptor(self) -> int:
        """Of the socket, for another program to go on with."""
        assert self._sock is not None
        return self._sock.fileno()

    async def close(self) -> None:
        """Take no more commands; those that are being done are given up."""
        if self._server is None:
            return
        self._server.close()
        with suppress(OSError):
            os.unlink(self.path)
        self.path = ""
        conversations = list(self._conversations)
        for conversation in conversations:
            conversation.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)

    async def _serve(self, sock: socket.socket, path: str) -> None:
        self._sock, self.path = sock, path
        self._server = await asyncio.start_unix_server(self._take, sock=sock, limit=LINE_LIMIT_BYTES)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._conversations.add(task)
        try:
            await self._converse(reader, writer)
        finally:
            self._conversations.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        _, uid = peer_of(sock)
        if uid not in (0, os.geteuid()) or len(self._conversations) > _CONVERSATIONS:
            return  # without a word to strangers; who is one too many reads the same
        try:
            said = {"ok": True} | await self._done(await _line(reader), sock.fileno())
        except RefusedError as refusal:
            said = {"ok": False, "error": str(refusal)}
        except asyncio.CancelledError:
            said = {"ok": False, "error": "the proxy ends"}
        writer.write(msgspec.json.encode(said) + b"\n")

    async def _done(self, line: _Line, fd: int) -> dict[str, Any]:
        command = self._commands.get(line.command)
        if command is None:
            known = ", ".join(sorted(self._commands))
            raise RefusedError(f"this proxy knows no command {line.command}; there are {known}")
        return await command(Asked(line.args, fd))


def _tidy(folder: Path) -> None:
    """Remove the sockets of supervisors that were killed, and so could not do it themselves."""
    for file in folder.glob("*.sock"):
        # Both: its process may be one of another container, and be about to listen.
        if file.stem.isdecimal() and not Path(f"/proc/{file.stem}").exists():
            with suppress(OSError):  # it is gone already, or no socket
                remove_stale(str(file))


async def _line(reader: asyncio.StreamReader) -> _Line:
    try:
        async with asyncio.timeout(_ASK_LIMIT_S):
            line = await reader.readuntil(b"\n")
        return msgspec.json.decode(line, type=_Line)
    except TimeoutError:
        raise RefusedError(f"a command must have been said within {_ASK_LIMIT_S:g} s") from None
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, msgspec.MsgspecError) as error:
        raise RefusedError(
            f'a command is a line of JSON, {{"command": …, "args": {{…}}}}: {error}'
        ) from error
