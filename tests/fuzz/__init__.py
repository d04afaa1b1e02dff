"""Fuzz targets: whatever comes ends in a valid result or the error meant for it, and leaves nothing behind.

Each target is a function of bytes, in a module named `…_inputs`. Hypothesis calls it in the ordinary tests; a
coverage-guided fuzzer does in a module of its own, for as long as it is told to (it needs the extra `fuzz`):

    python -m tests.fuzz.link_handshake --seconds 60
"""
