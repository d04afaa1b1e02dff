"""The file that says which tokens may register which names: one `NAME sha256:HEX` per line.

It holds digests only, so that whoever reads it can't register. Whoever writes it can: a file that group or
others can write is refused. Empty lines and lines that begin with `#` count for nothing; a name with several
lines has several tokens, for rotation.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

from fastproxy.admin.center.access import token_digest
from fastproxy.config.schema_parts import NAME_PATTERN

FILE_LIMIT_BYTES = 4 * 1024 * 1024
"""Room for ten tokens of each name that the center takes; protects against a wrong file."""

_NAME = re.compile(NAME_PATTERN)


class TokensError(Exception):
    """The file can't be used; the message says where, why, and what to do."""


def token_line(name: str, token: str) -> str:
    """Return the line by which a token may register a name."""
    return f"{name} sha256:{token_digest(token).hex()}"


def read_tokens(file: Path) -> dict[str, list[bytes]]:
    """Return the digests of the tokens of each name.

    Raises:
        TokensError: it can't be read, others can write it, it names no token, or a line isn't as it must be.
    """
    digests: dict[str, list[bytes]] = {}
    for number, line in enumerate(_read(file).decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not _NAME.match(words[0]) or not words[1].startswith("sha256:"):
            # Without the line itself: it may be a token that was put there as it is.
            raise TokensError(
                f"{file}:{number}: this isn't NAME sha256:HEX, as `fastproxy center token NAME` prints it"
            )
        try:
            digests.setdefault(words[0], []).append(token_digest(words[1]))
        except ValueError as error:
            raise TokensError(f"{file}:{number}: a digest is `sha256:` and 64 hex digits") from error
    if not digests:
        raise TokensError(f"{file}: no token stands there, so that nobody could register")
    return digests


def _read(file: Path) -> bytes:
    try:
        # Opened first and looked at after, so that what is checked is what is read. A FIFO must not block.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise TokensError(f"{file} can't be opened: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as stream:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise TokensError(f"{file} is not a regular file")
        if mode & 0o022:
            raise TokensError(f"{file} can be written by others than its owner; chmod go-w {file}")
        content = stream.read(FILE_LIMIT_BYTES + 1)
    if len(content) > FILE_LIMIT_BYTES:
        raise TokensError(f"{file} is larger than {FILE_LIMIT_BYTES} bytes")
    return content
