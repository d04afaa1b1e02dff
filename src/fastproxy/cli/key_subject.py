"""Which key of a config a command is about, and which running proxies know of its use."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import NamedTuple

import click

from fastproxy.cli.admin_request import read_token
from fastproxy.cli.profile_target import Target, find_target
from fastproxy.config.keys import KeyMaterialError, public_from_private
from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError
from fastproxy.config.rotation import Rotation, RotationError
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, OwnKey, Snapshot
from fastproxy.policy.pattern import parse_pattern
from fastproxy.wire.identity import key_id

_UNUSABLE = 2


class Subject(NamedTuple):
    """A key that can be changed for another.

    role: "caller" or "receiver". name: whose it is. rotation: its files.
    """

    role: str
    name: str
    rotation: Rotation

    def __str__(self) -> str:
        return f"{self.role} {self.name}"


def load_config(file: str) -> Snapshot:
    """Load a config, or say what is wrong with it and end."""
    try:
        return load(file, check_pattern=parse_pattern)
    except ConfigError as exc:
        click.echo(str(exc), err=True)
        sys.exit(_UNUSABLE)


def subject_of(snapshot: Snapshot, caller: str | None) -> Subject:
    """Return the key of a config that a rotation is about.

    Args:
        caller: whose, where an out proxy has several.

    Raises:
        click.ClickException: it is none, or not one that can be changed in its file.
    """
    role = "receiver" if isinstance(snapshot, InSnapshot) else "caller"
    if caller is not None and role == "receiver":
        raise click.UsageError("--caller is for the config of an out proxy; here it is the receiver's key")
    own = _one(snapshot, caller)
    if own.file is None:
        raise click.ClickException(
            f"the private key of {role} {own.name} is in the environment or the config: change it there, "
            "or give it a file, which can be rotated"
        )
    try:
        return Subject(role, own.name, Rotation(own.file))
    except (RotationError, KeyMaterialError) as error:
        raise refusal(error) from error


def _one(snapshot: Snapshot, caller: str | None) -> OwnKey:
    own_keys = [own for own in snapshot.own_keys if caller in (None, own.name)]
    names = ", ".join(own.name for own in snapshot.own_keys)
    if not snapshot.own_keys:
        raise click.ClickException("this proxy has no key: certificates are renewed by whoever issues them")
    if not own_keys:
        raise click.UsageError(f"there is no key of {caller}; there is one of {names}")
    if len(own_keys) > 1:
        if isinstance(snapshot, InSnapshot):
            raise click.ClickException(
                "`private_keys` lists several keys: keep the one in use, as `private_key`; what stands "
                "beside its file during a rotation is found by itself"
            )
        raise click.UsageError(f"several callers have keys: say which one, as --caller NAME, of {names}")
    return own_keys[0]


def id_of(secret: Secret) -> str:
    """Return the id of a private key in hex."""
    return key_id(public_from_private(secret)).hex()


def refusal(error: RotationError | KeyMaterialError | OSError) -> click.ClickException:
    """Return a mistake with files in words."""
    if isinstance(error, OSError):
        return click.ClickException(f"{error.filename} can't be changed: {error.strerror}")
    advice = error.advice if isinstance(error, RotationError) else error.suggestion
    return click.ClickException(f"{error.message}; {advice}" if advice else error.message)


def admin_targets(snapshot: Snapshot, given: Sequence[str], token_file: str | None) -> list[Target]:
    """Return the admin addresses to ask: this proxy's own, where its config tells it, and those given."""
    token = read_token(token_file) if token_file is not None else ""
    targets = [Target(target.address, target.token or token) for target in map(find_target, given)]
    admin = snapshot.admin
    if admin is not None and (admin.address.is_unix or admin.address.port):
        own = Target(admin.address, admin.token.reveal().decode() if admin.token is not None else token)
        if all(target.address != own.address for target in targets):
            targets.insert(0, own)
    return targets


def ago(unix_s: float) -> str:
    """Say how long ago something was, for people."""
    passed_s = max(0.0, time.time() - unix_s)
    for unit, seconds in (("d", 86_400), ("h", 3600), ("min", 60)):
        if passed_s >= 2 * seconds:
            return f"{passed_s / seconds:.0f} {unit} ago"
    return f"{passed_s:.0f} s ago"
