"""`fastproxy keys`: make key pairs, and show what may be shown of them; what changes them stands beside."""

from __future__ import annotations

import os
import re
import time
from math import inf
from pathlib import Path

import click

from fastproxy.cli.keys_revoke import revoke
from fastproxy.cli.keys_rotate import rotate
from fastproxy.cli.keys_status import status
from fastproxy.config.key_dates import DAY_S, shown_date
from fastproxy.config.keys import KeyMaterialError, read_key_file, read_public_key_file
from fastproxy.config.schema_parts import NAME_PATTERN
from fastproxy.wire.identity import PrivateKey, format_public_key, key_id

FOLDER_OPTION = click.option(
    "-d",
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    help="Where to write.",
)


@click.group()
def keys() -> None:
    """Make, show, rotate and revoke the key pairs by which callers and receivers prove who they are."""


keys.add_command(rotate)
keys.add_command(status)
keys.add_command(revoke)


@keys.command()
@click.argument("name")
@FOLDER_OPTION
@click.option(
    "--days", type=click.IntRange(1, 36_500), help="Have the public key end by itself so many days from now."
)
def new(name: str, folder: Path, days: int | None) -> None:
    """Make a key pair: NAME.key, which only its owner may read, and NAME.pub, which others need.

    With --days NAME.pub bears a date, which counts in a folder of callers; in a config it has to be written
    beside the key, as it is printed here.
    """
    check_name(name)
    key_file, public_file = folder / f"{name}.key", folder / f"{name}.pub"
    for file in (key_file, public_file):
        refuse_to_overwrite(file)
    not_after = "" if days is None else shown_date(time.time() + days * DAY_S)
    private_key = write_key_pair(name, folder, not_after)
    click.echo(f"{key_file}: private key, keep it on the machine of {name}")
    click.echo(f"{public_file}: public key, for the configs of those who talk to {name}")
    public_key = format_public_key(private_key.public_key)
    click.echo(f"{{key: {public_key}, not_after: {not_after}}}" if not_after else public_key)


@keys.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
def show(files: tuple[Path, ...]) -> None:
    """Show name, public key and key id of key files; of a private key (NAME.key) too, only these."""
    for file in files:
        is_public = file.suffix == ".pub"
        try:
            dates = read_public_key_file(file) if is_public else _public_keys(file)
            for public_key, not_after_unix_s in dates.items():
                date = f"  not_after {shown_date(not_after_unix_s)}" if not_after_unix_s < inf else ""
                identifier = key_id(public_key).hex()
                click.echo(f"{file.stem}  {format_public_key(public_key)}  id {identifier}{date}")
        except KeyMaterialError as exc:
            advice = f"; {exc.suggestion}" if exc.suggestion else ""
            raise click.ClickException(f"{exc.message}{advice}") from exc


def _public_keys(file: Path) -> dict[bytes, float]:
    return {PrivateKey(key).public_key: inf for key in read_key_file(file, secret=True)}


def check_name(name: str) -> None:
    """Refuse what can't be the name of a caller, receiver or service.

    Raises:
        click.ClickException: it can't.
    """
    if not re.search(NAME_PATTERN, name):
        raise click.ClickException(f"{name!r} is not a name: letters, digits, `.`, `_` and `-`, at most 128")


def refuse_to_overwrite(file: Path) -> None:
    """Make sure that a file isn't there yet.

    Raises:
        click.ClickException: it is.
    """
    if file.exists() or file.is_symlink():
        raise click.ClickException(f"{file} is there already; move it away, or choose another name or folder")


def write_key_pair(name: str, folder: Path, not_after: str = "") -> PrivateKey:
    """Make a key pair, write NAME.key (mode 0600) and NAME.pub into `folder`, and return it.

    Args:
        not_after: date of the public key, as configs write it; "" for none.

    Raises:
        click.ClickException: a file can't be written, or is there already.
    """
    private_key = PrivateKey(os.urandom(32))
    write_new(folder / f"{name}.key", private_key.reveal() + "\n", mode=0o600)
    public_key = format_public_key(private_key.public_key)
    line = f"{public_key} not_after {not_after}" if not_after else public_key
    write_new(folder / f"{name}.pub", line + "\n", mode=0o644)
    return private_key


def write_new(file: Path, content: str, *, mode: int) -> None:
    """Write a file that isn't there yet.

    Args:
        file: its folder is made when missing. mode: permissions, from the first moment on.

    Raises:
        click.ClickException: it can't be written, or is there already.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(content)
    except OSError as exc:
        raise click.ClickException(f"{file} can't be written: {exc.strerror}") from exc
