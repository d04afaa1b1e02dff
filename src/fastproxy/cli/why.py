"""`fastproxy why`: what became of an exchange that failed, by what the proxies on its way have kept."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from fastproxy.cli.admin_request import read_token, request
from fastproxy.cli.admin_target import AT_HELP, is_address
from fastproxy.cli.control import ask, running
from fastproxy.cli.profile_target import Target, find_target
from fastproxy.telemetry.terminal import harmless

Failure = dict[str, Any]
_PATIENCE_S = 10.0
_TOLD, _UNKNOWN, _NOBODY = 0, 1, 2
_DECIDED = {"here": 1, "next hop": 0}
_NOT_SHOWN = ("budget_left_s", "timeout_s")
"""Numbers that decide nothing where the deadline hasn't passed."""

_UNKNOWN_WORDS = """\
None of the proxies that were asked ({asked}) keeps anything of exchange {exchange}. That means one of these:
  - It went well, or the service itself answered with an error: only what proxies refuse or fail at is kept.
    The access log has a line of each exchange: look for "id":"{exchange}".
  - It failed longer ago than the last ones of its cause that are kept (`failures.kept_per_cause`).
  - It never came to these proxies. Ask the others on its way as well: --at HOST:PORT, for each of them."""


@click.command()
@click.argument("exchange", metavar="EXCHANGE-ID")
@click.option("--at", "targets", multiple=True, metavar="TARGET", help=AT_HELP)
@click.option("--token-file", metavar="FILE", help="File with the token of the admin addresses.")
@click.option("--json", "as_json", is_flag=True, help="Answer in JSON, for programs.")
def why(exchange: str, targets: tuple[str, ...], token_file: str | None, as_json: bool) -> None:
    """Tell the story of an exchange that failed: how far it came, who refused it, why, and what to do.

    EXCHANGE-ID is in the answer (the header `fastproxy-exchange`, and `exchange` in the problem document)
    and in both proxies' logs.

    Exit codes: 0 the story is told; 1 nobody knows of it; 2 nobody could be asked.
    """
    token = read_token(token_file) if token_file is not None else ""
    asked: list[str] = []
    found: list[Failure] = []
    for target in targets or running():
        try:
            found += _ask(target, exchange, token)
            asked.append(target)
        except click.ClickException as error:
            click.echo(harmless(f"{target} can't be asked: {error.message}"), err=True)
    if not asked:
        words = "nobody could be asked" if targets else "no proxy of yours runs on this machine"
        click.echo(f"{words}; say where a proxy's admin address is: --at HOST:PORT", err=True)
        sys.exit(_NOBODY)
    found.sort(key=lambda failure: (failure["role"] != "out", failure["at_unix_s"]))
    if as_json:
        click.echo(json.dumps({"exchange": exchange, "asked": asked, "failures": found}, indent=2))
    elif found:
        click.echo("\n".join(map(harmless, story(exchange, found))))
    else:
        names = ", ".join(asked)
        click.echo(harmless(_UNKNOWN_WORDS.format(asked=names, exchange=exchange), "\n"))
    sys.exit(_TOLD if found else _UNKNOWN)


def _ask(target: str, exchange: str, token: str) -> list[Failure]:
    """Ask one proxy; a config file or a process at its door, which asks for no token.

    Raises:
        click.ClickException: it can't be asked.
    """
    if not is_address(target):
        return list(ask(target, "exchange", {"id": exchange}, _PATIENCE_S)["failures"])
    admin = find_target(target)
    status, content = request(
        Target(admin.address, admin.token or token), f"/api/v1/exchanges/{quote(exchange, safe='')}"
    )
    try:
        told = json.loads(content)
        if status == 200:
            return list(told["failures"])
        if status == 404 and "detail" in told:
            return []
        words = told["detail"]
    except (ValueError, LookupError, TypeError):
        words = "it is no proxy of this version"
    raise click.ClickException(f"it says {status}: {words}")


# --- the story ----------------------------------------------------------------------------------------------


def story(exchange: str, failures: Sequence[Failure]) -> Iterator[str]:
    """Yield the lines that tell of an exchange.

    Args:
        failures: what is known of it, in the order of the hops.
    """
    first = failures[0]
    call = " ".join(filter(None, (first["method"], first["path"])))
    caller, service = first["caller"] or "an unknown caller", first["service"] or "an unknown service"
    at = datetime.fromtimestamp(first["at_unix_s"] - first["duration_s"], UTC)
    yield f"Exchange {exchange}: {caller} called {service}{f': {call}' if call else ''}"
    yield f"It began at {at:%Y-%m-%d %H:%M:%S} UTC{_trace(failures)}."
    # The one who decided says most; where it wasn't asked, the other has its words.
    decisive = max(failures, key=lambda one: (_DECIDED[one["from"]], one["role"] == "in", one["at_unix_s"]))
    for number, failure in enumerate(failures, 1):
        yield ""
        yield f"{number}. {_hop(failure)} {_ending(failure)}"
        if failure is decisive or failure["cause"] != decisive["cause"]:
            yield from (f"   {line}" for line in _particulars(failure))
        else:
            yield f"   after {_seconds(failure['duration_s'])}; why is told by the other hop"
    yield ""
    yield f"What to do: {decisive['advice']}"
    yield f"More: docs/troubleshooting.md#{decisive['cause']}"


def _trace(failures: Sequence[Failure]) -> str:
    trace_id = next(filter(None, (failure["trace_id"] for failure in failures)), "")
    return f", in trace {trace_id}" if trace_id else ""


def _hop(failure: Failure) -> str:
    return f"The {failure['role']} proxy {failure['hop']!r}"


def _ending(failure: Failure) -> str:
    """Say how far an exchange came at a hop, and how it ended there."""
    what = f"{failure['status']} {failure['cause']}" if failure["status"] else failure["cause"]
    phase = failure["phase"]
    if not failure["is_enforced"]:
        return f"would have refused it in phase {phase}, but let it pass (`enforce: report`): {what}"
    if failure["from"] == "next hop":
        there = failure["endpoint"] or "the next hop"
        return f"sent it to {there}, which {_verb(failure)} in phase {phase}: {what}"
    if failure["cause"] == "caller_gone":
        return f"had it in phase {phase} when the caller hung up"
    if failure["phase"] == "answer":
        return f"broke off the answer ({what})"
    return f"{_verb(failure)} in phase {phase}: {what}"


def _verb(failure: Failure) -> str:
    return "refused it" if failure["status"] < 500 else "could not carry it through"


def _particulars(failure: Failure) -> Iterator[str]:
    yield failure["title"] + (f": {failure['detail']}" if failure["detail"] else "")
    came = [f"after {_seconds(failure['duration_s'])}"]
    if failure["attempts"]:
        attempts = failure["attempts"]
        came.append(f"{attempts} attempt{'s' if attempts > 1 else ''}, last at {failure['endpoint']}")
    if failure["route"]:
        came.append(f"route {failure['route']}")
    if failure["peer"]:
        came.append(f"from {failure['peer']}")
    yield "; ".join(came)
    numbers = {
        name: value
        for name, value in failure["numbers"].items()
        if failure["cause"] in ("deadline_exceeded", "caller_gone") or name not in _NOT_SHOWN
    }
    if numbers:
        yield "decided by: " + ", ".join(f"{name} {_number(value)}" for name, value in numbers.items())


def _seconds(duration_s: float) -> str:
    return f"{duration_s * 1000:.1f} ms" if duration_s < 1 else f"{duration_s:.2f} s"


def _number(value: float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
