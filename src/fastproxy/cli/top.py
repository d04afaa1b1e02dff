"""`fastproxy top`: who calls whom at running proxies, how often and how well, at a terminal."""

from __future__ import annotations

import os
import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from fastproxy.cli.admin_target import AT_HELP, admins_of
from fastproxy.cli.top_reading import read_all
from fastproxy.cli.top_view import SORTS, view
from fastproxy.telemetry.terminal import harmless

_KEYS = "q quit   sort by: " + "  ".join(f"{key} {word}" for key, word in SORTS.items())
_OK, _NOBODY = 0, 1


@click.command()
@click.option("--at", "targets", multiple=True, metavar="TARGET", help=AT_HELP)
@click.option("--token-file", metavar="FILE", help="File with the token of the admin addresses.")
@click.option(
    "--interval", type=click.FloatRange(0.2, 60), default=1.0, show_default=True, metavar="SECONDS",
    help="Time between two readings; rates and quantiles are of that time.",
)  # fmt: skip
@click.option(
    "--sort", type=click.Choice(list(SORTS.values())), default="rate", show_default=True,
    help="What calls are sorted by.",
)  # fmt: skip
@click.option("--once", is_flag=True, help="Show one reading as text, and end.")
def top(targets: tuple[str, ...], token_file: str | None, interval: float, sort: str, once: bool) -> None:
    """Show who calls whom at running proxies: rates, errors, latencies, limits, links, and the last failures.

    \b
      fastproxy top
      fastproxy top --at out.yaml --at in.yaml
      fastproxy top --at 127.0.0.1:9034 --token-file admin.token --once

    Keys: q ends; r, e, p and n sort by rate, errors, p99 and name. Two proxies of one call both count it: the
    out proxy's times have the whole way in them, the in proxy's that from there on.

    Exit codes: 0; 1 none of the proxies could be asked.
    """
    admins = admins_of(targets, token_file)
    console = Console()
    earlier = read_all(admins)
    if all(reading.why for reading in earlier):
        for reading in earlier:
            click.echo(harmless(f"{reading.at}: {reading.why}"), err=True)
        sys.exit(_NOBODY)
    if once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        time.sleep(interval)
        console.print(view(earlier, read_all(admins), sort, console.width, 0))
        sys.exit(_OK)
    later = earlier
    with _keys() as keyboard, Live(console=console, screen=True, auto_refresh=False) as live:
        due_s = time.monotonic()
        while True:
            shown = view(earlier, later, sort, console.width, console.height - 1)
            live.update(_with_keys(shown), refresh=True)
            due_s = max(due_s + interval, time.monotonic())
            try:
                key = _key_until(due_s, keyboard)
            except KeyboardInterrupt:
                break
            if key == "q":
                break
            if key:
                sort = SORTS.get(key, sort)
                due_s -= interval
                continue
            earlier, later = later, read_all(admins)
    sys.exit(_OK)


def _with_keys(shown: RenderableType) -> RenderableType:
    return Group(Text(_KEYS, "reverse"), shown)


@contextmanager
def _keys() -> Iterator[int]:
    """Have keys come one by one, unseen; yields the descriptor that they come from."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield keyboard
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)


def _key_until(due_s: float, keyboard: int) -> str:
    """Return the key that is pressed until then (monotonic time in seconds), "" for none."""
    left_s = max(0.0, due_s - time.monotonic())
    if not select.select([keyboard], [], [], left_s)[0]:
        return ""
    return os.read(keyboard, 1).decode("latin-1").lower() or "q"
