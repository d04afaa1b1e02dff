"""`fastproxy init`: a working pair of configs with keys, for one's own services."""

from __future__ import annotations

from pathlib import Path

import click

from fastproxy.cli.keys import FOLDER_OPTION, check_name, refuse_to_overwrite, write_key_pair, write_new
from fastproxy.config.address import Address, parse_address
from fastproxy.config.keys import KeyMaterialError, read_key_file
from fastproxy.wire.identity import PrivateKey, format_public_key

RECEIVER_NAME = "services-in"
_RECEIVER_PORT = 8033
_CALLER_PORT = 8034

_OUT_YAML = """\
# The out proxy, beside the caller: plain HTTP comes in, and goes to the in proxy sealed.
role: out

# Where the caller sends its requests. The first segment of the path names the service:
# http://127.0.0.1:{caller_port}/SERVICE/PATH calls PATH of SERVICE.
listen: {{address: "127.0.0.1:{caller_port}", service_from: path}}

# Who calls, and the key that proves it. It stays on this machine.
caller: "{caller}"
private_key: {{file: "{caller}.key"}}

# The in proxy in front of the services: its name, its public key, where it is.
receivers:
  {receiver}: {{public_keys: ["{receiver_key}"], endpoints: ["{endpoint}"]}}

# What can be called.
defaults: {{receiver: {receiver}, timeout_s: 15}}
services:
{services}

# /healthz, /readyz and /metrics
admin: {{address: "127.0.0.1:9034"}}
"""

_IN_YAML = """\
# The in proxy, beside the services: what comes in is sealed, plain HTTP goes to the services.
role: in

# The name that out proxies know this proxy by, and the key that proves it. It stays on this machine.
name: {receiver}
private_key: {{file: {receiver}.key}}

# Where out proxies connect. Nothing is taken here but what is sealed.
listen: {{address: "{listen}"}}

# Who may prove to be whom: each caller with its public key.
callers:
  "{caller}": {{public_keys: ["{caller_key}"]}}

# The services and where they listen.
services:
{services}

# Who may call what; everything else is refused. Narrow it down with, for example,
# methods: [GET], paths: [/v1/**], rate: {{per_s: 100, burst: 20}}
privileges:
  - {{callers: ["{caller}"], services: [{names}]}}

# /healthz, /readyz and /metrics
admin: {{address: "127.0.0.1:9033"}}
"""


@click.command()
@click.option("--caller", required=True, help="Name of the service that calls.")
@click.option(
    "--service",
    "services",
    required=True,
    multiple=True,
    metavar="NAME=HOST:PORT",
    help="A service that is called, and where it listens. Can be given several times.",
)
@click.option(
    "--receiver",
    metavar="HOST:PORT",
    help="Where the caller's machine reaches the in proxy, if it isn't the same.",
)
@FOLDER_OPTION
@click.option("--force", is_flag=True, help="Replace config files that are there; keys are kept and used.")
def init(caller: str, services: tuple[str, ...], receiver: str | None, folder: Path, force: bool) -> None:
    """Write out.yaml, in.yaml and key files that `fastproxy run` takes as they are."""
    check_name(caller)
    if caller == RECEIVER_NAME:
        raise click.ClickException(
            f"{RECEIVER_NAME} is the name of the in proxy here; choose another for the caller"
        )
    addresses = _parse_services(services)
    receiver_address = _parse(receiver or f"127.0.0.1:{_RECEIVER_PORT}", "--receiver")
    configs = (folder / "out.yaml", folder / "in.yaml")
    if force:
        for file in configs:
            file.unlink(missing_ok=True)
    else:
        for file in (*configs, *_key_files(caller, folder), *_key_files(RECEIVER_NAME, folder)):
            refuse_to_overwrite(file)
    caller_key = _key_pair(caller, folder)
    receiver_key = _key_pair(RECEIVER_NAME, folder)
    write_new(configs[0], _out_yaml(caller, receiver_key, receiver_address, addresses), mode=0o644)
    listen = _listen_address(receiver_address) if receiver else str(receiver_address)
    write_new(configs[1], _in_yaml(caller, caller_key, listen, addresses), mode=0o644)
    _print_next_steps(folder, caller, receiver_address if receiver else None, next(iter(addresses)))


def _parse_services(services: tuple[str, ...]) -> dict[str, Address]:
    addresses: dict[str, Address] = {}
    for text in services:
        name, equals, address = text.partition("=")
        if not equals:
            raise click.ClickException(f"--service {text}: write NAME=HOST:PORT, as in api=127.0.0.1:8000")
        check_name(name)
        if name in addresses:
            raise click.ClickException(f"--service {name} is given twice")
        addresses[name] = _parse(address, f"--service {name}")
    return addresses


def _parse(text: str, option: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as exc:
        raise click.ClickException(f"{option} {text}: {exc}") from exc


def _key_files(name: str, folder: Path) -> tuple[Path, Path]:
    return folder / f"{name}.key", folder / f"{name}.pub"


def _key_pair(name: str, folder: Path) -> str:
    """Return the public key of the pair that is there, or of a new one."""
    key_file, _ = _key_files(name, folder)
    if not key_file.exists():
        return format_public_key(write_key_pair(name, folder).public_key)
    try:
        (key,) = read_key_file(key_file, secret=True)
    except (KeyMaterialError, ValueError) as exc:
        advice = exc.suggestion if isinstance(exc, KeyMaterialError) else "it holds several keys"
        raise click.ClickException(f"{key_file} can't be used: {advice}") from exc
    return format_public_key(PrivateKey(key).public_key)


def _listen_address(receiver: Address) -> str:
    """Where the in proxy listens to be reached from another machine: at all addresses of its own."""
    if receiver.is_unix:
        return str(receiver)
    return f"[::]:{receiver.port}" if ":" in receiver.host else f"0.0.0.0:{receiver.port}"


def _out_yaml(caller: str, receiver_key: str, endpoint: Address, services: dict[str, Address]) -> str:
    return _OUT_YAML.format(
        caller=caller,
        caller_port=_CALLER_PORT,
        receiver=RECEIVER_NAME,
        receiver_key=receiver_key,
        endpoint=endpoint,
        services="\n".join(f'  "{name}": {{}}' for name in services),
    )


def _in_yaml(caller: str, caller_key: str, listen: str, services: dict[str, Address]) -> str:
    return _IN_YAML.format(
        caller=caller,
        caller_key=caller_key,
        receiver=RECEIVER_NAME,
        listen=listen,
        services="\n".join(f'  "{name}": {{endpoints: ["{address}"]}}' for name, address in services.items()),
        names=", ".join(f'"{name}"' for name in services),
    )


def _print_next_steps(folder: Path, caller: str, remote: Address | None, service: str) -> None:
    in_yaml, in_key = folder / "in.yaml", folder / f"{RECEIVER_NAME}.key"
    click.echo(f"Wrote {folder / 'out.yaml'}, {in_yaml} and the keys of {caller} and {RECEIVER_NAME}.")
    if remote is None:
        click.echo("\nStart both proxies, each in a terminal of its own:\n")
        click.echo(f"    fastproxy run {in_yaml}")
    else:
        click.echo(
            f"\nMove {in_yaml} and {in_key} to {remote.host} (the key in a safe way), and run there:\n"
        )
        click.echo("    fastproxy run in.yaml")
        click.echo("\nHere:\n")
    click.echo(f"    fastproxy run {folder / 'out.yaml'}")
    click.echo("\nThen call the service through them:\n")
    click.echo(f"    curl -i http://127.0.0.1:{_CALLER_PORT}/{service}/")
