"""`fastproxy reload` and `fastproxy diff`: what a changed config would change, and have it change that."""

from __future__ import annotations

from typing import Any

import click

from fastproxy.cli.control import ask

_PATIENCE_S = 120.0
"""A config of 100,000 callers takes ten seconds to read, and its workers as long to begin."""

_HOW = {
    "nothing": "nothing changes",
    "in place": "the workers go on with it; no connection is closed",
    "new workers": "new workers take connections before the former ones drain",
}

_TARGET_HELP = "TARGET is the config file that the proxy runs, or the id of its process."


@click.command(help=f"Have a running proxy load its config file anew.\n\n{_TARGET_HELP}\n\n"
               "Exit codes: 0 it goes on with it; 1 it refuses it, and serves on as before.")  # fmt: skip
@click.argument("target")
def reload(target: str) -> None:
    """Have a running proxy load its config file anew."""
    said = ask(target, "reload", {}, _PATIENCE_S)
    click.echo(f"Reloaded: {_HOW[said['how']]}.")
    _show(said["changes"])


@click.command(help=f"Show what a reload would change.\n\n{_TARGET_HELP}\n\n"
               "Exit codes: 0 the config could be taken; 1 it would be refused.")  # fmt: skip
@click.argument("target")
def diff(target: str) -> None:
    """Show what a reload would change."""
    said = ask(target, "diff", {}, _PATIENCE_S)
    click.echo(f"A reload would be taken: {_HOW[said['how']]}.")
    _show(said["changes"])


def _show(changes: list[dict[str, Any]]) -> None:
    for change in changes:
        note = "   (takes new workers)" if change["takes_processes"] else ""
        click.echo(f"  {change['path']}: {change['before']} -> {change['after']}{note}")
