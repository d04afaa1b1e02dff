"""The rules of an in proxy's config that go beyond single fields, and its snapshot."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from fnmatch import fnmatchcase
from itertools import chain

from msgspec import structs

from fastproxy.config.address import Address
from fastproxy.config.callers_dir import CallersReader
from fastproxy.config.key_dates import check_dates
from fastproxy.config.keys import KeyMaterialError
from fastproxy.config.problem import Path
from fastproxy.config.resolve import NOWHERE, Resolver
from fastproxy.config.resolve_compat import resolve_compat_in
from fastproxy.config.resolve_link import check_windows, resolve_peer, resolve_tls
from fastproxy.config.resolve_tracing import resolve_tracing
from fastproxy.config.schema import InConfig, InService, Privilege
from fastproxy.config.snapshot import (
    CallersDir,
    Center,
    Grant,
    InSnapshot,
    LocalService,
    OwnKey,
    Peer,
    TlsFiles,
)

_TLS: Path = ("listen", "tls")
_ANY_ADDRESS = frozenset(("0.0.0.0", "::"))  # noqa: S104 - compared with, not bound
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))

PatternCheck = Callable[[str, bool], object]
"""Raises ValueError for a path pattern that can't be meant; the second argument allows ambiguous ones."""


def resolve_in(config: InConfig, resolver: Resolver, file: str, check_pattern: PatternCheck) -> InSnapshot:
    """Resolve an in proxy's config; what is wrong is reported to `resolver`."""
    listen = resolver.listener(config.listen.address, ("listen", "address"))
    own_keys = _own_keys(config, resolver)
    callers, callers_dir = _callers(config, resolver)
    check_windows(config.link, resolver)
    services = {name: _service(name, service, resolver) for name, service in config.services.items()}
    compat = resolve_compat_in(config, resolver, callers)
    # A name that is written but unsound has its own problem; it isn't unknown as well.
    written = chain.from_iterable(map(resolver.structure.written, (("callers",), ("compat", "callers"))))
    caller_names = callers.keys() | (name for name in written if name not in callers)
    service_names = resolver.structure.written(("services",))
    if not service_names:
        resolver.report(("services",), "no service is configured, so every call would be refused")
    grants = tuple(
        _grant(index, privilege, caller_names, service_names, resolver=resolver, check_pattern=check_pattern)
        for index, privilege in enumerate(config.privileges)
    )
    if not config.privileges and not resolver.structure.has_problem(("privileges",)):
        resolver.warn(("privileges",), "there are no privileges, so every call is refused")
    if config.enforce == "report":
        resolver.warn(("enforce",), "privileges and rates are reported only: every known caller may call all")
    tracing = resolve_tracing(config.tracing, config.name, resolver)
    return InSnapshot(
        file=resolver.folder / file,
        config=structs.replace(config, callers={}),
        listen=listen,
        admin=resolver.admin(config.admin, listen),
        own_keys=own_keys,
        tls=_tls(config, resolver),
        callers=callers,
        callers_dir=callers_dir,
        caller_names=(*callers, *(compat.callers if compat else ())),
        services=services,
        compat=compat,
        center=_center(config, resolver, listen),
        grants=grants,
        warnings=tuple(resolver.warnings),
        lapsed=tuple(resolver.lapsed),
        tracing=tracing,
    )


def _own_keys(config: InConfig, resolver: Resolver) -> tuple[OwnKey, ...]:
    written = resolver.structure.written(()) & {"private_key", "private_keys"}
    if _TLS[-1] in resolver.structure.written(_TLS[:-1]):
        for setting in sorted(written):
            message = f"with `listen.tls` a certificate proves this receiver: `{setting}` has no meaning"
            resolver.report((setting,), message, "remove it")
    elif len(written) > 1:
        resolver.report(("private_keys",), "`private_key` and `private_keys` exclude each other")
    elif not written and {"link", "http"} & set(config.listen.accept):
        resolver.report((), "`private_key` is missing", "add `private_key: {file: NAME.key}`")
    if config.private_key is not None:
        return (resolver.receiver_key(config.private_key, ("private_key",), config.name),)
    return tuple(
        resolver.receiver_key(source, ("private_keys", index), config.name)
        for index, source in enumerate(config.private_keys)
    )


def _tls(config: InConfig, resolver: Resolver) -> TlsFiles | None:
    """Resolve the certificate of the listener, with which nothing but a link proves who calls."""
    tls = config.listen.tls
    if tls is None:
        return None
    if set(config.listen.accept) != {"link"}:
        path: Path = ("listen", "accept")
        own = "accept" in resolver.structure.written(("listen",))
        resolver.report(
            path if own else _TLS, "a listener with `tls` takes nothing but links", "write `accept: [link]`"
        )
    for name in config.callers:
        if "public_keys" in resolver.structure.written(("callers", name)):
            resolver.report(
                ("callers", name, "public_keys"),
                "with `listen.tls` a certificate proves who calls: `public_keys` have no meaning",
                "write `tls_id: …` instead",
            )
    if config.callers_dir:
        resolver.report(
            ("callers_dir",),
            "with `listen.tls` a certificate proves who calls, not a key",
            "remove it",
        )
    return resolve_tls(tls, _TLS, f"receiver {config.name}", resolver)


