"""Signals that terminals and service managers send to all processes of a group.

What they ask for is the supervisor's to decide: other processes of the proxy get them as well, and never
notice.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

GROUP_SIGNALS = frozenset((signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2))


@contextmanager
def held_back() -> Iterator[None]:
    """What is started in the `with` block begins with these signals blocked; those of here come after it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore() -> None:
    """Never notice them, those that were held back included; for the main thread."""
    for signum in GROUP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
