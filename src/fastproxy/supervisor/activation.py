"""Listening sockets that a service manager has opened for the proxy, by the protocol of sd_listen_fds(3).

They come as the descriptors from 3 on, are for the process that the environment names, and have names:
`listen` and `admin`. Those with another name, or none, are taken in order: the first is for `listen`, and so
are all that are bound to the same address; the rest is for `admin`.
The config still says where the proxy listens: a socket that is bound elsewhere, or that more may connect to
than the config allows, is refused. Otherwise a mistake in a unit file could open to the network what the
config keeps on loopback.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import MutableMapping, Sequence
from typing import NamedTuple

from fastproxy.config.address import Address
from fastproxy.net.listener import StartError

_FIRST_FD = 3
_FD_LIMIT = 1024
"""Descriptors that a manager may hand over; more is a mistake in the environment."""


class Inherited(NamedTuple):
    """Sockets that were handed over. listen, admin: by the setting whose address they are for."""

    listen: tuple[socket.socket, ...] = ()
    admin: tuple[socket.socket, ...] = ()


def inherit(environ: MutableMapping[str, str], pid: int, first_fd: int = _FIRST_FD) -> Inherited:
    """Take what the service manager has handed over to this process, if anything.

    Args:
        environ: the environment that it has set; what it says of sockets is taken out, since it is true only
            once. pid: of this process. first_fd: the first descriptor.

    Raises:
        StartError: what the environment says can't be, or a descriptor is no socket.
    """
    of, number, named = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if of != str(pid):
        return Inherited()
    if not number.isdecimal() or not 0 < int(number) <= _FD_LIMIT:
        raise StartError(f"LISTEN_FDS is {number!r}, not a number of sockets; start this by a socket unit")
    names = named.split(":")
    sockets = [_socket(first_fd + index) for index in range(int(number))]
    listen: list[socket.socket] = []
    admin: list[socket.socket] = []
    first: socket.socket | None = None
    for index, sock in enumerate(sockets):
        name = names[index] if index < len(names) else ""
        if name not in ("listen", "admin"):
            first = first or sock
            name = "listen" if sock.getsockname() == first.getsockname() else "admin"
        (listen if name == "listen" else admin).append(sock)
    return Inherited(tuple(listen), tuple(admin))


def check(sockets: Sequence[socket.socket], address: Address, mode: int, setting: str) -> None:
    """Check that sockets are what the config would have opened itself.

    Args:
        sockets: as handed over. address: what the config says. mode: permissions that a Unix socket's file
        may
            have at most. setting: where in the config the address stands, for messages.

    Raises:
        StartError: one of them isn't.
    """
    for sock in sockets:
        kind = sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE)
        if sock.family not in (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX) or kind != socket.SOCK_STREAM:
            raise StartError(
                f"the socket handed over for `{setting}` is not one for TCP or a Unix stream; "
                "use ListenStream= in the socket unit"
            )
        bound = _shown(sock)
        if not _is_at(sock, address):
            raise StartError(
                f"the socket handed over for `{setting}` is bound to {bound}, the config says {address}; "
                f"make ListenStream= in the socket unit and `{setting}` the same"
            )
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and _is_connected(sock):
            raise StartError(
                f"what was handed over for `{setting}` is a single connection; "
                "write Accept=no into the socket unit"
            )
        if address.is_unix and (more := _mode_of(address.host) & ~mode):
            raise StartError(
                f"the socket {bound} handed over for `{setting}` has permissions beyond "
                f"{mode:04o} ({more:04o}); "
                f"write SocketMode={mode:04o} into the socket unit"
            )


def _socket(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise StartError(
            f"descriptor {fd}, which LISTEN_FDS counts, is no socket ({error.strerror}); "
            "start this by a socket unit"
        ) from error
    os.set_inheritable(fd, False)  # a worker gets what is its, nobody else anything
    sock.setblocking(False)
    return sock


def _is_at(sock: socket.socket, address: Address) -> bool:
    """Whether a socket is bound where the config says. Port 0 there means any."""
    if (sock.family == socket.AF_UNIX) != address.is_unix:
        return False
    if address.is_unix:
        return bool(sock.getsockname() == address.host)
    host, port = sock.getsockname()[:2]
    if not port or address.port not in (0, port):
        return False
    try:
        meant = socket.getaddrinfo(address.host, None, sock.family, socket.SOCK_STREAM)
    except OSError:
        return False
    return any(host == found[4][0] for found in meant)


def _is_connected(sock: socket.socket) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return False
    return True


def _mode_of(path: str) -> int:
    """Return the permissions of a socket's file; none where it is gone, since nobody gets there then."""
    try:
        return stat.S_IMODE(os.stat(path).st_mode)
    except FileNotFoundError:
        return 0


def _shown(sock: socket.socket) -> str:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    host = f"[{name[0]}]" if sock.family == socket.AF_INET6 else name[0]
    return f"{host}:{name[1]}"
