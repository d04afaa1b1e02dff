"""`fastproxy keys rotate`: a key is changed for another in stages, each of which can be done again."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

import click

from fastproxy.cli.key_counts import KeyCounts, key_counts
from fastproxy.cli.key_subject import Subject, admin_targets, ago, id_of, load_config, refusal, subject_of
from fastproxy.cli.profile_target import Target
from fastproxy.config.key_dates import DAY_S, shown_date
from fastproxy.config.keys import KeyMaterialError, read_public_key_file
from fastproxy.config.rotation import RotationError, Standing
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import InSnapshot, OutSnapshot, Snapshot
from fastproxy.wire.identity import PrivateKey

QUIET_S = 3600.0
_SAME_MOMENT_S = 5.0
"""Within which workers tell of what is there now."""
_SETTLE_S = 1.0
"""Each worker looks at files for itself, twice a second: where one knows the next key, all do by then."""
_NOT_YET = 1


class _Task(NamedTuple):
    """What was asked for. shown: the config's file as given. targets: whom to ask what keys are used for.

    excepted: names that needn't accept the next key.
    """

    shown: str
    snapshot: Snapshot
    subject: Subject
    targets: Sequence[Target]
    excepted: frozenset[str]
    days: int | None
    quiet_s: float
    is_dry: bool

    def step(self, stage: str) -> str:
        """The command of a stage."""
        several = isinstance(self.snapshot, OutSnapshot) and len(self.snapshot.own_keys) > 1
        return f"fastproxy keys rotate {self.shown} {stage}" + (
            f" --caller {self.subject.name}" if several else ""
        )

    def key(self, what: str) -> Secret:
        """One of its keys; see `Rotation.keys`."""
        return self.subject.rotation.keys()[what]


@click.command()
@click.argument("file", metavar="CONFIG", type=click.Path(dir_okay=False))
@click.argument("stage", required=False, type=click.Choice(["prepare", "confirm", "use", "retire"]))
@click.option("--caller", metavar="NAME", help="Whose key, where an out proxy has several callers.")
@click.option(
    "--days", type=click.IntRange(1, 36_500), help="Have the next public key end so many days from now."
)
@click.option(
    "--except", "excepted", multiple=True, metavar="NAME",
    help="A receiver or caller that need not accept the next key: it is down, or will not come back.",
)  # fmt: skip
@click.option(
    "--admin", multiple=True, metavar="URL-or-PID",
    help="Admin address of another proxy that knows of the key's use; the config's own is asked anyway.",
)  # fmt: skip
@click.option("--token-file", metavar="FILE", help="File with the token of these admin addresses.")
@click.option(
    "--quiet-s", type=click.FloatRange(0), default=QUIET_S, show_default=True,
    help="For how long nobody must have used the old key before it goes, in seconds.",
)  # fmt: skip
@click.option("--dry-run", "is_dry", is_flag=True, help="Say what would be done; change and ask nothing.")
def rotate(
    file: str,
    stage: str | None,
    caller: str | None,
    days: int | None,
    excepted: tuple[str, ...],
    admin: tuple[str, ...],
    token_file: str | None,
    quiet_s: float,
    is_dry: bool,
) -> None:
    """Change the private key of a config for another, without losing a call.

    CONFIG is that of an out proxy, whose caller's key is changed, or of an in proxy, whose receiver's key is.
    The stages come one after the other; any of them can be done again. Without one, this says which is next.

    \b
    prepare   make the next key (NAME.key.next), and write NAME.pub with both public keys
    confirm   ask every peer whether it accepts the next key; changes nothing
    use       confirm once more, then put the next key in the place of the one in use (NAME.key)
    retire    remove the old key (NAME.key.old), once nobody has used it for --quiet-s

    Running proxies take changed key files by themselves within a second.

    Exit status: 0 when it was done; 1 when it can't be done, or not yet; 2 when the config or the command
    can't be used.
    """
    snapshot = load_config(file)
    subject = subject_of(snapshot, caller)
    targets = admin_targets(snapshot, admin, token_file)
    task = _Task(file, snapshot, subject, targets, frozenset(excepted), days, quiet_s, is_dry)
    try:
        if stage is None:
            _tell_standing(task)
        else:
            {"prepare": _prepare, "confirm": _confirm, "use": _use, "retire": _retire}[stage](task)
    except (RotationError, KeyMaterialError, OSError) as error:
        raise refusal(error) from error


def _tell_standing(task: _Task) -> None:
    rotation = task.subject.rotation
    standing = rotation.standing()
    click.echo(f"{task.subject}: {standing.value}")
    for what, secret in rotation.keys().items():
        click.echo(f"  {what:<8} id {id_of(secret)}")
    steps = {Standing.SETTLED: "prepare", Standing.PREPARED: "confirm", Standing.USED: "retire"}
    click.echo(f"next: {task.step(steps[standing])}")


# --- prepare ------------------------------------------------------------------------------------------------


def _prepare(task: _Task) -> None:
    rotation = task.subject.rotation
    if task.is_dry:
        standing = rotation.standing()
        what = "make another key" if standing is Standing.SETTLED else "make no key"
        click.echo(f"would {what} ({standing.value}), and write {rotation.public_file}")
        return
    not_after = "" if task.days is None else shown_date(time.time() + task.days * DAY_S)
    is_new = rotation.prepare(lambda: PrivateKey(os.urandom(32)).reveal(), not_after)
    shown = "made the next key" if is_new else "the next key was made already"
    click.echo(f"{task.subject}: {shown}, id {id_of(task.key('next'))}; nothing uses it yet")
    click.echo(f"{rotation.public_file} holds both public keys now. To do, before the next stage:")
    _tell_distribution(task)
    click.echo(f"next: {task.step('confirm')}")


def _tell_distribution(task: _Task) -> None:
    """Say who has to know what `NAME.pub` holds."""
    name, public_file = task.subject.name, task.subject.rotation.public_file
    keys = ", ".join(
        f"{{key: {key.hex()}, not_after: {shown_date(last_unix_s)}}}" if last_unix_s < inf else key.hex()
        for key, last_unix_s in read_public_key_file(public_file).items()
    )
    if task.subject.role == "caller":
        click.echo(
            f"  at every in proxy: put it into `callers_dir`, as {name}.pub, whole: copy it to another name"
        )
        click.echo("  there and rename it, since half a file would cut the caller off; or, in the config:")
        click.echo(f"    callers: {{{name}: {{public_keys: [{keys}]}}}}")
    else:
        click.echo("  at every out proxy, in this order, since the first is tried first; then reload it:")
        click.echo(f"    receivers: {{{name}: {{public_keys: [{keys}]}}}}")


# --- confirm ------------------------------------------------------------------------------------------------


class _Verdict(NamedTuple):
    """Whether a peer accepts the next key. problem: why that isn't known; "" when it does."""

    name: str
    where: str
    problem: str


