"""`fastproxy call`: one call through an out config, for debugging; no out proxy has to run."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import click
import uvloop

from fastproxy.app.once import call_once
from fastproxy.cli.url import is_listener, split_url
from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError
from fastproxy.config.snapshot import OutSnapshot, RemoteService
from fastproxy.errors import TABLE, ProxyError
from fastproxy.model import Headers
from fastproxy.net.http1 import end_of_head, write_fields
from fastproxy.net.listener import StartError
from fastproxy.policy.deadline import BUDGET_HEADER, DEAD_TIME_HEADER, set_deadline
from fastproxy.policy.pattern import parse_pattern
from fastproxy.telemetry.access_log import AccessLine
from fastproxy.telemetry.terminal import harmless

_ANSWERED, _REFUSED, _UNUSABLE, _SERVICE_ERROR = 0, 1, 2, 22
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")
_FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*)")
_OWN_FIELDS = frozenset((b"connection", b"content-length", b"transfer-encoding"))
_PROBLEM_LIMIT_BYTES = 65_536
"""How much of an answer is looked at for a problem document: far more than the proxies' own have."""


@click.command()
@click.argument("url")
@click.option(
    "--config", "file", default="out.yaml", show_default=True, metavar="FILE", help="Of an out proxy."
)
@click.option("-X", "--request", "method", metavar="METHOD", help="Default: GET, or POST with -d.")
@click.option("-d", "--data", metavar="BODY", help="Body as it stands; @FILE reads a file, - standard input.")
@click.option("-H", "--header", "headers", multiple=True, metavar="'NAME: VALUE'", help="Can be repeated.")
@click.option("--caller", metavar="NAME", help="Who calls, where the config lets requests say so.")
@click.option("-i", "--include", is_flag=True, help="Print status line and headers before the body.")
@click.option("-v", "--verbose", is_flag=True, help="Tell on standard error what happened in each phase.")
def call(
    url: str,
    file: str,
    method: str | None,
    data: str | None,
    headers: tuple[str, ...],
    caller: str | None,
    include: bool,
    verbose: bool,
) -> None:
    """Make one call as the out proxy of a config would, without running one.

    URL is what the caller asks for: /SERVICE/PATH (or what the config's service_from wants),
    http://SERVICE/PATH as with HTTP_PROXY, or a URL of the proxy's own listener as given to curl.
    The answer's body goes to standard output. For a refusal, standard error says which proxy refused, in
    which phase, why, and what to do.

    Exit status: 0 for an answer below 400; 22 for a 4xx or 5xx of the service itself, as with curl -f;
    1 when a proxy refused the call or could not carry it through; 2 when the config or the command can't be
    used.
    """
    snapshot = _load(file)
    host, target = split_url(url)
    if host and not is_listener(host.decode(), snapshot.listen):
        target = b"http://" + host + target
    fields = _fields(headers, host, _caller_field(snapshot, caller))
    limit_bytes = snapshot.config.limits.body_bytes
    body = None if data is None else _read_body(data, limit_bytes + 1 if limit_bytes else -1)
    request = _request(method or ("GET" if body is None else "POST"), target, fields, body)
    answer = _Answer(sys.stdout.buffer, include)
    logging.getLogger("fastproxy").setLevel(logging.ERROR)  # what goes wrong for the caller is told below
    asked_at = time.time()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            line = runner.run(call_once(snapshot, request, answer.take))
    except StartError as error:
        raise click.ClickException(str(error)) from error
    answer.end()
    if verbose:
        _tell_facts(snapshot, line, _deadline_s(snapshot, line, fields, asked_at))
        _tell_head(answer)
    sys.exit(_conclude(snapshot, line, answer))


# --- what goes in -------------------------------------------------------------------------------------------


def _load(file: str) -> OutSnapshot:
    try:
        snapshot = load(file, check_pattern=parse_pattern)
    except ConfigError as exc:
        click.echo(str(exc), err=True)
        sys.exit(_UNUSABLE)
    if not isinstance(snapshot, OutSnapshot):
        raise click.UsageError(f"{file} is the config of an in proxy; calls begin at an out proxy")
    return snapshot


def _caller_field(snapshot: OutSnapshot, caller: str | None) -> Headers:
    if caller is None:
        return []
    claimable = snapshot.config.callers
    if claimable is not None:
        return _fields((f"{claimable.header}: {caller}",), b"", [])
    if caller != snapshot.caller:
        raise click.UsageError(f"all calls of this config come from {snapshot.caller}; leave --caller out")
    return []


def _fields(headers: Sequence[str], host: bytes, more: Headers) -> Headers:
    """Return the header fields of the request; the proxy judges them, here they only stay apart."""
    fields: Headers = []
    for text in headers:
        field = _FIELD.fullmatch(text)
        if field is None:
            # Without repeating it: a mistyped header may hold a token.
            raise click.UsageError("what -H was given is no header; write 'Name: value'")
        name, value = field[1].encode(), field[2].encode(errors="surrogateescape")
        if name.lower() in _OWN_FIELDS:
            raise click.UsageError(f"{field[1]} is written by this command; leave it out")
        fields.append((name, value))
    if host and not any(name.lower() == b"host" for name, _ in fields):
        fields.insert(0, (b"host", host))
    return fields + more


def _read_body(data: str, limit_bytes: int) -> bytes:
    """Return the body, at most this much of it: the proxy refuses what is over its limit. -1: no limit."""
    if data == "-":
        return sys.stdin.buffer.read(limit_bytes)
    if not data.startswith("@"):
        return data.encode(errors="surrogateescape")
    try:
        with Path(data[1:]).open("rb") as file:
            return file.read(limit_bytes)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "its name is not valid"
        raise click.UsageError(f"{data[1:]} can't be read: {reason}") from exc


