"""A double of a service manager: it hears what sd_notify(3) sends."""

from __future__ import annotations

import socket
from pathlib import Path
from types import TracebackType
from typing import Self

_PATIENCE_S = 30.0


class Manager:
    """Listens at a Unix socket.

    name: what to say in NOTIFY_SOCKET.

    Args:
        name: as above: a path, or @ and an abstract name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + name[1:] if name.startswith("@") else name)
        self._sock.settimeout(_PATIENCE_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._sock.close()
        if not self.name.startswith("@"):
            Path(self.name).unlink()

    def hear(self) -> dict[str, str]:
        """Return the next message."""
        lines = self._sock.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)

    def hear_until(self, **wanted: str) -> dict[str, str]:
        """Return the first message in which these variables have these values; those before are lost."""
        while True:
            message = self.hear()
            if message.items() >= wanted.items():
                return message

    def has_heard(self) -> bool:
        """Whether another message is there."""
        self._sock.setblocking(False)
        try:
            return bool(self._sock.recv(4096, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self._sock.settimeout(_PATIENCE_S)
