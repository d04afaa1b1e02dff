"""The command of `fastproxy run --with`: a program that runs as long as its proxy does.

It is started when the proxy is ready, gets the signals that tell the proxy to end, and its end is what ends
the proxy; its exit code becomes the proxy's. So a job in a container needs no script around it: the proxy
drains after the last call, and whoever looks at the container sees how the job went.
It has a session and so a process group of its own: a signal from a terminal would otherwise come twice, and
one from here reaches all that it has started.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress

from msgspec import Struct

from fastproxy.app.memory import ALLOCATOR
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import Snapshot

CANT_RUN, NOT_FOUND = 126, 127
"""Exit codes of a command that didn't start, as shells have them (POSIX: Exit Status for Commands)."""
SIGNALLED = 128
"""Exit code of a command that a signal has ended, plus the signal's number."""
NOT_READY = 1
"""Exit code when the command was never started because the proxy did not become ready."""

_NOT_ITS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")
"""What a service manager says to the proxy alone."""

_LOG = logging.getLogger("fastproxy.supervisor")


def variables_with_keys(environ: Mapping[str, str], snapshot: Snapshot) -> frozenset[str]:
    """Return the names of the variables that hold a secret of a config: those that it was taken from."""
    secrets = {secret.reveal() for secret in _secrets(snapshot)}
    return frozenset(name for name, value in environ.items() if not secrets.isdisjoint(_readings(value)))


def _secrets(part: object) -> Iterator[Secret]:
    if isinstance(part, Secret):
        yield part
    elif isinstance(part, Struct):
        for name in part.__struct_fields__:
            yield from _secrets(getattr(part, name))
    elif isinstance(part, Mapping):
        for value in part.values():
            yield from _secrets(value)
    elif isinstance(part, (tuple, list)):
        for value in part:
            yield from _secrets(value)


def _readings(value: str) -> Iterator[bytes]:
    """What a config may take from the text of a variable: the text, and the bytes of hex digits."""
    yield value.strip().encode("utf-8", "surrogateescape")
    with suppress(ValueError):
        yield bytes.fromhex(value)


class Companion:
    """A command, from its start to its end.

    exit_code: what is to become the proxy's; until the command has ended, what it would be if it never ran.
    pid: of its process, None when there is none.

    Args:
        command: program and arguments. environ: the environment; the command gets it without what is not its.
        keys: names of variables that hold keys of the proxy: they would end up wherever the command shows
            its environment.
    """

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], keys: Set[str] = frozenset()
    ) -> None:
        self.exit_code = SIGNALLED + signal.SIGTERM
        self.pid: int | None = None
        self._command = list(command)
        self._environ = {
            name: value
            for name, value in environ.items()
            if name not in _NOT_ITS and name not in keys and ALLOCATOR.get(name) != value
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

    def adopt(self, pid: int) -> None:
        """Go on with it, which a former program of this process has started."""
        self.pid = pid

    def give_up(self, exit_code: int, why: str) -> None:
        """It won't be started.

        Args:
            exit_code: the proxy's. why: in words, for people.
        """
        _LOG.error("the command is not started", extra={"command": self._command[0], "error": why})
        self.exit_code = exit_code
        self._ended()

    def send(self, signum: int) -> bool:
        """Pass a signal on to it and all that is in its group; return whether it reached anybody."""
        if self.pid is None:
            return False
        try:
            os.killpg(self.pid, signum)
        except PermissionError:  # it runs as another user now, as `sudo` does
            _LOG.warning(
                "the command can't be told to end; the proxy ends without it", extra={"pid": self.pid}
            )
            return False
        return True

    def reaped(self, status: int) -> None:
        """It has ended, with this status (negative: the signal); called by who reaps."""
        if self._popen is not None:
            self._popen.returncode = status
        self.pid = None
        self.exit_code = status if status >= 0 else SIGNALLED - status
        _LOG.info("the command has ended; draining", extra={"exit_code": self.exit_code})
        self._ended()
