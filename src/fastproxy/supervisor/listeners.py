"""The listening sockets of a proxy, one for each worker.

The kernel spreads connections over all sockets that are bound to one address (SO_REUSEPORT). Each stays
open here for as long as the proxy listens at that address, so that what waits in its queue outlives the
worker that took from it, and is taken by the next one. With fewer workers than sockets some take from
several. A Unix socket is one, from which all take. Sockets that a service manager has handed over belong to
another user, so that none can be bound beside them: where they are fewer than workers, several take from one.
Knows nothing of workers.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from fastproxy.config.address import Address
from fastproxy.net.listener import bind, bind_beside


class Listeners:
    """The sockets bound to one address.

    address: what the config says. mode: permissions of a Unix socket's file.

    Args:
        address, mode: as above.
    """

    def __init__(self, address: Address, mode: int) -> None:
        self.address = address
        self.mode = mode
        self._sockets: list[socket.socket] = []
        self._is_adopted = False

    def adopt(self, sockets: Sequence[socket.socket], *, are_own: bool = False) -> None:
        """Use sockets that are bound to the address already, if there are any.

        Args:
            are_own: a former program of this process has bound them, and others can be bound beside them.
        """
        self._sockets = list(sockets)
        self._is_adopted = bool(sockets) and not are_own

    @property
    def are_own(self) -> bool:
        """Whether the sockets were bound here."""
        return not self._is_adopted

    def open(self, count: int) -> None:
        """See that there are sockets for so many workers.

        Raises:
            StartError: the address can't be bound.
        """
        if not self._sockets:
            self._sockets.append(bind(self.address.host, self.address.port, self.mode))
        while not (self.address.is_unix or self._is_adopted) and len(self._sockets) < count:
            self._sockets.append(bind_beside(self._sockets[0]))

    def share(self, index: int, count: int) -> Sequence[socket.socket]:
        """Return those that one of so many workers takes from."""
        if self.address.is_unix:
            return self._sockets
        return self._sockets[index::count] or [self._sockets[index % len(self._sockets)]]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of all sockets."""
        return tuple(sock.fileno() for sock in self._sockets)

    @property
    def name(self) -> str:
        """Where connections are taken, with the port that the system has picked."""
        name = self._sockets[0].getsockname()
        return f"unix:{name}" if isinstance(name, str) else f"{name[0]}:{name[1]}"

    def close(self) -> None:
        """Listen no more."""
        for sock in self._sockets:
            sock.close()
