"""`fastproxy stop`: have a proxy drain, and wait for its end."""

from __future__ import annotations

import os
import select
import signal
import sys
from pathlib import Path

import click

from fastproxy.supervisor.ready_file import pid_namespace, read, started_ticks

_MODULE = b"fastproxy.supervisor"
"""What `fastproxy run FILE` becomes: `python -P -m fastproxy.supervisor FILE`."""


@click.command()
@click.argument("target", metavar="PID-or-READY-FILE")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for its end; let it be longer than `drain.delay_s` and `drain.grace_s` together.",
)
def stop(target: str, timeout_s: float) -> None:
    """Have a proxy drain (SIGTERM), and wait until it has ended.

    It is named by the id of its process, or by the file of its `--ready-file`; of any other program nothing
    is ended.

    Exit codes: 0 it has ended, 1 it hasn't within the time, or can't be told to.
    """
    process = _process(target)
    try:
        signal.pidfd_send_signal(process, signal.SIGTERM)
    except ProcessLookupError:
        return  # it has just ended
    except PermissionError as error:
        raise click.ClickException("the proxy belongs to another user; run this as that user") from error
    if not select.select([process], [], [], timeout_s)[0]:
        click.echo(
            f"fastproxy: told to end, but it hasn't within {timeout_s:g} s; it goes on draining", err=True
        )
        sys.exit(1)


def _process(target: str) -> int:
    """Return a descriptor (pidfd_open(2)) of the proxy's process, which stays the same process's.

    Raises:
        click.ClickException: there is none, or it is another program's.
    """
    ticks = 0
    if target.isascii() and target.isdigit():
        pid = int(target)
    else:
        pid, ticks = _from_file(Path(target))
    try:
        process = os.pidfd_open(pid)
    except (OSError, OverflowError) as error:
        raise click.ClickException(f"there is no process {pid}; the proxy has ended") from error
    # Looked at only now: what the number means can't change any more.
    if ticks and started_ticks(pid) != ticks:
        raise click.ClickException(f"{target} is of a proxy that has ended; process {pid} is another one's")
    try:
        program = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        program = []
    if _MODULE not in program:
        raise click.ClickException(
            f"process {pid} is not a proxy that `fastproxy run` started; give the process of the proxy itself"
        )
    return process


def _from_file(path: Path) -> tuple[int, int]:
    try:
        standing = read(path)
    except FileNotFoundError as error:
        raise click.ClickException(
            f"there is no ready file {path}; the proxy has ended, or was never ready"
        ) from error
    except (OSError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    if standing.pid_namespace != pid_namespace():
        raise click.ClickException(
            f"the proxy of {path} runs in another container; share the process namespace, or stop it there"
        )
    return standing.pid, standing.started_ticks