def _request(method: str, target: bytes, fields: Headers, body: bytes | None) -> bytes:
    if _METHOD.fullmatch(method) is None:
        raise click.UsageError(f"{method!r} is no method")
    head = b"%b %b HTTP/1.0\r\n%b" % (method.encode(), target, write_fields(fields))
    return head + (b"\r\n" if body is None else end_of_head(len(body)) + body)


# --- what comes out -----------------------------------------------------------------------------------------


class _Answer:
    """An answer as it comes: its content is passed on at once.

    head: its status line and header fields. content_bytes: how much content came. beginning: of the content.
    """

    def __init__(self, output: BinaryIO, with_head: bool) -> None:
        self.head = b""
        self.content_bytes = 0
        self.beginning = b""
        self._output = output
        self._with_head = with_head
        self._head_is_whole = False

    def take(self, piece: bytes) -> None:
        """Take the next bytes."""
        if not self._head_is_whole:
            self.head, end, piece = (self.head + piece).partition(b"\r\n\r\n")
            if not end:
                return
            self._head_is_whole = True
            if self._with_head:
                self._output.write(self.head + end)
        self.content_bytes += len(piece)
        self.beginning += piece[: _PROBLEM_LIMIT_BYTES - len(self.beginning)]
        self._output.write(piece)

    def end(self) -> None:
        """All has come: let it be seen before what is told of it."""
        self._output.flush()

    def problem(self) -> dict[str, Any]:
        """Return the problem document in the body, an empty one when there is none."""
        if b"\r\ncontent-type: application/problem+json" not in self.head.lower():
            return {}
        try:
            document = json.loads(self.beginning)
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}


def _tell_facts(snapshot: OutSnapshot, line: AccessLine, deadline_s: float | None) -> None:
    service = snapshot.services.get(line.service)
    _tell(f"asked {line.method} {line.path}" if line.method else "asked what is no request")
    _tell_fact("exchange", line.id)
    _tell_fact("caller", line.caller or "not known")
    _tell_fact("service", "not known" if service is None else _words_of(service))
    if deadline_s is not None:
        _tell_fact("deadline", f"{deadline_s:.3f} s after the start")
    _tell_fact("endpoint", f"{line.endpoint}, attempt {line.attempts}" if line.attempts else "none tried")
    for phase, spent_ms in line.phases_ms.items():
        _tell_fact(f"in {phase}", f"{spent_ms:10.3f} ms")
    _tell_fact("in all", f"{line.duration_ms:10.3f} ms, {line.bytes_in} bytes in, {line.bytes_out} out")


def _words_of(service: RemoteService) -> str:
    if service.receiver is None:
        return f"{service.name}, over {service.settings.transport}"
    return f"{service.name}, over {service.settings.transport} to receiver {service.receiver.name}"


def _deadline_s(
    snapshot: OutSnapshot, line: AccessLine, fields: Headers, asked_at_unix_s: float
) -> float | None:
    """Return when the exchange's time was over, in seconds from its start; None if that was never set."""
    service = snapshot.services.get(line.service)
    if service is None:
        return None
    said = {name.lower(): value for name, value in fields}
    with suppress(ProxyError):  # the proxy has refused such a request by now
        return set_deadline(
            0.0,
            asked_at_unix_s,
            service.settings.timeout_s,
            dead_time=said.get(DEAD_TIME_HEADER),
            timeout_ms=said.get(BUDGET_HEADER),
        )
    return None


def _tell_head(answer: _Answer) -> None:
    for line in answer.head.decode("latin-1").split("\r\n"):
        _tell(f"< {line}")


def _conclude(snapshot: OutSnapshot, line: AccessLine, answer: _Answer) -> int:
    """Say what went wrong, if anything, and return the exit status."""
    if line.cause:
        _tell_refusal(snapshot, line, answer)
        return _REFUSED
    if answer.content_bytes != line.bytes_out:
        _tell(f"the answer broke off after {answer.content_bytes} of {line.bytes_out} bytes")
        return _REFUSED
    return _ANSWERED if line.status < 400 else _SERVICE_ERROR


def _tell_refusal(snapshot: OutSnapshot, line: AccessLine, answer: _Answer) -> None:
    """Say who refused, where, why, and what to do: by the problem document, else by the error table."""
    problem = answer.problem()
    row = TABLE.get(line.cause)
    hop, phase = problem.get("hop", "out"), problem.get("phase", line.phase)
    proxy = problem.get("proxy", snapshot.config.name)
    what = "refused" if line.status in range(400, 500) else "failed"
    _tell(f"{what}: {line.cause} at the {hop} proxy {proxy}, phase {phase}")
    title, detail = problem.get("title", row.title if row else ""), problem.get("detail", "")
    _tell_fact("why", f"{title}: {detail}" if detail not in ("", title) else str(title))
    _tell_fact("to do", str(problem.get("advice", row.advice if row else "")))
    service = snapshot.services.get(line.service)
    if line.attempts and service is not None and service.receiver is not None:  # compat carries no id
        _tell_fact("look for", f"{line.id} in the in proxy's log")


def _tell_fact(label: str, text: str) -> None:
    _tell(f"  {label:<11} {text}")


def _tell(text: str) -> None:
    """Say it on standard error; nothing that a peer sent may steer a terminal."""
    click.echo(f"* {harmless(text)}", err=True)
