"""`fastproxy keys revoke`: a public key of a caller is known no longer."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from fastproxy.cli.key_subject import load_config, refusal
from fastproxy.config.keys import KeyMaterialError, read_public_key_file
from fastproxy.config.snapshot import InSnapshot
from fastproxy.config.whole_file import write_whole
from fastproxy.wire.identity import key_id

_KEY = re.compile(r"[0-9a-fA-F]{64}|[0-9a-fA-F]{16}")
_LEFT = 1


@click.command()
@click.argument("place", metavar="CONFIG_OR_FOLDER", type=click.Path(path_type=Path, exists=True))
@click.argument("what", metavar="KEY|NAME")
def revoke(place: Path, what: str) -> None:
    """Take a public key, or all keys of a caller, out of a folder of callers.

    CONFIG_OR_FOLDER is the config of an in proxy, or its `callers_dir`. KEY is a public key, or its key id,
    as `keys show` prints them; NAME is that of a caller. Running proxies cut the links under the key within a
    second, and open nothing that was sealed with it. What the config itself says of the key has to be deleted
    there: this says where.

    Exit status: 0 when the key is known no longer; 1 when it isn't there, or still stands in the config.
    """
    snapshot = None if place.is_dir() else _in_config(place)
    folder: Path | None = place
    lines: list[str] = []
    if snapshot is not None:
        folder = None if snapshot.callers_dir is None else snapshot.callers_dir.folder
        lines = list(_lines_of(place, snapshot, what))
    try:
        done = [] if folder is None else list(_revoke_in(folder, what))
    except (KeyMaterialError, OSError) as error:
        raise refusal(error) from error
    for revoked in done:
        click.echo(revoked.words)
        if snapshot is not None and revoked.is_last:
            for grant in snapshot.grants:
                if revoked.name in snapshot.config.privileges[grant.index].callers:
                    advice = f"`privileges` name {revoked.name}: delete it before the next reload"
                    click.echo(f"{place}:{grant.line}: {advice}")
    for line in lines:
        click.echo(line)
    if lines:
        click.echo("nothing else takes it out: delete these lines, then reload the in proxy")
        sys.exit(_LEFT)
    if not done:
        raise click.ClickException(
            f"{what} is not known in {place}; `fastproxy keys show FILE` prints key ids"
        )
    click.echo("running proxies that read this folder cut its links within a second")


def _in_config(file: Path) -> InSnapshot:
    snapshot = load_config(str(file))
    if not isinstance(snapshot, InSnapshot):
        raise click.ClickException(f"{file} is the config of an out proxy; callers are known at in proxies")
    return snapshot


class _Revoked(NamedTuple):
    """What was taken out of a folder, in words. name: of the caller. is_last: it has no key there now."""

    words: str
    name: str
    is_last: bool


def _names_key(what: str, key: bytes) -> bool:
    """Whether KEY is this public key (32 bytes), or its id."""
    return bool(_KEY.fullmatch(what)) and what.lower() in (key.hex(), key_id(key).hex())


def _revoke_in(folder: Path, what: str) -> Iterator[_Revoked]:
    """Take a caller, or a key of whichever caller, out of a folder; say what was done."""
    named = folder / f"{what}.pub"
    if named.is_file() and named.parent == folder:
        ids = ", ".join(key_id(key).hex() for key in read_public_key_file(named))
        named.unlink()
        yield _Revoked(f"{named}: removed, with the key id(s) {ids}", what, True)
        return
    for file in sorted(folder.glob("*.pub")):
        try:
            keys = list(read_public_key_file(file))
        except KeyMaterialError:
            continue  # it gives nobody a key
        revoked = [key for key in keys if _names_key(what, key)]
        if not revoked:
            continue
        identifier = key_id(revoked[0]).hex()
        if len(keys) == 1:
            file.unlink()
            yield _Revoked(f"{file}: removed, its only key had the id {identifier}", file.stem, True)
            continue
        left = [line for line in file.read_text().splitlines() if revoked[0].hex() not in line.lower()]
        status = file.stat()
        write_whole(
            file, "".join(f"{line}\n" for line in left).encode(), mode=status.st_mode & 0o777, owner=status
        )
        words = f"{file}: the key with the id {identifier} is out, {len(keys) - 1} left"
        yield _Revoked(words, file.stem, False)


def _lines_of(config: Path, snapshot: InSnapshot, what: str) -> Iterator[str]:
    """Say which lines of a config make a key, or the keys of a caller, known."""
    written = [peer for peer in snapshot.callers.values() if peer.line]
    texts = config.read_text().splitlines()
    for peer in written:
        if peer.name == what:
            yield f"{config}:{peer.line}: callers.{peer.name}: delete it, and where `privileges` name it"
            continue
        for key in peer.public_keys:
            if _names_key(what, key):
                places = [n for n, text in enumerate(texts, 1) if key.hex() in text.lower()] or [peer.line]
                words = f"callers.{peer.name}: delete the key with the id {key_id(key).hex()}"
                yield from (f"{config}:{number}: {words}" for number in places)
