"""What `fastproxy top` shows of its readings, on a terminal of any width.

What doesn't fit is left out by what matters least: a narrow terminal shows no routes and no addresses.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fastproxy.cli.top_reading import FULL, Call, Reading, Told, calls_between, fullest, last_failures
from fastproxy.telemetry.terminal import harmless

SORTS = {"r": "rate", "e": "errors", "p": "p99", "n": "name"}
"""By key, what calls are sorted by."""
WIDE = 100
"""From so many columns on all is shown."""
_LINKS, _LIMITS = 6, 6
_SLOW_S, _MANY = 1.0, 0.01


def view(
    earlier: Sequence[Reading], later: Sequence[Reading], sort: str, width: int, height: int
) -> RenderableType:
    """Return what is shown.

    Args:
        earlier, later: two readings. sort: a word of SORTS. width, height: of the terminal; height 0 for one
            without an end.
    """
    is_wide = width >= WIDE
    calls = sorted(calls_between(earlier, later), key=_ORDERS[sort])
    limits, failures = fullest(later), last_failures(later)
    links = [(reading, link) for reading in later if not reading.why for link in reading.links["links"]]
    below = 9 + min(len(limits), _LIMITS) + min(len(links), _LINKS) + 2 * len(later) + len(failures)
    room = max(4, height - below) if height else len(calls)
    parts: list[RenderableType] = [_proxies(later, is_wide), _calls(calls, room, sort, is_wide)]
    if limits:
        parts.append(_limits(limits[:_LIMITS]))
    if links:
        parts.append(_links(links, is_wide))
    parts.append(_failures(failures, is_wide))
    return Group(*parts)


_ORDERS = {
    "rate": lambda call: (-call.per_s, call.caller, call.service, call.hop),
    "errors": lambda call: (-call.errors, -call.per_s, call.caller, call.service, call.hop),
    "p99": lambda call: (-(call.p99_s or 0.0), call.caller, call.service, call.hop),
    "name": lambda call: (call.caller, call.service, call.hop, call.route),
}


def _table(title: str, *headings: str) -> Table:
    """Make a table; a heading with > is that of numbers, one with * of what takes the room that there is."""
    table = Table(title=title, title_justify="left", title_style="bold", box=None, expand=True)
    for heading in headings:
        table.add_column(
            heading.rstrip(">*"),
            justify="right" if heading.endswith(">") else "left",
            ratio=1 if heading.endswith("*") else None,
            no_wrap=True,
            overflow="ellipsis",
            header_style="dim",
        )
    return table


def _text(words: str, style: str = "") -> Text:
    return Text(harmless(words), style)


def _proxies(readings: Sequence[Reading], is_wide: bool) -> Table:
    headings = ["proxy", "state*", "workers>", "conns>", "flying>", "memory>"]
    table = _table("Proxies", *headings, *(["loop lag>"] if is_wide else []))
    for reading in readings:
        if reading.why:
            table.add_row(_text(reading.at), _text(reading.why, "red"))
            continue
        proxy = reading.proxy
        workers = proxy["workers"]
        state = _text("ready", "green") if proxy["is_ready"] else _text(proxy["not_ready"], "red")
        lag_s = max((worker["loop_lag_s"] for worker in workers), default=0.0)
        table.add_row(
            _text(f"{proxy['name']} ({proxy['role']})"),
            state,
            str(len(workers)),
            str(sum(worker["connections"] for worker in workers)),
            str(sum(worker["in_flight"] for worker in workers)),
            f"{proxy['process']['resident_bytes'] / 2**20:.0f} MiB",
            *([_duration(lag_s)] if is_wide else []),
        )
    return table


def _calls(calls: Sequence[Call], room: int, sort: str, is_wide: bool) -> Table:
    title = f"Who calls whom, by {sort}"
    if len(calls) > room:
        title += f" (the first {room} of {len(calls)})"
    headings = ["caller > service*", *(["route*"] if is_wide else []), "at"]
    table = _table(title, *headings, "per s>", "errors>", "p50>", "p99>")
    for call in calls[:room]:
        is_slow = call.p99_s is not None and call.p99_s >= _SLOW_S
        table.add_row(
            _text(f"{call.caller or '?'} > {call.service or '?'}"),
            *([_text(call.route)] if is_wide else []),
            _text(call.hop),
            f"{call.per_s:.1f}" if call.per_s else "-",
            Text(f"{100 * call.errors:.1f} %" if call.per_s else "-", "red" if call.errors >= _MANY else ""),
            _duration(call.p50_s),
            Text(("> " if call.is_beyond else "") + _duration(call.p99_s), "yellow" if is_slow else ""),
        )
    if not calls:
        table.add_row(_text("nobody has called yet", "dim"))
    return table


def _limits(limits: Sequence[tuple[str, str, float, str]]) -> Table:
    table = _table(f"Limits that are {100 * FULL:.0f} % full or more", "limit*", "at", "used>", ">")
    for hop, which, part, words in limits:
        table.add_row(
            _text(which), _text(hop), Text(f"{100 * part:.0f} %", "red" if part >= 1 else "yellow"), words
        )
    return table


def _links(links: Sequence[tuple[Reading, Told]], is_wide: bool) -> Table:
    title = "Links" if len(links) <= _LINKS else f"Links (the oldest {_LINKS} of {len(links)})"
    table = _table(
        title, "caller > receiver*", "at", *(["peer*"] if is_wide else []), "open>", "rtt>", "age>"
    )
    now_unix_s = time.time()
    for reading, link in sorted(links, key=lambda one: one[1]["opened_unix_s"])[:_LINKS]:
        table.add_row(
            _text(f"{link['caller']} > {link['receiver']}", "dim" if link["is_leaving"] else ""),
            _text(reading.proxy["name"]),
            *([_text(link["peer"])] if is_wide else []),
            str(link["streams_open"]),
            _duration(link["rtt_s"]),
            _age(now_unix_s - link["opened_unix_s"]),
        )
    return table


def _failures(failures: Sequence[tuple[Told, int]], is_wide: bool) -> Table:
    headings = ["last>", "times>", "cause", "at", "caller > service*"]
    table = _table("Last failures", *headings, *(["detail*"] if is_wide else []))
    now_unix_s = time.time()
    for one, count in failures:
        table.add_row(
            f"{_age(now_unix_s - one['at_unix_s'])} ago",
            str(count),
            _text(one["cause"], "red"),
            _text(one["hop"]),
            _text(f"{one['caller'] or '?'} > {one['service'] or '?'}"),
            *([_text(one["detail"] or one["title"])] if is_wide else []),
        )
    if not failures:
        table.add_row("none")
    return table


def _duration(duration_s: float | None) -> str:
    if duration_s is None:
        return "-"
    return f"{duration_s * 1000:.1f} ms" if duration_s < 1 else f"{duration_s:.2f} s"


def _age(age_s: float) -> str:
    for unit, size_s in (("d", 86_400), ("h", 3600), ("m", 60)):
        if age_s >= size_s:
            return f"{age_s / size_s:.0f} {unit}"
    return f"{max(0.0, age_s):.0f} s"
