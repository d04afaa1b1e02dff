"""Those outside who wait for a proxy or depend on it: the service manager, the ready file, the command.

    manager     is told when the proxy takes connections, how it is, and that it ends
    ready file  appears when the proxy is first ready, and goes with it
    command     starts when the proxy is first ready, and its end is the proxy's

A manager has the rest of the machine wait for the proxy, so it is told after `PATIENCE_S` in any case: one
service that nobody can find now must not keep the machine from starting, nor have the manager give up on a
proxy that serves all others. A command is a job that calls services: it isn't started before they are known.
Knows nothing of workers; it is told what is to be said.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from fastproxy.supervisor.activation import Inherited
from fastproxy.supervisor.companion import NOT_READY, Companion
from fastproxy.supervisor.notify import Notifier
from fastproxy.supervisor.ready_file import ReadyFile, Standing, State, own_identity

PATIENCE_S = 10.0
"""How long the service manager isn't told that the proxy has started when it is not ready."""

_LOG = logging.getLogger("fastproxy.supervisor")


class Place(NamedTuple):
    """What a proxy is, for whoever looks for it. name, role: its own. listen, admin: its addresses."""

    name: str
    role: str
    listen: str
    admin: str


class Surroundings:
    """Tells those outside how the proxy is.

    manager: the service manager. inherited: sockets that it has handed over. companion: the command, if any.

    Args:
        manager, inherited, companion: as above. ready_file: where to say that it is ready, if anywhere.
        ready_limit_s: how long the command waits for the proxy to be ready; then it is not started.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        manager: Notifier,
        inherited: Inherited,
        ready_file: ReadyFile | None,
        companion: Companion | None,
        ready_limit_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.manager = manager
        self.inherited = inherited
        self.companion = companion
        self._ready_file = ready_file
        self._ready_limit_s = ready_limit_s
        self._clock = clock
        self._place = Place("", "", "", "")
        self._began_s = 0.0
        self._is_manager_told = False
        self._is_file_due = ready_file is not None
        self._is_command_due = companion is not None

    def serving(self, place: Place) -> None:
        """The proxy takes connections from now on."""
        self._place = place
        self._began_s = self._clock()

    def adopt(self, command_pid: int) -> None:
        """Go on with the command that a former program has started, of this process."""
        assert self.companion is not None  # the command line says that there is one
        self.companion.adopt(command_pid)
        self._is_command_due = False

    def look(self, not_ready: str) -> None:
        """Tell them how the proxy is; called every so often while it serves.

        Args:
            not_ready: why it should get no traffic now, "" when it may.
        """
        waited_s = self._clock() - self._began_s
        status = f"listens at {self._place.listen}, {f'not ready: {not_ready}' if not_ready else 'ready'}"
        if not self._is_manager_told and (not not_ready or waited_s >= PATIENCE_S):
            self._is_manager_told = True
            self.manager.ready(status)
        else:
            self.manager.status(status)
        if not not_ready:
            self._be_ready()
        elif self._is_command_due and waited_s >= self._ready_limit_s:
            self._is_command_due = False
            assert self.companion is not None  # or none would be due
            words = f"the proxy was not ready within {self._ready_limit_s:g} s (--ready-timeout): {not_ready}"
            self.companion.give_up(NOT_READY, words)

    def pass_on(self, signum: int) -> bool:
        """Pass a signal on to the command; return whether it runs, so that its end is to be waited for."""
        self._is_command_due = False  # whoever was told to end begins nothing
        return self.companion is not None and self.companion.send(signum)

    def draining(self) -> None:
        """The proxy is on its way to its end."""
        self._is_command_due = False
        self.manager.stopping("draining: what is under way ends, nothing new is taken")
        if self._ready_file is not None and not self._is_file_due:
            self._write("draining")

    def ended(self) -> None:
        """The proxy is no more."""
        if self._ready_file is not None:
            self._ready_file.remove()

    def _be_ready(self) -> None:
        if self._is_file_due and self._write("ready"):
            self._is_file_due = False
        if self._is_command_due and not self._is_file_due:  # a job may want to read it
            self._is_command_due = False
            assert self.companion is not None  # or none would be due
            self.companion.start()

    def _write(self, state: State) -> bool:
        assert self._ready_file is not None  # or none would be due
        try:
            self._ready_file.write(Standing(state, *own_identity(), *self._place))
        except OSError as error:
            _LOG.error(
                "the ready file can't be written; it is tried again while the proxy serves",
                extra={"error": str(error)},
            )
            return False
        return True
