"""`fastproxy keys`: make key pairs, and show what may be shown of them."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from fastproxy.config.keys import KeyMaterialError, read_key_file
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
    """Make and show the key pairs by which callers and receivers prove who they are."""


@keys.command()
@click.argument("name")
@FOLDER_OPTION
def new(name: str, folder: Path) -> None:
    """Make a key pair: NAME.key, which only its owner may read, and NAME.pub, which others need."""
    check_name(name)
    key_file, public_file = folder / f"{name}.key", folder / f"{name}.pub"
    for file in (key_file, public_file):
        refuse_to_overwrite(file)
    private_key = write_key_pair(name, folder)
    click.echo(f"{key_file}: private key, keep it on the machine of {name}")
    click.echo(f"{public_file}: public key, for the configs of those who talk to {name}")
    click.echo(format_public_key(private_key.public_key))


@keys.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
def show(files: tuple[Path, ...]) -> None:
    """Show name, public key and key id of key files; of a private key (NAME.key) too, only these."""
    for file in files:
        is_public = file.suffix == ".pub"
        try:
            for key in read_key_file(file, secret=not is_public):
                public_key = key if is_public else PrivateKey(key).public_key
                identifier = key_id(public_key).hex()
                click.echo(f"{file.stem}  {format_public_key(public_key)}  id {identifier}")
        except KeyMaterialError as exc:
            advice = f"; {exc.suggestion}" if exc.suggestion else ""
            raise click.ClickException(f"{exc.message}{advice}") from exc


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


def write_key_pair(name: str, folder: Path) -> PrivateKey:
    """Make a key pair, write NAME.key (mode 0600) and NAME.pub into `folder`, and return it.

    Raises:
        click.ClickException: a file can't be written, or is there already.
    """
    private_key = PrivateKey(os.urandom(32))
    write_new(folder / f"{name}.key", private_key.reveal() + "\n", mode=0o600)
    write_new(folder / f"{name}.pub", format_public_key(private_key.public_key) + "\n", mode=0o644)
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
