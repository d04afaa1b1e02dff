"""The admin addresses that a command asks: given ones, or those of all proxies of this user that run here."""

from __future__ import annotations

from collections.abc import Sequence

import click

from fastproxy.cli.admin_request import read_token
from fastproxy.cli.control import find, running
from fastproxy.cli.profile_target import Target, find_target
from fastproxy.telemetry.terminal import harmless

AT_HELP = (
    "A proxy to ask: its config file, the id of its process, or its admin address (URL, HOST:PORT or "
    "unix:/PATH). Repeat it for each. Without it, all of yours that run on this machine."
)


def is_address(target: str) -> bool:
    """Whether this says an address, and not a file or a process."""
    if target.startswith(("http://", "unix:")):
        return True
    _, _, port = target.rpartition(":")
    return port != target and port.isdigit()


def admins_of(targets: Sequence[str], token_file: str | None) -> dict[str, Target]:
    """Return the admin addresses to ask, by what they were said as.

    Args:
        targets: what was said; none for all that run. token_file: file with the token for addresses.

    Raises:
        click.ClickException: one of those that were said can't be asked, or nothing runs that can be.
    """
    token = read_token(token_file) if token_file is not None else ""
    if targets:
        return {target: _admin_of(target, token) for target in targets}
    found: dict[str, Target] = {}
    for pid in running():
        try:
            found[pid] = _admin_of(pid, token)
        except click.ClickException as error:
            click.echo(harmless(f"{pid} can't be asked: {error.message}"), err=True)
    if not found:
        raise click.ClickException(
            "no proxy of yours runs on this machine that can be asked; say where a proxy's admin address is: "
            "--at HOST:PORT"
        )
    return found


def _admin_of(target: str, token: str) -> Target:
    admin = find_target(target if is_address(target) else str(find(target)))
    return Target(admin.address, admin.token or token)