def _confirm(task: _Task) -> None:
    standing = task.subject.rotation.standing()
    if standing is Standing.SETTLED:
        raise RotationError("there is no next key", f"begin with: {task.step('prepare')}")
    if standing is Standing.USED:
        click.echo(f"{task.subject}: the next key is in use already")
        click.echo(f"next: {task.step('retire')}")
        return
    _require_confirmation(task)
    if not task.is_dry:
        click.echo(f"next: {task.step('use')}")


def _require_confirmation(task: _Task) -> None:
    """Ask all peers about the next key, say what they answer, and end here unless all accept it."""
    by_greeting = isinstance(task.snapshot, OutSnapshot)
    if task.is_dry:
        whom = "every receiver at each of its endpoints" if by_greeting else "which key each caller used last"
        click.echo(f"would ask {whom}, about the key with the id {id_of(task.key('next'))}")
        return
    verdicts = _greet(task, task.snapshot) if isinstance(task.snapshot, OutSnapshot) else _who_used(task)
    click.echo(f"{task.subject}: the next key, id {id_of(task.key('next'))}")
    missing = 0
    for verdict in verdicts:
        is_excepted = verdict.problem != "" and verdict.name in task.excepted
        missing += verdict.problem != "" and not is_excepted
        word = "accepted" if not verdict.problem else "excepted" if is_excepted else "not yet"
        where = f" at {verdict.where}" if verdict.where else ""
        click.echo(f"  {word:<9} {verdict.name}{where}" + (f": {verdict.problem}" if verdict.problem else ""))
    if not missing:
        click.echo("confirmed: every peer accepts it" + (" but those excepted" if task.excepted else ""))
        return
    click.echo(f"not confirmed by {missing}: nothing was changed, the key in use stays in use. To do:")
    _tell_distribution(task)
    click.echo(f"then once more: {task.step('confirm')}; `--except NAME` leaves out who won't come back")
    sys.exit(_NOT_YET)


def _greet(task: _Task, snapshot: OutSnapshot) -> list[_Verdict]:
    """Have every receiver prove that it knows the next key of a caller."""
    import uvloop  # noqa: PLC0415 - as what it runs, only here

    from fastproxy.app.key_probe import greet_all  # noqa: PLC0415

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        greeted = runner.run(greet_all(snapshot, task.subject.name, task.key("next")))
    if not greeted:
        raise RotationError("no receiver of this config knows callers by keys", "nobody can confirm this one")
    return [
        _Verdict(one.receiver, f"{one.endpoint} over {one.transport}" if one.endpoint else "", one.problem)
        for one in greeted
    ]


