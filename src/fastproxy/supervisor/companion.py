"""The command of `fastproxy run --with`: a program that runs as long as its proxy does.

It is started when the proxy is ready, gets the signals that tell the proxy to end, and its end is what ends
the proxy; its exit code becomes the proxy's. So a job in a container needs no script around it: the proxy
drains after the last call, and whoever looks at the container sees how the job went. It has a session and so
a process group of its own: a signal from a terminal would otherwise come twice, and one from here reaches all
that it has started.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from fastproxy.app.memory import ALLOCATOR

CANT_RUN, NOT_FOUND = 126, 127
"""Exit codes of a command that didn't start, as shells have them (POSIX: Exit Status for Commands)."""
SIGNALLED = 128
"""Exit code of a command that a signal has ended, plus the signal's number."""
NOT_READY = 1
"""Exit code when the command was never started because the proxy did not become ready."""

_NOT_ITS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What a service manager says to the proxy alone."""

_LOG = logging.getLogger("fastproxy.supervisor")


class Companion:
    """A command, from its start to its end.

    exit_code: what is to become the proxy's; until the command has ended, what it would be if it never ran.
    pid: of its process, None when there is none.

    Args:
        command: program and arguments. environ: the environment, without what is not the command's.
    """

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self.exit_code = SIGNALLED + signal.SIGTERM
        self.pid: int | None = None
        self._command = list(command)
        self._environ = {
            name: value
            for name, value in environ.items()
            if name not in _NOT_ITS and ALLOCATOR.get(name) != value
        }
        self._popen: subprocess.Popen[bytes] | None = None
        self._ended: Callable[[], None] = lambda: None

    @property
    def was_started(self) -> bool:
        """Whether there was an attempt to start it."""
        return self._popen is not None

    def on_end(self, ended: Callable[[], None]) -> None:
        """Have this called when it has ended, or can't be started."""
        self._ended = ended

    def start(self) -> None:
        """Start it."""
        try:
            self._popen = subprocess.Popen(  # noqa: S603 - what whoever starts the proxy has named
                self._command, env=self._environ, start_new_session=True
            )
        except OSError as error:
            self.give_up(NOT_FOUND if isinstance(error, FileNotFoundError) else CANT_RUN, str(error.strerror))
            return
        self.pid = self._popen.pid
        _LOG.info("the command has started", extra={"command": self._command[0], "pid": self.pid})

    def give_up(self, exit_code: int, why: str) -> None:
        """It won't be started.

        Args:
            exit_code: the proxy's. why: in words, for people.
        """
        _LOG.error("the command is not started", extra={"command": self._command[0], "error": why})
        self.exit_code = exit_code
        self._ended()

    def send(self, signum: int) -> bool:
        """Pass a signal on to it and all that is in its group; return whether there is anybody."""
        if self.pid is None:
            return False
        os.killpg(self.pid, signum)
        return True

    def reaped(self, status: int) -> None:
        """It has ended, with this status (negative: the signal); called by who reaps."""
        assert self._popen is not None  # or else nothing could end
        self._popen.returncode = status
        self.pid = None
        self.exit_code = status if status >= 0 else SIGNALLED - status
        _LOG.info("the command has ended; draining", extra={"exit_code": self.exit_code})
        self._ended()
