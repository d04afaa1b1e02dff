"""Text that peers have had a hand in, made fit for terminals: in what commands show and in the log."""

from __future__ import annotations

import re

_STEERING = re.compile(rb"\x7f|\xc2[\x80-\x9f]")
"""What JSON leaves as it is and some terminals obey: DEL, and the controls U+0080 to U+009F in UTF-8."""


def harmless(text: str, kept: str = "") -> str:
    """Escape what could steer a terminal.

    Args:
        kept: characters that stay as they are all the same.
    """
    if text.isprintable():
        return text
    return "".join(
        character
        if character.isprintable() or character in kept
        else character.encode("unicode_escape").decode()
        for character in text
    )


def harmless_json(line: bytes) -> bytes:
    """Escape in JSON (UTF-8) what it needn't escape itself and what could steer a terminal."""
    return _STEERING.sub(lambda found: b"\\u%04x" % ord(found[0].decode()), line)
