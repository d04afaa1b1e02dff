"""What the settings of the Go original mean: one of its files in, plain values out.

Where the original would have failed or refused every call, that is a problem or a dropped setting here, never
a wider permission. Knows what the new settings are called, for the notes, but not how they are written.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastproxy.config.address import parse_address
from fastproxy.config.keys import is_secret_text
from fastproxy.config.migrate.source import Source
from fastproxy.config.problem import Path, nearest
from fastproxy.config.resolve_compat import is_aes_key, is_taken_header
from fastproxy.config.schema_compat import CONTEXT_PATH_PATTERN
from fastproxy.config.schema_parts import NAME_PATTERN
from fastproxy.config.secret import Secret

RATE_LIMIT_PER_S = 10_000_000
"""The highest rate that a config can state; the original's higher ones never refused anything."""

_COMPRESSORS = {0: "snappy", 1: "gzip"}
_CONNECTIONS_LIMIT = 10_000_000
_HEADER_PATTERN = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z"
_TIMEOUT_LIMIT_S = 86_400.0

PathCheck = Callable[[str], object]
"""Raises ValueError for a path that no privilege can name."""


@dataclass(frozen=True, slots=True)
class OldCaller:
    """An item of `serviceConfig`: names of keys, "" where it doesn't sign or encrypt."""

    sign: str
    encrypt: str
    compress: str


@dataclass(frozen=True, slots=True)
class OldRoute:
    """An item of `serviceCallTypeConfig`. qps: also the burst; None where it never refused anything."""

    caller: str
    service: str
    path: str
    qps: int | None


@dataclass(frozen=True, slots=True)
class OldFile:
    """One file of the original.

    role: out or in. forward: `HOST:PORT` of the in proxy, at an out proxy. Keys by name, without those that
    can't be used. timeouts_s: the longest of each service. connections: per endpoint; 0 when not set.
    """

    file: str
    role: str
    name: str
    port: int
    context_path: str
    forward: str
    caller_header: str
    callers: Mapping[str, OldCaller]
    sign_keys: Mapping[str, Secret]
    encrypt_keys: Mapping[str, Secret]
    routes: tuple[OldRoute, ...]
    timeouts_s: Mapping[str, float]
    connections: int


def read_old(source: Source, *, compat: bool, check_path: PathCheck) -> OldFile:
    """Return a file's settings, each noted in `source`; what is wrong is reported there.

    Args:
        source: the file. compat: whether the wire format stays the original's. check_path: judges routes.
    """
    is_in = source.find((), "serviceCallTypeConfig") or source.find((), "application", "contextPath")
    old = _read_in(source, compat, check_path) if is_in else _read_out(source, compat, check_path)
    reason = "connections are bounded for each endpoint: `limits.connections_per_endpoint`"
    source.drop(source.find((), "httpClient", "MaxIdleConns"), reason)
    source.drop(source.find((), "fastHttp", "enable"), "there is one HTTP implementation here")
    source.drop_rest()
    return old


def _read_out(source: Source, compat: bool, check_path: PathCheck) -> OldFile:
    header_path = source.needed("rpc", "serviceHeaderName")
    source.carry(header_path, "callers.header, compat.caller_header" if compat else "callers.header")
    forward, context_path = _forward(source, compat)
    keys = _Keys(source, compat)
    section = source.needed("serviceConfig")
    callers = _callers(source, section, keys, "compress" if compat else "")
    if section is not None and not callers:
        source.report(section, "no caller is configured, so that there is nothing to migrate")
    return OldFile(
        file=source.file,
        role="out",
        name=_proxy_name(source, "out"),
        port=_port(source),
        context_path=context_path,
        forward=forward,
        caller_header=_header(source, header_path),
        callers=callers,
        sign_keys=keys.sign,
        encrypt_keys=keys.encrypt,
        routes=(),
        timeouts_s=_timeouts(source, "", check_path),
        connections=_connections(source),
    )


def _read_in(source: Source, compat: bool, check_path: PathCheck) -> OldFile:
    header_path = source.needed("rpc", "serviceHeaderName")
    context_path = source.find((), "application", "contextPath")
    if compat:
        source.carry(header_path, "compat.caller_header")
        source.carry(context_path, "compat.context_path")
    else:
        source.drop(header_path, "sealed requests prove their caller")
        source.drop(context_path, "sealed requests need none")
    reason = "the original's in proxy never reads it; each service has its `endpoints`"
    source.drop(source.find((), "proxy", "forwardAddress"), reason)
    prefix = source.text(context_path).rstrip("/")
    _check(source, context_path, CONTEXT_PATH_PATTERN, prefix, "this is not a context path")
    keys = _Keys(source, compat)
    return OldFile(
        file=source.file,
        role="in",
        name=_proxy_name(source, "in"),
        port=_port(source),
        context_path=prefix,
        forward="",
        caller_header=_header(source, header_path),
        callers=_callers(source, source.find((), "serviceConfig"), keys, ""),
        sign_keys=keys.sign,
        encrypt_keys=keys.encrypt,
        routes=_routes(source, check_path),
        timeouts_s=_timeouts(source, prefix, check_path),
        connections=_connections(source),
    )


