"""`fastproxy migrate`: configs of the Go original to a set of our own that `fastproxy run` takes as it is."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from fastproxy.cli.keys import FOLDER_OPTION, check_name, refuse_to_overwrite, write_new
from fastproxy.config.address import parse_address, parse_center_url
from fastproxy.config.keys import KeyMaterialError, read_key_file
from fastproxy.config.load import load, read_text
from fastproxy.config.migrate.migration import Migration
from fastproxy.config.migrate.migration import migrate as make_migration
from fastproxy.config.migrate.plan import KEY_FOLDER, Target
from fastproxy.config.migrate.source import Change
from fastproxy.config.problem import ConfigError, Problem
from fastproxy.policy.pattern import parse_pattern

_TABLE_WIDTH = 200
"""Columns of the table where no terminal tells: lines that a program reads shouldn't be broken."""


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="OLD.yaml...")
@click.option(
    "--transport",
    type=click.Choice(["link", "http", "compat"]),
    default="link",
    show_default=True,
    help="Way between the proxies. link and http make an identity for each caller and receiver, for both "
    "sides at once; compat keeps the original's wire format and keys, so that one side can move first.",
)
@click.option(
    "--service",
    "services",
    multiple=True,
    metavar="NAME=HOST:PORT",
    help="A service, and where it listens; just NAME without an in proxy's file. Can be given several times.",
)
@click.option("--center", default="", metavar="URL", help="Where other services are looked up.")
@FOLDER_OPTION
@click.option("--explain", is_flag=True, help="Also print what became of each setting.")
@click.option(
    "--force",
    is_flag=True,
    help="Replace files that are there; private keys (keys/NAME.key) are kept and used.",
)
def migrate(
    files: tuple[str, ...],
    transport: str,
    services: tuple[str, ...],
    center: str,
    folder: Path,
    explain: bool,
    force: bool,
) -> None:
    """Turn config files of the Go original into a set that `fastproxy run` takes.

    Give all files that belong together: those of out proxies and of in proxies. Written are out.yaml, in.yaml
    (out-2.yaml and so on where there are more) and the folder keys, each setting with a comment.
    """
    target = Target(transport, _parse_services(services), _check_center(center))
    try:
        migration = make_migration(
            _read_all(files), target, check_path=parse_pattern, private_key=_private_keys(folder)
        )
    except ConfigError as exc:
        raise click.ClickException(f"nothing was written\n{exc}") from exc
    _write(migration, folder, force)
    _check_result(migration, folder)
    if explain:
        _print_changes(migration.changes)
    _print_result(migration, folder, target)


# --- what comes in ------------------------------------------------------------------------------------------


def _parse_services(services: tuple[str, ...]) -> dict[str, str]:
    endpoints: dict[str, str] = {}
    for text in services:
        name, equals, address = text.partition("=")
        check_name(name)
        if name in endpoints:
            raise click.ClickException(f"--service {name} is given twice")
        try:
            endpoints[name] = str(parse_address(address)) if equals else ""
        except ValueError as exc:
            raise click.ClickException(f"--service {text}: {exc}") from exc
    return endpoints


def _check_center(url: str) -> str:
    try:
        return url and f"http://{parse_center_url(url)}"
    except ValueError as exc:
        raise click.ClickException(f"--center {url}: {exc}") from exc


def _read_all(files: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return name and text of each file.

    Raises:
        ConfigError: one can't be read, or is named twice; holds all problems.
    """
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    for file in files:
        if file in texts:
            problems.append(Problem(file, 0, "", "the file is named twice"))
        try:
            texts[file] = read_text(Path(file), file)
        except ConfigError as exc:
            problems += exc.problems
    if problems:
        raise ConfigError(problems)
    return list(texts.items())


def _private_keys(folder: Path) -> Callable[[str], bytes]:
    """Return what gives each identity its key: the one that is there, which others may know, or a new one."""

    def private_key(name: str) -> bytes:
        file = folder / name
        if not file.exists():
            return os.urandom(32)
        try:
            (key,) = read_key_file(file, secret=True)
        except (KeyMaterialError, ValueError) as exc:
            advice = exc.suggestion if isinstance(exc, KeyMaterialError) else "it holds several keys"
            raise click.ClickException(f"{file} can't be used: {advice}") from exc
        return key

    return private_key


# --- what goes out ------------------------------------------------------------------------------------------


def _write(migration: Migration, folder: Path, force: bool) -> None:
    contents = [(folder / name, text + "\n", 0o600) for name, text in migration.secrets.items()]
    contents += [(folder / name, text, 0o644) for name, text in migration.configs.items()]
    if not force:
        for file, _, _ in contents:
            refuse_to_overwrite(file)
    key_folder = folder / KEY_FOLDER
    try:
        folder.mkdir(parents=True, exist_ok=True)
        key_folder.mkdir(mode=0o700, exist_ok=True)
        _check_key_folder(key_folder)
        # All is written before anything is replaced: what breaks off in between must not cost a private key.
        for file, text, mode in contents:
            _beside(file).unlink(missing_ok=True)
            write_new(_beside(file), text, mode=mode)
        for file, _, _ in contents:
            _beside(file).replace(file)
    except OSError as exc:
        raise click.ClickException(f"{exc.filename or folder} can't be written: {exc.strerror}") from exc
    finally:
        for file, _, _ in contents:
            with contextlib.suppress(OSError):
                _beside(file).unlink(missing_ok=True)


def _beside(file: Path) -> Path:
    """Where a file is written before it takes its place."""
    return file.with_name(f".{file.name}.new")


def _check_key_folder(folder: Path) -> None:
    """Refuse a folder in which somebody else could put a key of theirs in the place of ours."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise click.ClickException(
            f"{folder} is there already, and not a folder that you alone can write to; move it away"
        )


def _check_result(migration: Migration, folder: Path) -> None:
    """Make sure that the configs load as they stand, as `run` will load them."""
    for name in migration.configs:
        try:
            load(folder / name, check_pattern=parse_pattern)
        except ConfigError as exc:
            raise click.ClickException(f"{folder / name} was written but can't be used\n{exc}") from exc


def _print_changes(changes: tuple[Change, ...]) -> None:
    # Brackets in the names of settings are no markup.
    console = Console(
        width=None if sys.stdout.isatty() else _TABLE_WIDTH, markup=False, highlight=False, emoji=False
    )
    for file in dict.fromkeys(change.file for change in changes):
        table = Table(title=file, title_justify="left")
        for heading in ("line", "before", "value", "after", "remark"):
            table.add_column(heading, overflow="fold")  # a name that is cut short says nothing
        for change in changes:
            if change.file == file:
                after = change.becomes or "dropped"
                table.add_row(str(change.line), change.setting, change.value, after, change.reason)
        console.print(table)


def _print_result(migration: Migration, folder: Path, target: Target) -> None:
    for name, origin in migration.origins.items():
        click.echo(f"{folder / name}: from {origin}")
    if migration.secrets:
        secrets = f"{len(migration.secrets)} secret(s)"
        click.echo(f"{folder / KEY_FOLDER}: {secrets}; take each only to the machines that need it")
    dropped = sum(not change.becomes for change in migration.changes)
    if dropped:
        click.echo(f"{dropped} setting(s) were dropped; the end of each file says why")
    for note in migration.notes:
        click.echo(f"Note: {note}")
    if target.transport == "compat":
        click.echo("Note: compat protects weakly; once both sides are migrated: --transport link")
    click.echo("\nStart them, each in a terminal of its own:\n")
    for name in sorted(migration.configs):  # in proxies first, so that calls find them
        click.echo(f"    fastproxy run {folder / name}")
