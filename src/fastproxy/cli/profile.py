"""`fastproxy profile`: a profile of a running proxy, taken at its admin address."""

from __future__ import annotations

import http.client
import os
import select
import socket
import time
from pathlib import Path

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from fastproxy.admin.profiles import KINDS
from fastproxy.cli.admin_request import asked, read_token
from fastproxy.cli.profile_target import Target, find_target
from fastproxy.telemetry.profiling.flamegraph import page
from fastproxy.telemetry.profiling.pprof import PprofError, read
from fastproxy.telemetry.profiling.profile import Profile
from fastproxy.telemetry.profiling.top import amount, top

_PATHS = {kind.name: (path, kind) for path, kind in KINDS.items()}
_ANSWER_LIMIT_BYTES = 2**26
_UNPACKED_LIMIT_BYTES = 2**28
_ANSWER_TIMEOUT_S = 150.0
"""Time beyond the profile's own, for the proxy to make a file of it."""


@click.command()
@click.argument("target", metavar="URL-or-PID")
@click.option("--kind", type=click.Choice(list(_PATHS)), default="cpu", show_default=True)
@click.option("--seconds", type=click.FloatRange(0.01, 300), help="How long. [default: 30, memory 10]")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write. [default: KIND-DATE-TIME.pb.gz or .html]",
)
@click.option(
    "--flamegraph", is_flag=True, help="Write a flame graph, a page of HTML, instead of pprof's format."
)
@click.option(
    "--token-file", help="File with the token of `admin.token`; of a PID, the config says it.", metavar="FILE"
)
def profile(
    target: str,
    kind: str,
    seconds: float | None,
    output: Path | None,
    flamegraph: bool,
    token_file: str | None,
) -> None:
    """Take a profile of a running proxy.

    URL-or-PID is its admin address, http://HOST:PORT or unix:/PATH, or the id of one of its processes on this
    machine; in all cases what is shown is of all its workers.
    What the profile shows is a file, for `go tool pprof FILE`, Speedscope or Pyroscope, or for a browser with
    `--flamegraph`; the ten functions with the largest share are shown here.
    """
    where = find_target(target)
    if token_file is not None:
        where = Target(where.address, read_token(token_file))
    path, its_kind = _PATHS[kind]
    duration_s = its_kind.default_s if seconds is None else seconds
    if duration_s > its_kind.most_s:
        raise click.UsageError(f"--seconds: a profile of kind {kind} takes at most {its_kind.most_s:g} s")
    file = output or Path(time.strftime(f"{kind}-%Y%m%d-%H%M%S.{'html' if flamegraph else 'pb.gz'}"))
    if not os.access(file if file.exists() else file.parent, os.W_OK):  # said before the seconds are spent
        raise click.ClickException(f"{file} can't be written; name another with --output")
    answer = _fetch(where, f"{path}?seconds={duration_s:g}", kind, duration_s)
    try:
        taken = read(answer, _UNPACKED_LIMIT_BYTES)
    except PprofError as error:
        raise click.ClickException(f"what {where.address} answered can't be used: {error}") from error
    try:
        file.write_bytes(page(taken).encode() if flamegraph else answer)
    except OSError as error:
        raise click.ClickException(f"{file} can't be written: {error.strerror}") from error
    Console().print(_table(taken))
    for comment in taken.comments:
        click.echo(comment)
    click.echo(f"{file}: " + ("open it in a browser" if flamegraph else f"go tool pprof -http :8081 {file}"))


def _fetch(target: Target, path: str, kind: str, duration_s: float) -> bytes:
    """Ask for a profile, and show how far it is. Leaving, as by ctrl-C, ends it at the proxy as well."""
    with asked(target, path) as connection:
        _show_progress(connection.sock, kind, duration_s)
        connection.sock.settimeout(_ANSWER_TIMEOUT_S)
        response = connection.getresponse()
        content = response.read(_ANSWER_LIMIT_BYTES)
    if response.status != http.client.OK:
        words = content.decode(errors="replace").strip()
        raise click.ClickException(f"{target.address} says {response.status}: {words}")
    return content


def _show_progress(sock: socket.socket, kind: str, duration_s: float) -> None:
    """Wait for an answer's first byte."""
    columns = TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn()
    began_s = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(f"taking a profile: {kind}", total=duration_s)
        while not select.select([sock], [], [], 0.1)[0]:
            passed_s = time.monotonic() - began_s
            if passed_s > duration_s + _ANSWER_TIMEOUT_S:
                raise TimeoutError("no answer in time")
            words = "taking a profile" if passed_s < duration_s else "waiting for the file"
            progress.update(task, completed=min(passed_s, duration_s), description=f"{words}: {kind}")


def _table(taken: Profile) -> Table:
    what, unit = taken.types[taken.shown]
    whole = sum(sample.values[taken.shown] for sample in taken.samples)
    table = Table(
        title=f"{what}: {amount(whole, unit)} in {taken.duration_ns / 1e9:.1f} s", title_justify="left"
    )
    for heading in ("itself", "%", "with callees", "%"):
        table.add_column(heading, justify="right")
    table.add_column("function", overflow="fold")
    for row in top(taken, 10):
        shares = (f"{100 * value / (whole or 1):.1f}" for value in (row.own, row.whole))
        own_share, whole_share = shares
        table.add_row(
            amount(row.own, unit), own_share, amount(row.whole, unit), whole_share, escape(row.function)
        )
    return table
