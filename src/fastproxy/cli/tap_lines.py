"""One exchange of a tap, told in lines for people.

Everything that a peer has had a hand in is escaped, so that it can't steer a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import click

from fastproxy.telemetry.terminal import harmless

_COLOURS = {"2": "green", "3": "cyan", "4": "yellow", "5": "red"}
_OTHER_COLOUR = "magenta"


def lines_of(one: dict[str, Any], *, shows_heads: bool, name: str) -> Iterator[str]:
    """Yield the lines that tell of what came from a tap.

    Args:
        one: an exchange, or how many are missing. shows_heads: tell of heads and contents as well.
        name: of the proxy, as it was said.
    """
    if "dropped" in one:
        words = f"{one['dropped']} exchanges of {name} were not shown: too many at a time"
        yield click.style(words, fg="red")
        return
    at = datetime.fromtimestamp(one["started_unix_s"])
    colour = _COLOURS.get(str(one["status"])[0], _OTHER_COLOUR)  # services may answer with any three digits
    status = click.style(f"{one['status'] or '---'}", fg=colour, bold=True)
    caller, service = one["caller"] or "?", one["service"] or "?"
    call = " ".join(filter(None, (one["method"], one["path"])))
    cause = f"{one['cause']} in {one['phase']}" if one["cause"] else ""
    parts = [
        f"{at:%H:%M:%S}.{at.microsecond // 1000:03d}",
        harmless(one["hop"]),
        status,
        harmless(f"{caller} > {service}"),
        harmless(call),
        f"{one['duration_s'] * 1000:.1f} ms",
        click.style(harmless(cause), fg="red") if cause else "",
        harmless(one["endpoint"]) + (f" ({one['attempts']} attempts)" if one["attempts"] > 1 else ""),
        click.style(harmless(one["exchange"]), dim=True),
    ]
    yield "  ".join(filter(None, parts))
    if shows_heads:
        yield from _message(">", one["request"])
        yield from _message("<", one["answer"])


def _message(mark: str, head: dict[str, Any] | None) -> Iterator[str]:
    if head is None:
        return
    for field, value in head["fields"]:
        yield f"    {mark} {click.style(harmless(field), dim=True)}: {harmless(value)}"
    if head.get("is_cut"):
        yield f"    {mark} (more fields than are shown)"
    content = head.get("content")
    if content:
        shown = content.get("text") or f"{content.get('base64', '')} (base64)" * ("base64" in content)
        if shown:
            yield f"    {mark} {harmless(shown)}{' (and more)' if content.get('is_cut') else ''}"
