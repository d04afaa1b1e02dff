"""Requests of commands to the admin address of a running proxy."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from fastproxy.cli.admin_connection import AdminConnection
from fastproxy.cli.profile_target import Target
from fastproxy.config.keys import KeyMaterialError, read_text_secret
from fastproxy.config.schema_parts import KeySource

_CONNECT_TIMEOUT_S = 5.0
_ANSWER_LIMIT_BYTES = 2**26


def read_token(file: str) -> str:
    """Return the token in a file.

    Raises:
        click.ClickException: it holds none.
    """
    try:
        return read_text_secret(KeySource(file=file), Path(), {}).reveal().decode()
    except KeyMaterialError as error:
        raise click.ClickException(f"--token-file: {error.message}; {error.suggestion}") from error


def get(target: Target, path: str) -> bytes:
    """Return what an admin address answers with 200.

    Raises:
        click.ClickException: it answers with something else, or not at all.
    """
    status, content = request(target, path)
    if status != http.client.OK:
        raise click.ClickException(f"{target.address} says {status} to {path}")
    return content


def request(target: Target, path: str) -> tuple[int, bytes]:
    """Return the status and the content that an admin address answers with.

    Raises:
        click.ClickException: it doesn't answer.
    """
    with asked(target, path) as connection:
        response = connection.getresponse()
        return response.status, response.read(_ANSWER_LIMIT_BYTES)


@contextmanager
def asked(target: Target, path: str) -> Iterator[AdminConnection]:
    """Ask an admin address for something; the answer is read within.

    Raises:
        click.ClickException: nothing was answered, or the token is none.
    """
    connection = AdminConnection(target.address, _CONNECT_TIMEOUT_S)
    headers = {"Authorization": f"Bearer {target.token}"} if target.token else {}
    try:
        connection.request("GET", path, headers=headers)
        yield connection
    except ValueError:  # says the token
        raise click.ClickException("this is no token: it has what can't stand in a header") from None
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(
            f"{target.address} does not answer as a proxy's admin address: {error}"
        ) from error
    finally:
        connection.close()
