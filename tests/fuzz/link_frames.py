"""Fuzzes running links with frames in any order, at both ends, guided by coverage.

    python -m tests.fuzz.link_frames --seconds 60 [--corpus FOLDER]

Fails, and prints the input, when one ends in anything but a link whose books are in order, or one that has
ended with a cause; or when inputs leave memory behind.
"""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["fastproxy.net.link", "fastproxy.wire.link"]):
    from tests.fuzz.link_frames_inputs import take

from tests.fuzz.guided import fuzz

MAX_INPUT_BYTES = 2048
"""A play of some hundred steps."""

if __name__ == "__main__":
    fuzz(take, __doc__, MAX_INPUT_BYTES)
