"""Key material that a config names: read from files or the environment, checked, never shown.

A key file holds 64 hex digits on a line; lines that start with `#` are comments. The keys of `compat` and
tokens are text: their file is that one line, taken as it stands. A file with a secret that group or others
can read is refused: the secret must be taken as known to them.
Knows nothing of what keys are used for on the wire.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fastproxy.config.schema_parts import KeySource
from fastproxy.config.secret import Secret

FILE_LIMIT_BYTES = 4096
"""Protects against a wrong file named as a key."""

_FIELD_PRIME = 2**255 - 19
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
    content = read_file(file, secret=secret)
    lines = [line.strip() for line in content.decode("ascii", "replace").splitlines()]
    keys = [_key_from_text(line, str(file)) for line in lines if line and not line.startswith("#")]
    if not keys:
        raise KeyMaterialError(f"{file} holds no key")
    return keys


def public_from_private(private_key: Secret) -> bytes:
    """Return the X25519 public key, 32 bytes, of a private key."""
    return X25519PrivateKey.from_private_bytes(private_key.reveal()).public_key().public_bytes_raw()


def is_usable_public_key(public_key: bytes) -> bool:
    """Whether a public key, 32 bytes, protects anything, and is the only spelling of its point.

    With a point of low order every shared secret is zero (RFC 7748, section 6.1); with a second spelling
    one key could bear two names.
    """
    if int.from_bytes(public_key, "little") >= _FIELD_PRIME:
        return False
    try:
        X25519PrivateKey.from_private_bytes(b"\x01" * 32).exchange(
            X25519PublicKey.from_public_bytes(public_key)
        )
    except ValueError:
        return False
    return True


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
    file: Path,
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
        if secret and status.st_mode & 0o077:
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
