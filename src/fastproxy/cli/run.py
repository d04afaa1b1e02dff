"""`fastproxy run FILE`: run a proxy until it is told to stop."""

from __future__ import annotations

import os
import sys

import click


@click.command()
@click.argument("file", type=click.Path(dir_okay=False))
def run(file: str) -> None:
    """Run the proxy that FILE describes.

    SIGTERM and SIGINT drain it: it takes nothing new, finishes what is in flight and exits with 0.
    Exit codes: 1 it can't start, 2 the config can't be used.
    """
    from fastproxy.app.memory import ALLOCATOR  # noqa: PLC0415 - as all that a command needs

    # The same process goes on as the proxy alone, without the libraries of the command line. With -P: what
    # lies in the current folder, by whosever hand, is no module of its own.
    command = [sys.executable, "-P", "-m", "fastproxy.supervisor", file]
    os.execve(sys.executable, command, {**ALLOCATOR, **os.environ})  # noqa: S606 - no shell is wanted
