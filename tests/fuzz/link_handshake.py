"""Fuzzes the handshake and the records of the link, guided by coverage.

    python -m tests.fuzz.link_handshake --seconds 60 [--corpus FOLDER]

Fails, and prints the input, when one ends in anything but a valid result or a `LinkError`, or when inputs
leave memory behind.
"""

from __future__ import annotations

import argparse
import sys

import atheris

with atheris.instrument_imports(include=["fastproxy.wire"]):
    from tests.fuzz.link_inputs import take

MAX_INPUT_BYTES = 1024
"""Twice the longest message of a handshake."""
WARM_UP_RUNS = 5_000
CHECK_RUNS = 1_000
MAX_MORE_BLOCKS = 2_000
"""Memory blocks that may come to stay after the warm-up, for whatever the interpreter keeps for itself;
inputs that leave one each pass this after two checks."""


class Watch:
    """Takes inputs, and sees that none leaves anything behind."""

    def __init__(self) -> None:
        self._runs = 0
        self._blocks = 0

    def take(self, data: bytes) -> None:
        """Take one input.

        Raises:
            MemoryError: inputs leave memory behind.
        """
        take(data)
        self._runs += 1
        if self._runs == WARM_UP_RUNS:
            self._blocks = sys.getallocatedblocks()
        elif self._runs > WARM_UP_RUNS and self._runs % CHECK_RUNS == 0:
            more_blocks = sys.getallocatedblocks() - self._blocks
            if more_blocks > MAX_MORE_BLOCKS:
                raise MemoryError(f"{more_blocks} memory blocks more after {self._runs} inputs")


def main() -> None:
    """Read the arguments and fuzz."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--corpus", help="folder of inputs to start from and to add to")
    arguments = parser.parse_args()
    options = [
        f"-max_total_time={arguments.seconds}",
        f"-max_len={MAX_INPUT_BYTES}",
        "-timeout=10",
        "-rss_limit_mb=512",
        "-exact_artifact_path=/dev/null",  # the input stands in what is printed
    ]
    corpus = [arguments.corpus] if arguments.corpus else []
    atheris.Setup([sys.argv[0], *options, *corpus], Watch().take)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
