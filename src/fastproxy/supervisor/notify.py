"""What a service manager is told of the proxy, by the protocol of sd_notify(3).

Each message is a datagram, lines of NAME=VALUE, to the Unix socket that the environment names: a path or,
behind an @, an abstract name. Where none is named nothing is sent. What can't be delivered is logged, and
stops nothing: a proxy serves whether or not somebody keeps a record of it.
Knows nothing of workers, configs and signals.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping

_PATIENCE_S = 1.0
"""How long the manager may take to take a message; it is local, and has nothing else to do."""
_CHECKS_PER_BEAT = 10
"""How often a beat that wasn't due for the watchdog is looked at again."""

_LOG = logging.getLogger("fastproxy.supervisor")


class Notifier:
    """Tells the service manager how the proxy is.

    beat_s: how often its watchdog wants a sign of life: twice in the time after which it acts; 0 when it has
    none.

    Args:
        environ: the environment that the manager has set. pid: of this process.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name if name.startswith("/") else ""
        if name and not self._address:
            _LOG.warning("NOTIFY_SOCKET is neither a path nor an abstract name; nothing is told to it")
        usec = environ.get("WATCHDOG_USEC", "")
        is_own = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
        self.beat_s = int(usec) / 2e6 if self._address and is_own and usec.isdecimal() else 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """It has started, or has its new config; status: how it is, in words."""
        self._status = status
        self._tell("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """It takes a new config up; `ready` follows in any case, also where the old one stays."""
        self._status = "taking up a new config"
        # The manager takes the next READY=1 for the end of this reload only if it comes after this moment.
        now_usec = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now_usec}", f"STATUS={self._status}")

    def stopping(self, status: str) -> None:
        """It is on its way to its end."""
        self._status = status
        self._tell("STOPPING=1", f"STATUS={status}")

    def status(self, status: str) -> None:
        """Say how it is, in words; nothing is sent when they are the same as before."""
        if status != self._status:
            self._status = status
            self._tell(f"STATUS={status}")

    def succeeded_by(self, pid: int) -> None:
        """Another process is the proxy from now on; what this one tells counts no more."""
        self._tell(f"MAINPID={pid}")

    async def keep_alive(self, is_fine: Callable[[], bool]) -> None:
        """Give the watchdog its signs of life, as long as all is fine; at once back if it has none."""
        while self.beat_s:
            if is_fine():
                self._tell("WATCHDOG=1")
                await asyncio.sleep(self.beat_s)
            else:
                await asyncio.sleep(self.beat_s / _CHECKS_PER_BEAT)

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        message = "\n".join(" ".join(line.splitlines()) for line in lines).encode()
        try:
            # A socket for each: a manager that starts anew listens on another one under the same name.
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.settimeout(_PATIENCE_S)
                sock.sendto(message, os.fsencode(self._address))
        except OSError as error:
            _LOG.warning(
                "the service manager can't be told; look at NOTIFY_SOCKET and `NotifyAccess`",
                extra={"told": lines[0], "error": str(error)},
            )
