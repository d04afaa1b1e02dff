"""`fastproxy run FILE`: run a proxy until it is told to stop."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
@click.argument("command", nargs=-1, metavar="[--with -- COMMAND...]")
@click.option(
    "--ready-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="PATH",
    help="Write process id and addresses there once the proxy is ready; removed at the end.",
)
@click.option("--with", "has_command", is_flag=True, help="Run COMMAND while the proxy is ready.")
@click.option(
    "--ready-timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long COMMAND waits for the proxy to be ready; then it is not started, and the exit code is 1.",
)
def run(
    file: str, command: tuple[str, ...], ready_file: Path | None, has_command: bool, ready_timeout: float
) -> None:
    """Run the proxy that FILE describes.

    SIGTERM and SIGINT drain it: it takes nothing new, finishes what is in flight and exits with 0. A second
    one cuts off what is still in flight.

    With COMMAND, for jobs: it is started when the proxy is ready and gets those signals; when it ends, the
    proxy drains and exits with its exit code (128 and the signal's number if a signal has ended it; 126 or
    127 if it can't be started or isn't there).

    Exit codes: 1 it can't start, 2 the config or this command line can't be used; with COMMAND, its own.
    """
    from fastproxy.app.memory import ALLOCATOR  # noqa: PLC0415 - as all that a command needs
    from fastproxy.supervisor.signals import hold_back  # noqa: PLC0415

    if has_command != bool(command):
        raise click.UsageError("a command stands behind `--with --`: fastproxy run FILE --with -- COMMAND...")
    hold_back()
    _open_standard_streams()
    # The same process goes on as the proxy alone, without the libraries of the command line. With -P: what
    # lies in the current folder, by whosever hand, is no module of its own.
    program = [sys.executable, "-P", "-m", "fastproxy.supervisor", file]
    if ready_file is not None:
        program.append(f"--ready-file={ready_file.absolute()}")
    if command:
        program += [f"--ready-timeout={ready_timeout}", "--", *command]
    os.execve(sys.executable, program, {**ALLOCATOR, **os.environ})  # noqa: S606 - no shell is wanted


def _open_standard_streams() -> None:
    """See that descriptors 0 to 2 are open: a socket that got one of these numbers would be logged into."""
    for number in range(3):
        with suppress(OSError):
            os.fstat(number)
            continue
        os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
        os.set_inheritable(number, True)
