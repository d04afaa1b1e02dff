"""The command line: `fastproxy COMMAND`, one file per command.

A command's module is imported when the command is called, so that `run` doesn't pay for what only people
who look at the others need.
"""

from __future__ import annotations

from importlib import import_module

import click

_COMMANDS = {
    "bench": "fastproxy.cli.bench:bench",
    "call": "fastproxy.cli.call:call",
    "center": "fastproxy.cli.center:center",
    "check": "fastproxy.cli.check:check",
    "demo": "fastproxy.cli.demo:demo",
    "diff": "fastproxy.cli.reload:diff",
    "explain": "fastproxy.cli.explain:explain",
    "init": "fastproxy.cli.init:init",
    "keys": "fastproxy.cli.keys:keys",
    "migrate": "fastproxy.cli.migrate:migrate",
    "profile": "fastproxy.cli.profile:profile",
    "reload": "fastproxy.cli.reload:reload",
    "run": "fastproxy.cli.run:run",
    "stop": "fastproxy.cli.stop:stop",
    "tap": "fastproxy.cli.tap:tap",
    "top": "fastproxy.cli.top:top",
    "upgrade": "fastproxy.cli.upgrade:upgrade",
    "wait": "fastproxy.cli.wait:wait",
    "why": "fastproxy.cli.why:why",
}


class _LazyGroup(click.Group):
    """Finds commands by the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="fastproxy-link", prog_name="fastproxy")
def main() -> None:
    """Service proxies: plain HTTP at both edges, sealed and authenticated between."""
