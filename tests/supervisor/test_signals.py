"""Signals that come before the supervisor can take them."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# A signal comes in the midst of the start, and the program that takes signals is another one.
_START = """
import os, sys
from fastproxy.supervisor.signals import hold_back
hold_back()
os.kill(os.getpid(), int(sys.argv[1]))
again = "from fastproxy.supervisor.signals import heed; heed(5); print('goes on')"
os.execv(sys.executable, [sys.executable, "-c", again])
"""


@pytest.mark.parametrize(
    ("signum", "code", "words"),
    [(signal.SIGTERM, 5, b""), (signal.SIGINT, 5, b""), (signal.SIGHUP, 0, b"goes on\n")],
)
def test_one_that_comes_while_the_program_changes_counts_after_it(
    signum: int, code: int, words: bytes
) -> None:
    command = [sys.executable, "-c", _START, str(int(signum))]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (code, words)
