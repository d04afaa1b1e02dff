"""HTTP to a proxy's admin address, over TCP or a Unix socket."""

from __future__ import annotations

import http.client
import socket

from fastproxy.config.address import Address


class AdminConnection(http.client.HTTPConnection):
    """A connection to an admin address.

    Args:
        address: as the listener's config says it, or as one asks for it.
        timeout_s: for connecting, and between two pieces of an answer.
    """

    def __init__(self, address: Address, timeout_s: float) -> None:
        is_any = address.host in ("0.0.0.0", "::")  # noqa: S104 - what a listener says, asked from here
        host = "localhost" if address.is_unix else "127.0.0.1" if is_any else address.host
        super().__init__(host, address.port or None, timeout=timeout_s)
        self._path = address.host if address.is_unix else ""

    def connect(self) -> None:
        """Connect."""
        if not self._path:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)