def _who_used(task: _Task) -> list[_Verdict]:
    """Look which of a receiver's keys each caller used last: it knows the next one if it was that."""
    assert isinstance(task.snapshot, InSnapshot)
    counts = _all_counts(task)
    keys = task.subject.rotation.keys()
    ids = {what: id_of(secret) for what, secret in keys.items()}
    names = sorted(name for name, peer in task.snapshot.callers.items() if peer.public_keys)
    return [_Verdict(name, "", _what_keeps(name, ids, counts)) for name in names]


def _what_keeps(caller: str, ids: dict[str, str], counts: Sequence[KeyCounts]) -> str:
    """Say why it isn't known that a caller accepts the next key."""
    last = {what: max(one.last_use_of_own(caller, ids[what]) for one in counts) for what in ids}
    if last["next"] > -inf and last["next"] >= last["in use"] - _SAME_MOMENT_S:
        return ""
    if last["in use"] > -inf:
        return f"used the key in use last, {ago(last['in use'])}"
    return f"has not called since {ago(min(one.since_unix_s for one in counts))}, so nothing is known"


def _all_counts(task: _Task) -> list[KeyCounts]:
    if not task.targets:
        raise RotationError(
            "nobody can be asked what the keys are used for: the config has no admin address with a port",
            "add `admin: {address: 127.0.0.1:PORT}`, or give --admin URL",
        )
    return [key_counts(target) for target in task.targets]


# --- use ----------------------------------------------------------------------------------------------------


def _use(task: _Task) -> None:
    rotation = task.subject.rotation
    if rotation.standing() is Standing.PREPARED:
        _require_confirmation(task)
        if not task.is_dry:
            time.sleep(_SETTLE_S)
    if task.is_dry:
        click.echo(f"would put the next key in the place of {rotation.file}: {rotation.standing().value}")
        return
    is_new = rotation.use()
    shown = "the next key is in use now" if is_new else "the next key was in use already"
    click.echo(f"{task.subject}: {shown}, id {id_of(task.key('in use'))}")
    click.echo("  running proxies take it within a second, and replace their links without losing a call")
    click.echo(f"  {rotation.file}.old is kept: to go back, mv {rotation.file}.old {rotation.file}")
    click.echo(f"next, when nobody has used the old one for {task.quiet_s:g} s: {task.step('retire')}")


# --- retire -------------------------------------------------------------------------------------------------


def _retire(task: _Task) -> None:
    rotation = task.subject.rotation
    if rotation.standing() is Standing.USED:
        _require_quiet(task)
    if task.is_dry:
        click.echo(f"would remove the old key of {task.subject}: {rotation.standing().value}")
        return
    was_there = rotation.retire()
    shown = "the old key is gone" if was_there else "there is no old key"
    click.echo(f"{task.subject}: {shown}; {rotation.public_file} holds the public key in use alone")
    if was_there:
        click.echo("To do: let its peers forget the old public key, as they learned the new one:")
        _tell_distribution(task)


def _require_quiet(task: _Task) -> None:
    """See that nobody has used the old key for as long as it takes, or say who has, and end here."""
    old_id, now_s = id_of(task.key("old")), time.time()
    if task.is_dry:
        click.echo(f"would ask who uses the key with the id {old_id}")
        return
    is_quiet = True
    click.echo(f"{task.subject}: the old key, id {old_id}")
    for counts in _all_counts(task):
        uses = counts.of_key(old_id)
        last_unix_s = counts.last_use_unix_s(old_id)
        open_now = sum(use.open for use in uses)
        is_quiet_there = not open_now and now_s - last_unix_s >= task.quiet_s
        is_quiet &= is_quiet_there
        word = "quiet" if is_quiet_there else "not yet"
        if uses:
            names = sorted(
                {use.row.name for use in uses if use.open or now_s - use.last_unix_s < task.quiet_s}
            )
            by = f" by {', '.join(names)}" if names else ""
            found = f"used last {ago(max(use.last_unix_s for use in uses))}{by}, {open_now} open now"
        else:
            found = "not used"
        click.echo(f"  {word:<8} {counts.where}: {found}; counting since {ago(counts.since_unix_s)}")
    if not is_quiet:
        click.echo(f"nothing was removed: it takes {task.quiet_s:g} s in which nobody uses the old key")
        sys.exit(_NOT_YET)
