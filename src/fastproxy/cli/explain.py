"""`fastproxy explain`: what a proxy would do with a request, and which lines of its config decide it.

Nothing is sent. Service, path and privilege are decided by the code that the proxies run.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable

import click

from fastproxy.app.in_role import privileges_of
from fastproxy.cli.url import is_listener, split_url
from fastproxy.config.key_dates import shown_date
from fastproxy.config.load import load
from fastproxy.config.problem import ConfigError
from fastproxy.config.snapshot import InSnapshot, LocalService, OutSnapshot, Peer, RemoteService
from fastproxy.errors import (
    CALLER_UNKNOWN,
    IDENTITY_UNPROVEN,
    RECEIVER_KEY_ENDED,
    SERVICE_UNKNOWN,
    Cause,
    ProxyError,
)
from fastproxy.policy.path import canonical_path
from fastproxy.policy.pattern import parse_pattern
from fastproxy.policy.privilege import Explanation, Privileges
from fastproxy.policy.service_choice import ServiceChoice

_FORWARDED, _REFUSED, _UNUSABLE = 0, 1, 2


@click.command()
@click.argument("file")
@click.argument("method")
@click.argument("url")
@click.option("--caller", help="Who calls; all callers when it isn't said.")
def explain(file: str, method: str, url: str, caller: str | None) -> None:
    """Say what a proxy would do with a request, without sending it.

    URL is what the caller asks for. At an out proxy: http://127.0.0.1:8034/SERVICE/PATH as given to curl, a
    path alone, or http://SERVICE/PATH as with HTTP_PROXY. At an in proxy: /SERVICE/PATH or
    http://SERVICE/PATH.

    Exit status: 0 when it would be forwarded, 1 when refused (for any caller), 2 when the config is wrong.
    """
    try:
        snapshot = load(file, check_pattern=parse_pattern)
    except ConfigError as exc:
        click.echo(str(exc), err=True)
        sys.exit(_UNUSABLE)
    host, target = split_url(url)
    callers = [caller] if caller is not None else sorted(snapshot.caller_names)
    outcomes = []
    for name in callers:
        if isinstance(snapshot, OutSnapshot):
            outcomes.append(_explain_out(snapshot, name, method, host, target))
        else:
            outcomes.append(_explain_in(snapshot, name, method, host, target))
    if not outcomes:
        click.echo("no caller is configured, so every call is refused")
    sys.exit(_FORWARDED if outcomes and all(outcomes) else _REFUSED)


# --- the out proxy ------------------------------------------------------------------------------------------


def _explain_out(snapshot: OutSnapshot, caller: str, method: str, host: bytes, target: bytes) -> bool:
    if caller not in snapshot.caller_names:
        return _refuse(caller, method, target, CALLER_UNKNOWN, "identify")
    listen = snapshot.config.listen
    choice = ServiceChoice(listen.service_from, snapshot.services, listen.service or listen.default_service)
    # Another host than the listener's own comes with HTTP_PROXY, and so with a target in absolute form.
    absolute = bool(host) and not is_listener(host.decode(), snapshot.listen)
    try:
        name, forwarded = choice.choose(target, host, absolute)
    except ProxyError as error:
        return _refuse(caller, method, target, error.cause, error.phase, _known(snapshot.services))
    service = snapshot.services[name]
    settings = service.settings
    if service.receiver is not None and _has_lapsed(service.receiver):
        return _refuse(caller, method, target, RECEIVER_KEY_ENDED, "connect", service.receiver.name)
    _say(f"FORWARDED: {caller} may send {method} {forwarded.decode()} to {name}")
    _say(f"service     {name} ({snapshot.file.name}:{service.line})")
    if service.receiver is not None:
        receiver = service.receiver
        proof, known_as = ("certificate", f" as {receiver.tls_id}") if receiver.tls_id else ("key", "")
        where = f"{snapshot.file.name}:{receiver.line}"
        known_as += _dates(receiver)
        _say(f"receiver    {receiver.name} ({where}), which proves itself by its {proof}{known_as}")
        _say(f"identity    {caller} proves itself by its {proof}")
        cipher = f", {settings.cipher}" if settings.transport == "http" else ""
        _say(f"transport   {settings.transport}{cipher}, compress {settings.compress}")
    elif snapshot.compat is not None:
        sender = snapshot.compat.callers[caller]
        sign, encrypt = sender.sign_key_name or "none", sender.encrypt_key_name or "none"
        _say("identity    none: whoever holds the shared keys passes for it")
        _say(f"transport   compat, sign {sign}, encrypt {encrypt}, compress {sender.compress}")
    _say(f"endpoints   {_endpoints(service)}")
    _say(f"deadline    {settings.timeout_s:g} s, of which {settings.connect_timeout_s:g} s to connect")
    _say(
        "The in proxy decides whether the caller may: fastproxy explain in.yaml "
        f"--caller {caller} {method} http://{name}{forwarded.decode()}"
    )
    return True


# --- the in proxy -------------------------------------------------------------------------------------------


def _explain_in(snapshot: InSnapshot, caller: str, method: str, host: bytes, target: bytes) -> bool:
    if caller not in snapshot.caller_names:
        return _refuse(caller, method, target, IDENTITY_UNPROVEN, "open", _known(snapshot.caller_names))
    if (peer := snapshot.callers.get(caller)) is not None and _has_lapsed(peer):
        detail = f"every public key of {caller} has passed its date"
        return _refuse(caller, method, target, IDENTITY_UNPROVEN, "open", detail)
    choice = ServiceChoice("path", snapshot.services)
    try:
        name, inner = choice.choose(target, host, absolute=bool(host))
    except ProxyError:
        return _refuse(caller, method, target, SERVICE_UNKNOWN, "route", _known(snapshot.services))
    privileges = privileges_of(snapshot)
    file = snapshot.file.name
    try:
        route, forwarded = privileges.admit(caller, name, method.encode(), inner)
    except ProxyError as error:
        _refuse(caller, method, inner, error.cause, error.phase, error.detail)
        _say_near_misses(_explained(privileges, caller, name, method, inner), file)
        if snapshot.config.enforce == "report" and error.cause.status == 403:
            _say("`enforce: report` lets it pass all the same, counted and logged")
            return True
        return False
    assert route.privilege is not None
    service = snapshot.services[name]
    rate = route.rate
    _say(f"FORWARDED: {caller} may send {method} {forwarded.decode()} to {name}")
    _say(f"identity    {_proof(snapshot, caller)}")
    _say(f"privilege   {file}:{route.privilege.line}, pattern {route.pattern}")
    _say(f"rate        {rate.per_s:g} per s, burst {rate.burst}" if rate else "rate        no limit")
    _say(f"service     {name} ({file}:{service.line})")
    _say(f"endpoints   {_endpoints(service)}")
    _say(f"deadline    {service.settings.timeout_s:g} s")
    explanation = _explained(privileges, caller, name, method, inner)
    for other in explanation.outranked if explanation else ():
        _say(f"also holds, but is less specific or further down: {file}:{other.line}")
    return True


def _proof(snapshot: InSnapshot, caller: str) -> str:
    """Say what proves that it is this caller, where that stands, and over which ways it may come."""
    file, config = snapshot.file.name, snapshot.config
    peer = snapshot.callers.get(caller)
    if peer is None:
        demand = snapshot.compat.callers[caller] if snapshot.compat else None
        signs = f"a message signed with {' or '.join(demand.sign)}" if demand and demand.sign else "its word"
        return f"{signs}, over compat"
    where = f"{file}:{peer.line}" if peer.line else f"{config.callers_dir}/{caller}.pub"
    ways = " or ".join(way for way in dict.fromkeys(config.listen.accept) if way != "compat")
    if peer.tls_id:
        proof = f"the certificate of {peer.tls_id}"
    else:
        proof = f"one of {len(peer.at(time.time()).public_keys)} key(s){_dates(peer)}"
    return f"{proof} ({where}), over {ways}"


def _dates(peer: Peer) -> str:
    """Say until when each key of a peer proves it, where one has a date."""
    keys = peer.at(time.time()).public_keys if peer.key_dates else ()
    ends = [shown_date(peer.key_dates[key]) if key in peer.key_dates else "further notice" for key in keys]
    return f", until {' or '.join(ends)}" if ends else ""


def _has_lapsed(peer: Peer) -> bool:
    """Whether every key of a peer has passed its date."""
    return bool(peer.public_keys) and not peer.at(time.time()).public_keys


def _explained(
    privileges: Privileges, caller: str, service: str, method: str, target: bytes
) -> Explanation | None:
    """Return the explanation for the path that is judged; None when it can't be judged at all."""
    try:
        path, _ = canonical_path(target, allow_ambiguous=True)
    except ProxyError:
        return None
    return privileges.explain(caller, service, method.encode(), path)


def _say_near_misses(explanation: Explanation | None, file: str) -> None:
    if explanation is None:
        return
    for miss in explanation.near_misses[:10]:
        _say(f"near miss: {file}:{miss.privilege.line} would hold, but the {miss.lacks} isn't in it")


# --- words --------------------------------------------------------------------------------------------------


def _refuse(caller: str, method: str, target: bytes, cause: Cause, phase: str, detail: str = "") -> bool:
    _say(f"REFUSED: {caller} may not send {method} {target.decode()}")
    _say(f"{cause.status} {cause.label} in {phase}: {cause.title}" + (f" ({detail})" if detail else ""))
    _say(cause.advice)
    return False


def _endpoints(service: RemoteService | LocalService) -> str:
    if service.center_name:
        return f"those of {service.center_name} at the center"
    return ", ".join(map(str, service.endpoints))


def _known(names: Iterable[str]) -> str:
    return f"known here: {', '.join(sorted(names)[:20])}"


def _say(line: str) -> None:
    indent = "" if line.startswith(("FORWARDED", "REFUSED")) else "    "
    click.echo(indent + line)
