"""`fastproxy keys status`: how old keys are, when they end, and who uses which."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

import click

from fastproxy.cli.key_counts import KeyCounts, key_counts
from fastproxy.cli.key_subject import admin_targets, ago, id_of, load_config, refusal
from fastproxy.config.key_dates import shown_date
from fastproxy.config.key_files import next_of, old_of, public_of, read_one
from fastproxy.config.keys import KeyMaterialError, public_from_private, read_public_key_file
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, OwnKey, Snapshot
from fastproxy.telemetry.key_uses import OWN
from fastproxy.wire.identity import key_id

Item = dict[str, Any]
_WIDE = 400
_COLUMNS = ("of", "state", "key id", "age", "ends", "made", "open", "last use", "used by")


@click.command()
@click.argument("file", metavar="CONFIG", type=click.Path(dir_okay=False))
@click.option(
    "--admin", multiple=True, metavar="URL-or-PID",
    help="Admin address of another proxy that knows of the keys' use; the config's own is asked anyway.",
)  # fmt: skip
@click.option("--token-file", metavar="FILE", help="File with the token of these admin addresses.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
def status(file: str, admin: tuple[str, ...], token_file: str | None, as_json: bool) -> None:
    """Show the keys of a config: age, date, use, and who still uses an old one.

    An in proxy's are its own keys and those of its callers; an out proxy's are those of its callers. What
    they are used for is asked of running proxies; where none answers, the rest is shown.
    """
    snapshot = load_config(file)
    counts: list[KeyCounts] = []
    for target in admin_targets(snapshot, admin, token_file):
        try:
            counts.append(key_counts(target))
        except click.ClickException as error:
            click.echo(f"nothing is known of the use of keys: {error.message}", err=True)
    try:
        items = [_with_uses(item, counts) for item in _items(snapshot)]
    except (KeyMaterialError, OSError) as error:
        raise refusal(error) from error
    if as_json:
        click.echo(json.dumps({"asked": [one.where for one in counts], "keys": items}, indent=2))
    else:
        _print(items)


def _items(snapshot: Snapshot) -> Iterator[Item]:
    """All keys, without their use."""
    role = "receiver" if isinstance(snapshot, InSnapshot) else "caller"
    for own in snapshot.own_keys:
        dates = _dates_of(own)
        for state, secret, file in _files_of(own):
            age_s = None if file is None else max(0.0, time.time() - file.stat().st_mtime)
            last_unix_s = dates.get(public_from_private(secret), inf)
            yield _item(f"{role} {own.name}", own.name, state, id_of(secret), age_s, last_unix_s)
    if isinstance(snapshot, InSnapshot):
        for peer in snapshot.callers.values():
            for key in peer.public_keys:
                last_unix_s = peer.key_dates.get(key, inf)
                yield _item(
                    f"caller {peer.name}", peer.name, "accepted", key_id(key).hex(), None, last_unix_s
                )


def _item(of: str, name: str, state: str, identifier: str, age_s: float | None, last_unix_s: float) -> Item:
    return {
        "of": of,
        "name": name,
        "state": state,
        "key_id": identifier,
        "age_s": age_s,
        "not_after": shown_date(last_unix_s) if last_unix_s < inf else None,
    }


def _files_of(own: OwnKey) -> Iterator[tuple[str, Secret, Path | None]]:
    """What there is of a key of this proxy: its state, and where it is."""
    if own.file is None:
        yield "in use", own.secrets[0], None
        return
    yield "in use", read_one(own.file), own.file
    for state, file in (("next", next_of(own.file)), ("old", old_of(own.file))):
        if file.exists():
            yield state, read_one(file), file


def _dates_of(own: OwnKey) -> dict[bytes, float]:
    """The dates of a key's public halves, as far as the file beside it tells."""
    if own.file is None or not public_of(own.file).exists():
        return {}
    try:
        return read_public_key_file(public_of(own.file))
    except KeyMaterialError:
        return {}


def _with_uses(item: Item, counts: Sequence[KeyCounts]) -> Item:
    uses = [use for one in counts for use in one.of_key(item["key_id"])]
    last_unix_s = max((use.last_unix_s for use in uses), default=None)
    return item | {
        "made": sum(use.made for use in uses) if counts else None,
        "open": sum(use.open for use in uses) if counts else None,
        "last_use": None if last_unix_s is None else shown_date(last_unix_s),
        "last_use_unix_s": last_unix_s,
        "used_by": sorted({use.row.name for use in uses if use.row.kind == OWN or use.open}),
    }


def _print(items: Iterable[Item]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False)
    for column in _COLUMNS:
        table.add_column(column, no_wrap=True, justify="right" if column in ("made", "open") else "left")
    now_s = time.time()
    for item in items:
        last_unix_s, age_s = item["last_use_unix_s"], item["age_s"]
        table.add_row(
            item["of"],
            item["state"],
            item["key_id"],
            "" if age_s is None else ago(now_s - age_s).removesuffix(" ago"),
            item["not_after"] or "",
            "?" if item["made"] is None else str(item["made"]),
            "?" if item["open"] is None else str(item["open"]),
            "" if last_unix_s is None else ago(last_unix_s),
            ", ".join(item["used_by"]),
        )
    # A table that goes into a file or a pipe is as wide as it has to be.
    Console(width=None if sys.stdout.isatty() else _WIDE).print(table)
