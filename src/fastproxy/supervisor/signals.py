"""Signals on the way from the command line to a supervisor that takes them.

`fastproxy run` holds them back until the program that it becomes can take them: the first process of a
container never gets one that it doesn't handle, so that what is sent meanwhile would be lost.
Imports nothing of the package: the command line shouldn't load what the supervisor needs.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import NoReturn

TOLD_TO_END = (signal.SIGTERM, signal.SIGINT)
_HELD_BACK = (*TOLD_TO_END, signal.SIGHUP)


def hold_back() -> None:
    """From now on, and across exec, keep the signals that a proxy handles until `heed` is called."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)


def heed(exit_code: int) -> None:
    """Until the supervisor takes signals, end at those that say so: nothing is under way yet.

    Loading a config of 100,000 callers takes seconds. A reload of what is only being loaded means nothing.

    Args:
        exit_code: with which to end.
    """

    def end(_: int, __: FrameType | None) -> NoReturn:
        sys.exit(exit_code)

    for signum in TOLD_TO_END:
        signal.signal(signum, end)
    signal.signal(signal.SIGHUP, lambda *_: None)  # not SIG_IGN, which the command of `--with` would inherit
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)
