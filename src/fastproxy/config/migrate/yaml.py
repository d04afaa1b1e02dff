"""The text of the configs that `migrate` writes, with comments that say where each setting comes from.

Knows what was planned, and nothing of how it was decided.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence

from fastproxy.config.migrate.old import OldRoute
from fastproxy.config.migrate.plan import CallerPlan, ProxyPlan
from fastproxy.config.migrate.source import Change
from fastproxy.config.problem import shown

_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*\Z")
_WORDS_OF_YAML = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n"))
_WIDTH = 100
_TIMEOUT_REMARK = (
    "Where serviceTimeoutConfig says nothing the original waits without end; here 15 s are the default."
)

_SayCaller = Callable[[CallerPlan], str]


def config_text(plan: ProxyPlan, changes: Sequence[Change], center: str) -> str:
    """Return the YAML text of one config.

    Args:
        plan: what it says. changes: what became of the old file's settings. center: its URL, or "".
    """
    blocks = _out_blocks(plan) if plan.old.role == "out" else _in_blocks(plan, center)
    lines = [*_comment(f"Made by `fastproxy migrate` from {shown(plan.old.file)}."), f"role: {plan.old.role}"]
    if plan.old.role == "out" or not plan.receiver:
        lines += [f"name: {_value(plan.name)}"]
    for block in blocks:
        lines += ["", *block]
    if plan.old.connections:
        lines += ["", *_comment("httpClient.MaxIdleConnsPerHost")]
        lines += [f"limits: {{connections_per_endpoint: {plan.old.connections}}}"]
    dropped = [change for change in changes if not change.becomes]
    if dropped:
        lines += ["", "# Dropped:"]
    for change in dropped:
        lines += _comment(f"{change.setting} (line {change.line}): {change.reason}", item=True)
    return "\n".join(lines) + "\n"


# --- the out proxy ------------------------------------------------------------------------------------------


def _out_blocks(plan: ProxyPlan) -> Iterator[list[str]]:
    old = plan.old
    yield [
        *_comment(
            "application.port. The original listened at every address, where whoever reached it could speak "
            f"as any caller. For callers on other machines: address: 0.0.0.0:{old.port}, allow_remote: true."
        ),
        f"listen: {{address: 127.0.0.1:{old.port}, service_from: path}}",
    ]
    names = [
        *_comment("rpc.serviceHeaderName names the header in which a request says who calls."),
        "callers:",
        f"  header: {_value(old.caller_header)}",
        "  names:",
    ]
    for name in plan.callers:
        key_file = plan.key_files.get(("caller", name))
        names += [f"    {_value(name)}: " + (f"{{private_key: {_file(key_file)}}}" if key_file else "{}")]
    yield names
    if plan.receiver:
        yield from _sealed_way(plan)
    else:
        yield _compat_block(plan, _sender)
        endpoint = _value(old.forward)
        yield [
            *_comment(f"proxy.forwardAddress: the in proxy in front of every service. {_TIMEOUT_REMARK}"),
            "services:",
            *(
                f"  {_value(name)}: {{transport: compat, endpoints: [{endpoint}]{_timeout(plan, name)}}}"
                for name in plan.services
            ),
        ]


def _sealed_way(plan: ProxyPlan) -> Iterator[list[str]]:
    yield [
        *_comment("proxy.forwardAddress: the in proxy in front of every service, known by its public key."),
        "receivers:",
        f"  {_value(plan.receiver)}:",
        f'    public_keys: ["{plan.receiver_key}"]',
        f"    endpoints: [{_value(plan.old.forward)}]",
    ]
    yield [
        *_comment(_TIMEOUT_REMARK),
        f"defaults: {{transport: {plan.transport}, receiver: {_value(plan.receiver)}}}",
        "services:",
        *(f"  {_value(name)}: {{{_timeout(plan, name)[2:]}}}" for name in plan.services),
    ]


def _sender(caller: CallerPlan) -> str:
    parts = [f"{use}: {_value(name)}" for use in ("sign", "encrypt") for name in getattr(caller, use)]
    parts += [f"compress: {caller.compress}"] if caller.compress != "none" else []
    return f"{{{', '.join(parts)}}}"


# --- the in proxy -------------------------------------------------------------------------------------------


def _in_blocks(plan: ProxyPlan, center: str) -> Iterator[list[str]]:
    old = plan.old
    yield [
        *_comment("application.port"),
        f"listen: {{address: 0.0.0.0:{old.port}, accept: [{plan.transport}]}}",
    ]
    if plan.receiver:
        yield [
            *_comment("The name by which out proxies know this one, and the key that proves it."),
            f"name: {_value(plan.receiver)}",
            f"private_key: {_file(plan.key_files['receiver', plan.receiver])}",
        ]
        yield [
            *_comment(
                "Who may prove to be whom, in place of serviceConfig: each caller with its public key."
            ),
            "callers:",
            *(f'  {_value(name)}: {{public_keys: ["{c.public_key}"]}}' for name, c in plan.callers.items()),
        ]
    else:
        yield _compat_block(plan, _demand)
    yield [
        *_comment(_TIMEOUT_REMARK),
        "services:",
        *(
            f"  {_value(name)}: {{endpoints: [{_value(endpoint)}]{_timeout(plan, name)}}}"
            for name, endpoint in plan.services.items()
        ),
    ]
    if "center" in plan.services.values():
        yield [
            *_comment("Where the services are looked up that have `endpoints: [center]`."),
            f"center: {{url: {_value(center)}, register: false}}",
        ]
    yield [
        *_comment("serviceCallTypeConfig: who may call what, and how often; everything else is refused."),
        "privileges:",
        *(line for route in old.routes for line in _privilege(route)),
    ]


def _privilege(route: OldRoute) -> Iterator[str]:
    caller, service, path = _value(route.caller), _value(route.service), _value(route.path)
    rate = "" if route.qps is None else f", rate: {{per_s: {route.qps}, burst: {route.qps}}}"
    yield f"  - {{callers: [{caller}], services: [{service}], paths: [{path}]{rate}}}"


def _demand(caller: CallerPlan) -> str:
    return f"{{sign: {_list(caller.sign)}, encrypt: {_list(caller.encrypt)}}}"


# --- both ---------------------------------------------------------------------------------------------------


def _compat_block(plan: ProxyPlan, say: _SayCaller) -> list[str]:
    lines = [
        *_comment(
            "The original's wire format, with its keys. It protects weakly: once both proxies are migrated, "
            "`fastproxy migrate --transport link` replaces it."
        ),
        "compat:",
        f"  caller_header: {_value(plan.old.caller_header)}",
        f"  context_path: {_value(plan.old.context_path)}",
    ]
    if plan.doubts:
        lines += _comment(f"Because {', '.join(plan.doubts)}: no message proves who calls.", "  ")
        lines += ["  trust_claimed_caller: true"]
    for use in ("sign", "encrypt"):
        files = {name: file for (one, name), file in plan.key_files.items() if one == use}
        if files:
            lines += [f"  {use}_keys:"]
            lines += [f"    {_value(name)}: {_file(file)}" for name, file in files.items()]
    lines += ["  callers:"]
    for name, caller in plan.callers.items():
        lines += _comment(_said_by(plan, caller), "    ")
        lines += [f"    {_value(name)}: {say(caller)}"]
    return lines


def _said_by(plan: ProxyPlan, caller: CallerPlan) -> str:
    if not caller.said_by:
        return "No file says which keys it uses, so any known key is taken, but one it must be."
    others = [shown(file) for file in caller.said_by if file != plan.old.file]
    own = plan.old.file in caller.said_by
    if own and not others:
        return "serviceConfig"
    return f"serviceConfig, {'and ' if own else 'not here but '}in {', '.join(others)}"


def _timeout(plan: ProxyPlan, service: str) -> str:
    timeout_s = plan.old.timeouts_s.get(service)
    return "" if timeout_s is None else f", timeout_s: {timeout_s:g}"


def _file(name: str) -> str:
    return f"{{file: {_value(name)}}}"


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(_value, values))}]"


def _value(text: str) -> str:
    """Return a text as YAML takes it for that very text: plain where that is safe."""
    if _PLAIN.match(text) and text.lower() not in _WORDS_OF_YAML:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    return char if char.isprintable() and char not in '"\\' else f"\\U{ord(char):08x}"


def _comment(text: str, indent: str = "", *, item: bool = False) -> list[str]:
    # A control character in a name would end the comment and begin a setting.
    clean = "".join(char if char.isprintable() else "?" for char in text)
    first, further = (f"{indent}# - ", f"{indent}#   ") if item else (f"{indent}# ", f"{indent}# ")
    return textwrap.wrap(clean, _WIDTH, initial_indent=first, subsequent_indent=further)
