"""Where a proxy's admin address is, and what lets in there: from a URL, or from the config of a process."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

import click

from fastproxy.cli.control import PROCESSES, config_file, is_ours
from fastproxy.config.address import Address, parse_address
from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError
from fastproxy.policy.pattern import parse_pattern

_WORKER_MODULE = b"fastproxy.app.worker"
"""What a proxy's process starts; the config is its parent's to name."""


@dataclass(frozen=True, slots=True)
class Target:
    """An admin address to ask.

    token: what lets in; "" for none. Kept out of what is shown of this.
    """

    address: Address
    token: str

    def __repr__(self) -> str:
        return f"Target({self.address})"


def find_target(text: str) -> Target:
    """Return what a URL, an address or the id of a process stands for.

    Raises:
        click.ClickException: it stands for nothing that can be asked; the message says what to do.
    """
    if text.isascii() and text.isdigit():
        return _target_of_process(int(text))
    try:
        if not text.startswith("http://"):
            return Target(parse_address(text), "")
        parts = urlsplit(text)
        if parts.path not in ("", "/") or parts.query:
            raise ValueError("leave the path out: `--kind` says which profile is meant")
        host = parts.netloc.rpartition("@")[2]
        return Target(parse_address(host), unquote(parts.password or ""))
    except ValueError as error:
        advice = "http://HOST:PORT, unix:/PATH or the id of a process"
        raise click.UsageError(f"the target is {advice}: {error}") from error


def _target_of_process(pid: int) -> Target:
    """Find the admin address of a proxy by the config that one of its processes runs."""
    try:
        owner = _owner(pid)
        if not is_ours(owner):  # its config may name secrets that this user may read, and it may not
            raise PermissionError
        file = config_file(owner).resolve(strict=True)
        variables = (PROCESSES / str(owner) / "environ").read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError as error:
        raise click.ClickException(f"there is no process {pid}") from error
    except PermissionError as error:
        raise click.ClickException(
            f"process {pid} belongs to another user; run this as that user, or give the proxy's admin address"
        ) from error
    except LookupError as error:
        raise click.ClickException(
            f"process {pid} is not a proxy that `fastproxy run` started; give its admin address instead"
        ) from error
    environ = dict(variable.split("=", 1) for variable in variables.split("\0") if "=" in variable)
    try:
        admin = load(file, check_pattern=parse_pattern, environ=environ).admin
    except ConfigError as error:
        raise click.ClickException(
            f"the config of process {pid} can't be used any more; give its admin address instead\n{error}"
        ) from error
    if admin is None:
        raise click.ClickException(f"{file} has no admin address; add `admin: {{address: …}}` and restart")
    address = admin.address
    if not address.is_unix and not address.port:
        raise click.ClickException(
            f"{file} leaves the admin port to the system; give the address that the proxy logged at its start"
        )
    return Target(address, admin.token.reveal().decode() if admin.token is not None else "")


def _owner(pid: int) -> int:
    """Return the process that owns the proxy which a process is of: a worker's parent, or itself.

    Source: proc_pid_status(5).
    """
    folder = PROCESSES / str(pid)
    arguments = (folder / "cmdline").read_bytes().split(b"\0")
    if _WORKER_MODULE not in arguments:
        return pid
    rows = (row.partition(":") for row in (folder / "status").read_text().splitlines())
    return next(int(value) for name, _, value in rows if name == "PPid")
