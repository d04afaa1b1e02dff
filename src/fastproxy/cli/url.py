"""URLs as callers of an out proxy ask for them: a path, one of its listener, or one of a service."""

from __future__ import annotations

from urllib.parse import urlsplit

import click

from fastproxy.config.address import Address, parse_address


def split_url(url: str) -> tuple[bytes, bytes]:
    """Return authority ("" for a path alone) and target of a URL.

    Raises:
        click.UsageError: it can't be asked for.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("", "http") or not (parts.netloc or url.startswith("/")):
            raise ValueError("write /PATH or http://HOST/PATH")
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return parts.netloc.encode("ascii"), target.encode("ascii")
    except ValueError as exc:
        words = "write characters outside ASCII as %XX" if isinstance(exc, UnicodeError) else str(exc)
        raise click.UsageError(f"this is not a URL that can be asked for: {words}") from exc


def is_listener(authority: str, listen: Address) -> bool:
    """Whether a URL's authority is one under which the listener itself is reached."""
    try:
        address = parse_address(authority)
    except ValueError:
        return False
    return address.port == listen.port and (address.host == listen.host or address.is_loopback)
