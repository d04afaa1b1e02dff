"""`fastproxy wait`: until a proxy is ready."""

from __future__ import annotations

import http.client
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import click

from fastproxy.cli.admin_connection import AdminConnection
from fastproxy.config.address import Address, parse_address
from fastproxy.supervisor.ready_file import pid_namespace, read, started_ticks

_LOOK_EVERY_S = 0.1
_PATIENCE_S = 2.0
"""How long one question may take, in seconds."""
_WORDS_BYTES = 1000

Missing = Callable[[], str]
"""Returns what is still waited for, "" when there is nothing."""


@click.command()
@click.argument("target")
@click.option(
    "--timeout",
    "timeout_s",
    type=click.FloatRange(min=0),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait.",
)
def wait(target: str, timeout_s: float) -> None:
    """Wait until a proxy is ready.

    TARGET is its admin address, http://HOST:PORT or unix:/PATH, whose /readyz is asked; or the file of
    `fastproxy run --ready-file`; or HOST:PORT, of whatever takes connections there.

    Exit codes: 0 it is ready, 1 it isn't within the time (it says what is still missing), 2 TARGET is none of
    these.
    """
    missing = _question(target)
    end_s = time.monotonic() + timeout_s
    while words := missing():
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            click.echo(f"fastproxy: not ready within {timeout_s:g} s: {words}", err=True)
            sys.exit(1)
        time.sleep(min(_LOOK_EVERY_S, left_s))


def _question(target: str) -> Missing:
    """Return what asks a target.

    Raises:
        click.UsageError: it is none.
    """
    try:
        if target.startswith("http://"):
            parts = urlsplit(target)
            if parts.path not in ("", "/", "/readyz") or parts.query:
                raise ValueError("leave the path out: /readyz is what is asked")
            return _AdminQuestion(parse_address(parts.netloc.rpartition("@")[2]))
        if target.startswith("unix:"):
            return _AdminQuestion(parse_address(target))
        if "/" in target or ":" not in target:
            return _FileQuestion(Path(target))
        return _AddressQuestion(parse_address(target))
    except ValueError as error:
        kinds = "http://HOST:PORT or unix:/PATH of an admin address, a ready file, or HOST:PORT"
        raise click.UsageError(f"TARGET is {kinds}: {error}") from error


class _AdminQuestion:
    """Whether an admin address says that its proxy is ready."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def __call__(self) -> str:
        connection = AdminConnection(self._address, _PATIENCE_S)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            words = response.read(_WORDS_BYTES).decode(errors="replace").strip()
        except (OSError, http.client.HTTPException) as error:
            return f"the admin address {self._address} does not answer ({_reason(error)})"
        finally:
            connection.close()
        return "" if response.status == http.client.OK else f"{self._address} says: {words}"


class _FileQuestion:
    """Whether a ready file says that its proxy is ready, and that proxy still is there."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __call__(self) -> str:
        try:
            standing = read(self._path)
        except OSError as error:
            return f"the ready file {self._path} can't be read ({_reason(error)})"
        except ValueError as error:
            return str(error)
        if standing.state != "ready":
            return f"the proxy {standing.name} is {standing.state}"
        # Only here does its number mean a process that can be looked at; elsewhere it may mean any.
        is_here = standing.pid_namespace == pid_namespace()
        if is_here and started_ticks(standing.pid) != standing.started_ticks:
            return f"{self._path} is of a proxy that is gone (process {standing.pid})"
        return ""


class _AddressQuestion:
    """Whether somebody takes connections at an address."""

    def __init__(self, address: Address) -> None:
        self._address = address

    def __call__(self) -> str:
        try:
            socket.create_connection((self._address.host, self._address.port), _PATIENCE_S).close()
        except OSError as error:
            return f"nobody takes connections at {self._address} ({_reason(error)})"
        return ""


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
