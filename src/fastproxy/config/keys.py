"""Key material that a config names: read from files or the environment, checked, never shown.

A key file holds 64 hex digits on a line; lines that start with `#` are comments. Behind a public key may
stand `not_after` and its last second. The keys of `compat` and tokens are text: their file is that one line,
taken as it stands. A file with a secret that group or others can read is refused: the secret must be taken as
known to them.
Knows nothing of what keys are used for on the wire.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fastproxy.config.file_access import is_open_to_others
from fastproxy.config.schema_parts import KeySource
from fastproxy.config.secret import Secret

FILE_LIMIT_BYTES = 4096
"""Protects against a wrong file named as a key."""

_FIELD_PRIME = 2**255 - 19
_LOW_ORDER = frozenset(
    (
        0,
        1,
        _FIELD_PRIME - 1,
        325606250916557431795983626356110631294008115727848805560023387167927233504,
        39382357235489614581723060781553021112529911719440698176882885853963445705823,
    )
)
"""Coordinates of all points of low order, on the curve and its twist (https://cr.yp.to/ecdh.html#validate).
Compared, not tried out: a config may hold a hundred thousand keys, and an exchange takes 0.1 ms."""

_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}\Z")


class KeyMaterialError(Exception):
    """A key can't be used.

    Args:
        message: what is wrong. suggestion: what to do.
    """

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message, suggestion)
        self.message = message
        self.suggestion = suggestion


def read_secret(source: KeySource, folder: Path, environ: Mapping[str, str]) -> Secret:
    """Return the 32 bytes of a private or pre-shared key.

    Args:
        source: where it is. folder: what relative file names start from. environ: the environment.

    Raises:
        KeyMaterialError: it isn't there, isn't a key, or isn't kept secret.
    """
    match _named(source):
        case "file":
            keys = read_key_file(folder / source.file, secret=True)
            if len(keys) != 1:
                raise KeyMaterialError(f"{source.file} must hold exactly one key")
            return Secret(keys[0])
        case "env":
            where = f"environment variable {source.env}"
            return Secret(_key_from_text(environ.get(source.env, "").strip(), where))
        case _:
            return Secret(_key_from_text(_literal(source).decode(), "the literal"))


def read_text_secret(source: KeySource, folder: Path, environ: Mapping[str, str]) -> Secret:
    """Return the bytes of a secret that is a line of text: a key of `compat`, a token.

    Args:
        source: where it is. folder: what relative file names start from. environ: the environment.

    Raises:
        KeyMaterialError: it isn't there, isn't one line of printable text, or isn't kept secret.
    """
    match _named(source):
        case "file":
            where = str(folder / source.file)
            content = read_file(folder / source.file, secret=True)
        case "env":
            where = f"environment variable {source.env}"
            content = environ.get(source.env, "").encode("utf-8", "surrogateescape")
        case _:
            where, content = "the literal", _literal(source)
    line = content.removesuffix(b"\n").removesuffix(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError as exc:
        raise KeyMaterialError(f"{where} does not hold UTF-8 text") from exc
    if not is_secret_text(text):
        raise KeyMaterialError(
            f"{where} does not hold one line of printable text", "no white space at its ends, no comments"
        )
    return Secret(line)


def is_secret_text(text: str) -> bool:
    """Whether a secret that is text can be written down so that it is read back the same."""
    return bool(text) and text.isprintable() and text == text.strip()


def read_key_file(file: Path, *, secret: bool) -> list[bytes]:
    """Return the keys of a file, 32 bytes each.

    Args:
        file: the file. secret: whether it holds a secret key, so that others must not be able to read it.

    Raises:
        KeyMaterialError: it can't be read, others can read it, or it holds something else.
    """
    return [_key_from_text(line, str(file)) for line in _key_lines(file, secret=secret)]


def read_public_key_file(file: str | Path) -> dict[bytes, float]:
    """Return the public keys of a file, 32 bytes each, and the last second of each in Unix time, or
    infinity.

    Raises:
        KeyMaterialError: it can't be read, or it holds something else.
    """
    dates: dict[bytes, float] = {}
    for line in _key_lines(file, secret=False):
        digits, *date = line.split()
        key = _key_from_text(digits, str(file))
        if key in dates:
            raise KeyMaterialError(f"{file} holds a key twice", "keep one of the two lines")
        try:
            dates[key] = _date_behind(date)
        except ValueError as exc:
            raise KeyMaterialError(f"{file}: {exc}", "KEY not_after 2027-01-31T00:00:00Z") from exc
    return dates


def parse_date(text: str) -> float:
    """Return the Unix time, in seconds, of a date in UTC as in `2027-01-31T00:00:00Z`.

    Raises:
        ValueError: it isn't one; the message says so, for people.
    """
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError as exc:
        raise ValueError(f"{text!r} is no date of the calendar, as in 2027-01-31T00:00:00Z") from exc


def _key_lines(file: str | Path, *, secret: bool) -> list[str]:
    content = read_file(file, secret=secret).decode("ascii", "replace")
    lines = [line.strip() for line in content.splitlines()]
    found = [line for line in lines if line and not line.startswith("#")]
    if not found:
        raise KeyMaterialError(f"{file} holds no key")
    return found


def _date_behind(words: list[str]) -> float:
    match words:
        case []:
            return inf
        case ["not_after", date]:
            return parse_date(date)
    raise ValueError("what stands behind a key is not its date")


def public_from_private(private_key: Secret) -> bytes:
    """Return the X25519 public key, 32 bytes, of a private key."""
    return X25519PrivateKey.from_private_bytes(private_key.reveal()).public_key().public_bytes_raw()


def is_usable_public_key(public_key: bytes) -> bool:
    """Whether a public key, 32 bytes, protects anything, and is the only spelling of its point.

    With a point of low order every shared secret is zero (RFC 7748, section 6.1); with a second spelling
    one key could bear two names.
    """
    coordinate = int.from_bytes(public_key, "little")
    return coordinate < _FIELD_PRIME and coordinate not in _LOW_ORDER


def _named(source: KeySource) -> str:
    """Return which of its places a source names."""
    named = [name for name in ("file", "env", "literal") if getattr(source, name)]
    if len(named) != 1:
        raise KeyMaterialError(
            "a key needs exactly one of `file`, `env` and `literal`",
            "file: NAME.key, as `keys new` writes it",
        )
    return named[0]


def _literal(source: KeySource) -> bytes:
    if not source.insecure_literal:
        raise KeyMaterialError(
            "a key stands in the config itself", "use `file`, or confirm with `insecure_literal: true`"
        )
    assert source.literal is not None
    return source.literal.reveal()


def read_file(
    file: str | Path,
    *,
    secret: bool,
    what: str = "key file",
    limit_bytes: int = FILE_LIMIT_BYTES,
    if_missing: str = "make one with `fastproxy keys new NAME`",
) -> bytes:
    """Return what a file holds.

    Args:
        file: the file. secret: whether others must not be able to read it. what: the words for it.
        limit_bytes: more is taken for the wrong file. if_missing: what to do then.

    Raises:
        KeyMaterialError: it can't be read, is no regular file, is too large, or others can read it.
    """
    try:
        # Opened first and looked at after, so that what is checked is what is read. A FIFO must not block.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError as exc:
        raise KeyMaterialError(f"there is no {what} {file}", if_missing) from exc
    except (OSError, ValueError) as exc:
        raise KeyMaterialError(f"the {what} {file} can't be opened: {_reason(exc)}") from exc
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyMaterialError(f"{file} is not a regular file")
        if secret and is_open_to_others(descriptor):
            raise KeyMaterialError(
                f"the {what} {file} can be read by others than its owner",
                f"chmod 600 {file}, and make a new key if someone may have read it",
            )
        content = b""
        while piece := os.read(descriptor, limit_bytes + 1 - len(content)):
            content += piece
    except OSError as exc:
        raise KeyMaterialError(f"the {what} {file} can't be read: {_reason(exc)}") from exc
    finally:
        os.close(descriptor)
    if len(content) > limit_bytes:
        raise KeyMaterialError(f"{file} is too large for a {what}")
    return content


def _key_from_text(text: str, where: str) -> bytes:
    if not _HEX_KEY.match(text):
        raise KeyMaterialError(f"{where} does not hold a key of 64 hex digits")
    return bytes.fromhex(text)


def _reason(exc: Exception) -> str:
    return exc.strerror or "unreadable" if isinstance(exc, OSError) else "its name is not valid"
