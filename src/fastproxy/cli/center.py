"""`fastproxy center`: run the registry, and make the tokens with which names are registered there."""

from __future__ import annotations

import asyncio
import secrets
import sys
from pathlib import Path

import click
import uvloop

from fastproxy.admin.center.store import StoreError
from fastproxy.admin.center.tokens import TokensError, read_tokens, token_line
from fastproxy.app.center import CenterSettings, serve_center
from fastproxy.cli.keys import check_name, refuse_to_overwrite, write_new
from fastproxy.config.address import Address, parse_address
from fastproxy.net.listener import StartError
from fastproxy.telemetry import log

_TOKEN_BYTES = 32


@click.group(invoke_without_command=True)
@click.option(
    "--listen",
    default="127.0.0.1:8040",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to take connections.",
)
@click.option("--allow-remote", is_flag=True, help="Take an address other than loopback; HTTP is in clear.")
@click.option(
    "--name",
    "names",
    multiple=True,
    metavar="HOST",
    help="A host name under which the center is reached; may be repeated. IP addresses need none.",
)
@click.option(
    "--store",
    default="center.db",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="SQLite file that keeps what is registered.",
)
@click.option(
    "--tokens",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File that says who may register: NAME sha256:HEX on each line.",
)
@click.option("--open", "is_open", is_flag=True, help="Let every program of this machine register.")
@click.pass_context
def center(
    context: click.Context,
    listen: str,
    allow_remote: bool,
    names: tuple[str, ...],
    store: str,
    tokens: Path | None,
    is_open: bool,
) -> None:
    """Run the registry in which proxies find receivers and services.

    SIGTERM and SIGINT drain it: whoever waits gets an answer, what is registered is written, and it exits
    with 0. Exit codes: 1 it can't start, 2 the options can't be used.
    """
    if context.invoked_subcommand:
        return
    address = _listen_address(listen, allow_remote=allow_remote, is_open=is_open)
    if is_open == (tokens is not None):
        raise click.UsageError(
            "say who may register: `--tokens FILE` (see `fastproxy center token`), or `--open` for every "
            "program of this machine"
        )
    try:
        digests = read_tokens(tokens) if tokens is not None else {}
    except TokensError as error:
        raise click.UsageError(str(error)) from error
    log.setup("info")
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve_center(CenterSettings(address, store, digests, names)))
    except (StartError, StoreError) as error:
        print(f"fastproxy: {error}", file=sys.stderr)
        sys.exit(1)


@center.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File for the token. [default: the first NAME with .token]",
)
def token(names: tuple[str, ...], output: Path | None) -> None:
    """Make a token with which the NAMEs may be registered.

    The token goes into a file of its own, which only its owner may read, for whoever registers. The lines for
    the center's `--tokens` go to standard output; they hold its digest only.
    """
    for name in names:
        check_name(name)
    text = secrets.token_urlsafe(_TOKEN_BYTES)
    file = output or Path(f"{names[0]}.token")
    refuse_to_overwrite(file)
    write_new(file, text + "\n", mode=0o600)
    print(f"{file}: the token, for whoever registers; below, the lines for the center", file=sys.stderr)
    for name in names:
        print(token_line(name, text))


def _listen_address(text: str, *, allow_remote: bool, is_open: bool) -> Address:
    try:
        address = parse_address(text, to_listen=True)
    except ValueError as error:
        raise click.UsageError(f"--listen {text}: {error}") from error
    if not address.is_loopback and is_open:
        raise click.UsageError(
            f"--listen {text}: an open center listens on loopback only; use `--tokens` for other addresses"
        )
    if not address.is_loopback and not allow_remote:
        raise click.UsageError(
            f"--listen {text}: this isn't loopback, and tokens would pass unencrypted; add "
            "`--allow-remote` if the network may see them"
        )
    return address
