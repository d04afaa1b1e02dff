"""Reading a config in a process of its own (`reader`), which ends with all that it needed for it.

The parser, the rules of configs and the cryptography that checks keys take 8 MiB, which a supervisor would
hold for as long as the proxy runs; and a config of 100,000 callers takes seconds, in which the workers have
to be looked at.
"""

from __future__ import annotations

import os
import subprocess
import sys

from fastproxy.config.problem import ConfigError, Problem
from fastproxy.config.snapshot import Snapshot
from fastproxy.control import handover
from fastproxy.control.signals import held_back


def read_apart(file: str) -> Snapshot:
    """Load a config file; blocks until it is done, and may be called in a thread.

    Raises:
        ConfigError: it can't be used; holds all problems.
        OSError: no process or descriptor is left.
    """
    fd = handover.make()
    try:
        command = [sys.executable, "-P", "-m", "fastproxy.supervisor.reader", file, str(fd)]
        with held_back():
            process = subprocess.Popen(command, pass_fds=(fd,), stdin=subprocess.DEVNULL)  # noqa: S603
        process.wait()  # its exit code doesn't count: who reaps all children may have taken it
        found = handover.read(fd)
    finally:
        os.close(fd)
    if found is None:
        message = "the process that reads it has ended without a result"
        advice = "if it has said nothing above, it had too little memory"
        raise ConfigError([Problem(file, 0, "", message, advice)])
    if isinstance(found, tuple):
        raise ConfigError(found)
    return found
