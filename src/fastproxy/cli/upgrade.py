"""`fastproxy upgrade`: replace the program of a running proxy, without loss."""

from __future__ import annotations

import os
import shutil

import click

from fastproxy.cli.control import ask, find

_PATIENCE_S = 300.0
"""The new program has 120 s to try itself, and its workers 60 s to be ready."""


@click.command()
@click.argument("target", metavar="PID-or-FILE")
@click.option(
    "--python",
    metavar="PYTHON",
    help="Interpreter of the environment that has the new fastproxy. [default: the one that runs now]",
)
def upgrade(target: str, python: str | None) -> None:
    """Replace a running proxy by another version of fastproxy, without losing a request.

    PID-or-FILE is the id of the proxy's process, or its config file. Install the new version into an
    environment of its own, and name that one's interpreter:

    \b
      python3 -m venv /opt/fastproxy-2 && /opt/fastproxy-2/bin/pip install fastproxy-link
      fastproxy upgrade PID --python /opt/fastproxy-2/bin/python

    The new version first tries itself, with the config file as it stands now; if it doesn't start, nothing
    changes. Then it takes over in the same process, with the listening sockets, has workers of its own take
    connections, and lets the former ones end with what they have under way.

    Exit status: 0 when the new workers serve, 1 when the former ones still do.
    """
    pid = find(target)
    said = ask(str(pid), "upgrade", {"python": _path(python)}, _PATIENCE_S)
    before, now, workers = said["from_version"], said["version"], said["workers"]
    click.echo(f"process {pid}: fastproxy {now} has taken over from {before}, with {workers} worker(s)")


def _path(python: str | None) -> str:
    """Return the interpreter as the proxy is to be told of it, whose folder may be another.

    A link isn't followed: by it an interpreter knows its environment.
    """
    if python is None:
        return ""
    found = shutil.which(python)
    if found is None:
        raise click.UsageError(f"--python: there is no program {python}")
    return os.path.abspath(found)
