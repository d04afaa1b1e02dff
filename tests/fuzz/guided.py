"""Runs a fuzz target guided by coverage, and sees that its inputs leave nothing behind.

A target's module instruments what it fuzzes when it imports it, and then calls `fuzz`.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable

import atheris

WARM_UP_RUNS = 5_000
CHECK_RUNS = 1_000
MAX_MORE_BLOCKS = 2_000
"""Memory blocks that may come to stay after the warm-up, for whatever the interpreter keeps for itself;
inputs that leave one each pass this after two checks."""


class Watch:
    """Gives a target its inputs, and counts memory.

    Args:
        target: takes one input; raises when it ends in anything but what it should.
    """

    def __init__(self, target: Callable[[bytes], None]) -> None:
        self._target = target
        self._runs = 0
        self._blocks = 0

    def take(self, data: bytes) -> None:
        """Take one input.

        Raises:
            MemoryError: inputs leave memory behind.
        """
        self._target(data)
        self._runs += 1
        if self._runs == WARM_UP_RUNS:
            self._blocks = _blocks()
        elif self._runs > WARM_UP_RUNS and self._runs % CHECK_RUNS == 0:
            more_blocks = _blocks() - self._blocks
            if more_blocks > MAX_MORE_BLOCKS:
                raise MemoryError(f"{more_blocks} memory blocks more after {self._runs} inputs")


def _blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def fuzz(target: Callable[[bytes], None], about: str, max_input_bytes: int) -> None:
    """Read the arguments and fuzz.

    Args:
        target: as for `Watch`. about: the text for --help. max_input_bytes: length of an input.
    """
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--corpus", help="folder of inputs to start from and to add to")
    arguments = parser.parse_args()
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-max_len={max_input_bytes}",
        "-len_control=0",  # long inputs from the beginning
        "-timeout=10",
        "-rss_limit_mb=512",
        "-exact_artifact_path=/dev/null",  # the input stands in what is printed
    ]
    corpus = [arguments.corpus] if arguments.corpus else []
    atheris.Setup([sys.argv[0], *options, *corpus], Watch(target).take)
    atheris.Fuzz()