def _callers(config: InConfig, resolver: Resolver) -> tuple[dict[str, Peer], CallersDir | None]:
    """Return all callers with an identity, and where some of them come from."""
    callers = {
        name: resolve_peer(name, caller, ("callers", name), f"caller {name}", _TLS, resolver)
        for name, caller in config.callers.items()
    }
    if not config.callers_dir:
        return callers, None
    source = CallersDir(resolver.folder / config.callers_dir, frozenset(config.callers), resolver.key_uses())
    path: Path = ("callers_dir",)
    try:
        found = CallersReader(source).read(int(resolver.now_unix_s * 1e9))
    except KeyMaterialError as exc:
        resolver.report(path, exc.message, exc.suggestion)
        return callers, None
    for message, suggestion in found.troubles:
        resolver.report(path, message, suggestion)
    for name, peer in found.callers.items():
        callers[name] = peer
        check_dates(peer, path, f"caller {name}", resolver)
    return callers, source


def _service(name: str, service: InService, resolver: Resolver) -> LocalService:
    path: Path = ("services", name)
    if not re.fullmatch(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9a-fA-F:.]+\](:[0-9]{1,5})?", service.host):
        own = "host" in resolver.structure.written(path)
        advice = "`endpoint`, `caller`, or a host name with or without a port"
        resolver.report(
            (*path, "host") if own else ("defaults", "host"), "this can't be a Host header", advice
        )
    endpoints_path = (*path, "endpoints")
    center_name = resolver.center_name(service.endpoints, endpoints_path, name)
    return LocalService(
        name,
        () if center_name else resolver.endpoints(service.endpoints, endpoints_path),
        center_name,
        service,
        resolver.structure.line(path),
    )


def _center(config: InConfig, resolver: Resolver, listen: Address) -> Center | None:
    if config.center is None:
        return None
    center = config.center
    path: Path = ("center", "advertise")
    advertise = None
    if center.advertise:
        (advertise,) = resolver.endpoints([center.advertise], path)
        if advertise is not NOWHERE and not advertise.is_ip:
            resolver.report(path, "out proxies take `IP:PORT` from the center, and resolve no names")
    if not center.register:
        for setting in ("advertise", "token"):
            if getattr(center, setting):
                message = f"`{setting}` has no meaning with `register: false`"
                resolver.report(("center", setting), message, "remove it")
        return resolver.center(center.url, center.token, None)
    if advertise is None and listen is not NOWHERE:
        if not listen.is_ip or not listen.port or listen.host in _ANY_ADDRESS:
            resolver.report(
                ("center",),
                f"out proxies can't reach this receiver at {listen}, its `listen.address`",
                "add `advertise: IP:PORT`, or `register: false`",
            )
        advertise = listen
    return resolver.center(center.url, center.token, advertise)


def _grant(
    index: int,
    privilege: Privilege,
    caller_names: Set[str],
    service_names: Set[str],
    *,
    resolver: Resolver,
    check_pattern: PatternCheck,
) -> Grant:
    path: Path = ("privileges", index)
    for place, pattern in enumerate(privilege.paths):
        try:
            check_pattern(pattern, privilege.allow_ambiguous_paths)
        except ValueError as exc:
            resolver.report((*path, "paths", place), str(exc))
    for place, method in enumerate(privilege.methods):
        if method != method.upper() and method.upper() in _METHODS:
            resolver.report(
                (*path, "methods", place), f"methods are case-sensitive: {method} is none", method.upper()
            )
    return Grant(
        callers=_expand(privilege.callers, caller_names, (*path, "callers"), "caller", resolver),
        services=_expand(privilege.services, service_names, (*path, "services"), "service", resolver),
        methods=tuple(privilege.methods),
        paths=tuple(privilege.paths),
        rate=privilege.rate,
        allow_ambiguous_paths=privilege.allow_ambiguous_paths,
        index=index,
        line=resolver.structure.line(path),
    )


def _expand(globs: list[str], names: Set[str], path: Path, what: str, resolver: Resolver) -> tuple[str, ...]:
    """Return the names that are meant, each once, in the order of the globs."""
    found: dict[str, None] = {}
    for place, glob in enumerate(globs):
        if "*" not in glob:
            if resolver.known_name(glob, names, (*path, place), what):
                found[glob] = None
            continue
        matches = sorted(name for name in names if fnmatchcase(name, glob))
        if not matches:
            resolver.report((*path, place), f"{glob} matches no {what}", "remove it, or correct the pattern")
        found.update((name, None) for name in matches)
    return tuple(found)
