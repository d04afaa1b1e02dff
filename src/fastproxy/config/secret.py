"""A value that must not be shown: private keys and pre-shared keys on their way from config to use.

Whoever needs the bytes calls `reveal`, which makes every such place easy to find.
"""

from __future__ import annotations

import hmac
from typing import NoReturn


class Secret:
    """Bytes that no repr, format, log line, copy to another process or comparison time gives away."""

    __slots__ = ("_content",)

    def __init__(self, content: bytes) -> None:
        self._content = content

    def reveal(self) -> bytes:
        """Return the bytes; keep them out of anything that is shown."""
        return self._content

    def __repr__(self) -> str:
        return "Secret(…)"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._content, other._content)

    # A hash would let a secret be a key of a mapping, whose look-ups aren't constant-time.
    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret can't be pickled")