# --- the proxy itself ---------------------------------------------------------------------------------------


def _forward(source: Source, compat: bool) -> tuple[str, str]:
    """Return `HOST:PORT` and context path of the in proxy that an out proxy sends to."""
    path = source.needed("proxy", "forwardAddress")
    becomes = "services.*.endpoints, compat.context_path" if compat else "receivers.*.endpoints"
    source.carry(path, becomes)
    if path is None:
        return "", ""
    try:
        url = urlsplit(source.text(path))
        if url.scheme != "http" or url.query or url.fragment or url.username is not None:
            raise ValueError("it is http://HOST:PORT/PATH")
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname or ""
        address = str(parse_address(f"{host}:{url.port or 80}"))
    except ValueError as exc:
        source.report(path, f"this can't be taken as the address of an in proxy: {exc}")
        return "", ""
    context_path = url.path.rstrip("/")
    _check(source, path, CONTEXT_PATH_PATTERN, context_path, "its path can't be a context path")
    return address, context_path


def _proxy_name(source: Source, default: str) -> str:
    path = source.find((), "application", "name")
    source.carry(path, "name")
    name = source.text(path) or default
    _check(source, path, NAME_PATTERN, name, "this is not a name")
    return name


def _port(source: Source) -> int:
    path = source.needed("application", "port")
    source.carry(path, "listen.address")
    return source.number(path, least=1, most=65535)


def _header(source: Source, path: Path | None) -> str:
    header = source.text(path)
    _check(source, path, _HEADER_PATTERN, header, "this can't be the name of a header")
    if path is not None and is_taken_header(header):
        source.report(path, "this header has another meaning, so it can't name the caller")
    return header


def _connections(source: Source) -> int:
    path = source.find((), "httpClient", "MaxIdleConnsPerHost")
    source.carry(path, "limits.connections_per_endpoint")
    return source.number(path, least=0, most=_CONNECTIONS_LIMIT)


def _check(source: Source, path: Path | None, pattern: str, text: str, message: str) -> None:
    if path is not None and not re.search(pattern, text):
        source.report(path, message)


# --- keys and callers ---------------------------------------------------------------------------------------


class _Keys:
    """The keys of a file, by use and name. unusable: why, of those that are dropped."""

    def __init__(self, source: Source, compat: bool) -> None:
        self.compat = compat
        self.unusable: dict[str, str] = {}
        self.sign = self._read(source, "sign", _why_no_sign_key)
        self.encrypt = self._read(source, "encrypt", _why_no_aes_key)

    def of(self, use: str) -> Mapping[str, Secret]:
        return self.sign if use == "sign" else self.encrypt

    def _read(self, source: Source, use: str, why_not: Callable[[str], str]) -> dict[str, Secret]:
        section = source.find((), f"{use}KeyConfig")
        keys: dict[str, Secret] = {}
        if not self.compat:
            source.drop(section, "identities take the place of shared secrets", is_secret=True)
            return keys
        for name, path in source.members(section).items():
            _check(source, path, NAME_PATTERN, name, "this can't be the name of a key")
            text = source.text(path)
            if reason := why_not(text):
                self.unusable[name] = reason
                source.drop(path, reason, is_secret=True)
            else:
                source.carry(path, f"compat.{use}_keys.{name}", is_secret=True)
                keys[name] = Secret(text.encode())
        return keys


def _why_no_sign_key(text: str) -> str:
    return "" if is_secret_text(text) else "a sign key is printable text without white space at its ends"


def _why_no_aes_key(text: str) -> str:
    key = text.encode()
    if is_aes_key(key) and is_secret_text(text):
        return ""
    return f"a key of {len(key)} bytes is no AES key: that is 16, 24 or 32 printable ASCII characters"


def _callers(source: Source, section: Path | None, keys: _Keys, compress_to: str) -> dict[str, OldCaller]:
    """Read `serviceConfig`. compress_to: the caller's setting that compression is carried over to, if any."""
    callers = {}
    for name, path in source.members(section).items():
        _check(source, path, NAME_PATTERN, name, "this is not a caller's name")
        source.members(path)
        if keys.compat:
            sign, encrypt = (_key_used(source, name, path, use, keys) for use in ("sign", "encrypt"))
            callers[name] = OldCaller(sign, encrypt, _compressor(source, name, path, compress_to))
        else:
            source.drop(path, "the caller has an identity instead, by which all is sealed")
            callers[name] = OldCaller("", "", "none")
    return callers


