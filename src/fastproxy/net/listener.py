"""Binding: TCP addresses and Unix sockets, with errors that say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Collection

BACKLOG = 1024
"""Connections that wait to be taken, at most; what comes beyond is refused by the kernel."""


class StartError(Exception):
    """A proxy can't start; the message says what, where, and what to do next."""


def bind(host: str, port: int, socket_mode: int) -> socket.socket:
    """Bind an address and listen there: from now on it is nobody else's, and who connects waits to be taken.

    Args:
        host: IP address or name, or the path of a Unix socket when `port` is 0 and it begins with a slash.
        port: 0 takes any free one.
        socket_mode: permissions of a Unix socket's file.

    Raises:
        StartError: it can't be bound.
    """
    if host.startswith("/"):
        return _bind_unix(host, socket_mode)
    try:
        # As bytes: a str would load the codec of international names, 0.4 MiB.
        name = host.encode() if host.isascii() else host
        family, _, _, _, address = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise StartError(
            f"can't listen on {host}:{port}: the name does not resolve ({error.strerror})"
        ) from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        # Only now, so that the address is nobody else's: not even another proxy's, which would get a share of
        # the connections without a word. As long as nobody listens, SO_REUSEADDR alone would let it in.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise StartError(f"can't listen on {host}:{port}: {_advice(error)}") from error
    return sock


def bind_beside(first: socket.socket) -> socket.socket:
    """Bind another socket where one listens that `bind` has bound (TCP).

    As soon as somebody listens at it as well, the kernel spreads connections over both; not before, so that
    none waits there for a worker that never comes.

    Raises:
        StartError: it can't be bound.
    """
    sock = socket.socket(first.family, socket.SOCK_STREAM)
    address = first.getsockname()
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for whatever the first could pass by
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(address)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise StartError(f"can't listen on {address[0]}:{address[1]}: {_advice(error)}") from error
    return sock


def _bind_unix(path: str, mode: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        remove_stale(path)
        before = os.umask(0o777 & ~mode)  # so that there is no moment with wider permissions
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise StartError(f"can't listen on unix:{path}: {_advice(error)}") from error
    return sock


def remove_stale(path: str) -> None:
    """Remove the socket file of a process that is gone; one that somebody listens on stays."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            raise OSError(errno.EEXIST, "a file that is no socket is there")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            if probe.connect_ex(path) == errno.ECONNREFUSED:
                os.unlink(path)


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "address already in use: another program listens there; stop it, or change `address`"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 need the capability net_bind_service, or take another port"
    if error.errno is None:
        return f"{error}; take a shorter one"  # a Unix socket's path has at most 107 bytes
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address"
    return str(error.strerror or error)


NOBODY = -1
"""In place of a user's number, where it can't be told any more who is at the other end."""


def peer_uid(sock: socket.socket | None) -> int:
    """Return the user at the other end of a Unix socket (SO_PEERCRED); NOBODY when that is gone."""
    if sock is None:
        return NOBODY
    try:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return NOBODY
    return int.from_bytes(credentials[4:8], "little")


def peer_check(allowed_uids: Collection[int]) -> Callable[[int], bool] | None:
    """Decide by uid who may connect to a Unix socket; None when everybody may whom the file's mode lets."""
    if not allowed_uids:
        return None
    allowed = frozenset(allowed_uids)
    return lambda uid: uid in allowed
