"""What commands show of text that peers have had a hand in."""

from __future__ import annotations


def harmless(text: str, kept: str = "") -> str:
    """Escape what could steer a terminal.

    Args:
        kept: characters that stay as they are all the same.
    """
    return "".join(
        character
        if character.isprintable() or character in kept
        else character.encode("unicode_escape").decode()
        for character in text
    )