def _key_used(source: Source, caller: str, path: Path, use: str, keys: _Keys) -> str:
    """Return the name of the key that a caller signs or encrypts with; "" when it doesn't."""
    becomes = f"compat.callers.{caller}.{use}"
    flag_path, name_path = source.find(path, f"{use}Enable"), source.find(path, f"{use}KeyName")
    source.carry(flag_path, becomes)
    if not source.flag(flag_path):
        source.drop(name_path, f"{use}Enable isn't true, so that the key is not used")
        return ""
    if name_path is None:
        source.report(path, f"`{use}Enable` is true, but `{use}KeyName` is missing")
        return ""
    source.carry(name_path, becomes)
    name = source.text(name_path)
    if name in keys.unusable:
        source.report(name_path, f"the key {name} can't be used: {keys.unusable[name]}", "name another")
    elif name not in keys.of(use):
        known = sorted(keys.of(use))
        advice = nearest(name, known) or (f"known here: {', '.join(known[:8])}" if known else "")
        source.report(name_path, f"there is no {use} key of the name {name}", advice)
    return name


def _compressor(source: Source, caller: str, path: Path, becomes: str) -> str:
    flag_path, number_path = source.find(path, "compressEnable"), source.find(path, "compressAlgorithm")
    for one in (flag_path, number_path):
        if becomes:
            source.carry(one, f"compat.callers.{caller}.{becomes}")
        else:
            source.drop(one, "an answer is compressed as its request was")
    number = source.number(number_path)
    if number not in _COMPRESSORS and number_path is not None:
        source.report(number_path, "there is no such algorithm", "0 for snappy, 1 for gzip")
    return _COMPRESSORS.get(number, "none") if source.flag(flag_path) else "none"


# --- routes and timeouts ------------------------------------------------------------------------------------


def _routes(source: Source, check_path: PathCheck) -> tuple[OldRoute, ...]:
    section = source.needed("serviceCallTypeConfig")
    routes = []
    for caller, caller_path in source.members(section).items():
        _check(source, caller_path, NAME_PATTERN, caller, "this is not a caller's name")
        for uri, path in source.members(caller_path).items():
            route = _route(source, caller, uri, path, check_path)
            if route is not None:
                routes.append(route)
    if section is not None and not routes:
        source.report(section, "no route can be carried over, so that every call would be refused")
    return tuple(routes)


def _route(source: Source, caller: str, uri: str, path: Path, check_path: PathCheck) -> OldRoute | None:
    """Return what an item allows; None, and the item dropped, when that is nothing."""
    source.members(path)
    call_type_path, qps_path = source.find(path, "callType"), source.find(path, "qps")
    call_type, qps = source.number(call_type_path), source.number(qps_path)
    service, inner, reason = _split(uri, check_path)
    if not reason and call_type <= 0:
        reason = "callType isn't above 0: the original refuses these calls"
    if not reason and qps <= 0:
        reason = "qps isn't above 0: the original lets none of these calls through"
    if reason:
        source.drop(path, reason)
        return None
    source.carry(call_type_path, "privileges", "a query may follow the path; the original refused it")
    if qps <= RATE_LIMIT_PER_S:
        source.carry(qps_path, "privileges[].rate")
        return OldRoute(caller, service, inner, qps)
    source.drop(qps_path, "so high a limit refuses nothing: the privilege has no rate")
    return OldRoute(caller, service, inner, None)


def _split(uri: str, check_path: PathCheck) -> tuple[str, str, str]:
    """Return service, path and, when a privilege can't state them, why."""
    before, _, rest = uri.partition("/")
    service, _, inner = rest.partition("/")
    if before or not re.search(NAME_PATTERN, service):
        return "", "", "this isn't /SERVICE/PATH"
    if "?" in uri:
        return "", "", "a privilege is for a path, whatever its query"
    if "*" in uri:
        return "", "", "a star in the path of a privilege stands for any segment"
    try:
        check_path(f"/{inner}")
    except ValueError as exc:
        return "", "", str(exc)
    return service, f"/{inner}", ""


def _timeouts(source: Source, context_path: str, check_path: PathCheck) -> dict[str, float]:
    """Return the longest timeout of each service: here services have one, not routes."""
    timeouts: dict[str, float] = {}
    for uris_path in source.members(source.find((), "serviceTimeoutConfig")).values():
        for uri, path in source.members(uris_path).items():
            milliseconds = source.number(path)
            service, _, reason = _split(uri.removeprefix(context_path), check_path)
            if not reason and milliseconds <= 0:
                reason = "the original takes it for none"
            if reason:
                source.drop(path, reason)
                continue
            source.carry(path, f"services.{service}.timeout_s", "the longest one of the service")
            timeout_s = min(milliseconds / 1000, _TIMEOUT_LIMIT_S)
            timeouts[service] = max(timeout_s, timeouts.get(service, 0.0))
    return timeouts
