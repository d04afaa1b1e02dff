"""Fuzzes the handshake and the records of the link, guided by coverage.

    python -m tests.fuzz.link_handshake --seconds 60 [--corpus FOLDER]

Fails, and prints the input, when one ends in anything but a valid result or a `LinkError`, or when inputs
leave memory behind.
"""

from __future__ import annotations

import atheris

with atheris.instrument_imports(include=["fastproxy.wire"]):
    from tests.fuzz.link_inputs import take

from tests.fuzz.guided import fuzz

MAX_INPUT_BYTES = 1024
"""Twice the longest message of a handshake."""

if __name__ == "__main__":
    fuzz(take, __doc__, MAX_INPUT_BYTES)
