"""Where a proxy's admin address is, and what lets in there: from a URL, or from the config of a process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click

from fastproxy.config.address import Address, parse_address
from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError
from fastproxy.policy.pattern import parse_pattern

_MODULE = "fastproxy.supervisor"
"""What `fastproxy run FILE` becomes: `python -m fastproxy.supervisor FILE`."""
_WORKER_MODULE = "fastproxy.app.worker"
"""What that starts; the config is its parent's to name."""


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
    folder = Path(f"/proc/{pid}")
    try:
        arguments = _arguments(folder)
        if _module(arguments) == _WORKER_MODULE:
            folder = Path(f"/proc/{_parent(folder)}")
            arguments = _arguments(folder)
        file = folder.joinpath("cwd").resolve(strict=True) / _config_file(arguments)
        variables = (folder / "environ").read_bytes().decode(errors="surrogateescape").split("\0")
    except FileNotFoundError as error:
        raise click.ClickException(f"there is no process {pid}") from error
    except PermissionError as error:
        raise click.ClickException(f"process {pid} belongs to another user; run this as that user") from error
    except LookupError as error:
        raise click.ClickException(
            f"process {pid} is not a proxy that `fastproxy run` started; give its admin address instead"
        ) from error
    environ = dict(variable.split("=", 1) for variable in variables if "=" in variable)
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


def _arguments(folder: Path) -> list[str]:
    """Return the command line of a process. folder: of /proc."""
    return (folder / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")


def _parent(folder: Path) -> int:
    """Return the id of a process's parent (proc_pid_status(5))."""
    rows = (row.partition(":") for row in (folder / "status").read_text().splitlines())
    return next(int(value) for name, _, value in rows if name == "PPid")


def _module(arguments: list[str]) -> str:
    """Return the module that a command line runs, "" for none."""
    return arguments[arguments.index("-m") + 1] if "-m" in arguments else ""


def _config_file(arguments: list[str]) -> str:
    """Return the file that a proxy's command line names.

    Raises:
        LookupError: this is the command line of something else.
    """
    if _module(arguments) != _MODULE:
        raise LookupError
    return arguments[arguments.index("-m") + 2]
