"""The rules of an in proxy's config that go beyond single fields, and its snapshot."""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from fnmatch import fnmatchcase

from fastproxy.config.address import Address
from fastproxy.config.keys import KeyMaterialError, read_key_file
from fastproxy.config.problem import Path
from fastproxy.config.resolve import NOWHERE, Resolver
from fastproxy.config.resolve_compat import resolve_compat_in
from fastproxy.config.schema import InConfig, InService, Privilege
from fastproxy.config.schema_parts import NAME_PATTERN
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import Center, Grant, InSnapshot, LocalService, Peer

CALLERS_DIR_LIMIT = 100_000
"""Callers in a folder; protects against a wrong one."""

_ANY_ADDRESS = frozenset(("0.0.0.0", "::"))  # noqa: S104 - compared with, not bound
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))

PatternCheck = Callable[[str, bool], object]
"""Raises ValueError for a path pattern that can't be meant; the second argument allows ambiguous ones."""


def resolve_in(config: InConfig, resolver: Resolver, file: str, check_pattern: PatternCheck) -> InSnapshot:
    """Resolve an in proxy's config; what is wrong is reported to `resolver`."""
    listen = resolver.listener(config.listen.address, ("listen", "address"))
    private_keys = _private_keys(config, resolver)
    callers = _callers(config, resolver)
    services = {name: _service(name, service, resolver) for name, service in config.services.items()}
    compat = resolve_compat_in(config, resolver, {name: peer.line for name, peer in callers.items()})
    # A name that is written but unsound has its own problem; it isn't unknown as well.
    caller_names = (
        callers.keys()
        | resolver.structure.written(("callers",))
        | resolver.structure.written(("compat", "callers"))
    )
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
    return InSnapshot(
        file=resolver.folder / file,
        config=config,
        listen=listen,
        admin=resolver.admin(config.admin, listen),
        private_keys=private_keys,
        callers=callers,
        caller_names=(*callers, *(compat.callers if compat else ())),
        services=services,
        compat=compat,
        center=_center(config, resolver, listen),
        grants=grants,
        warnings=tuple(resolver.warnings),
    )


def _private_keys(config: InConfig, resolver: Resolver) -> tuple[Secret, ...]:
    written = resolver.structure.written(())
    use = f"receiver {config.name}"
    if {"private_key", "private_keys"} <= written:
        resolver.report(("private_keys",), "`private_key` and `private_keys` exclude each other")
    elif "http" in config.listen.accept and not {"private_key", "private_keys"} & written:
        resolver.report((), "`private_key` is missing", "add `private_key: {file: NAME.key}`")
    if config.private_key is not None:
        return (resolver.private_key(config.private_key, ("private_key",), use),)
    return tuple(
        resolver.private_key(source, ("private_keys", index), use)
        for index, source in enumerate(config.private_keys)
    )


def _callers(config: InConfig, resolver: Resolver) -> dict[str, Peer]:
    callers: dict[str, Peer] = {}
    for name, caller in config.callers.items():
        path: Path = ("callers", name)
        use = f"caller {name}"
        callers[name] = Peer(
            name,
            resolver.public_keys(caller.public_keys, (*path, "public_keys"), use),
            resolver.psk(caller.psk, (*path, "psk"), use),
            resolver.structure.line(path),
        )
    if config.callers_dir:
        _add_callers_of_folder(config.callers_dir, callers, resolver)
    return callers


def _add_callers_of_folder(folder: str, callers: dict[str, Peer], resolver: Resolver) -> None:
    path: Path = ("callers_dir",)
    try:
        files = sorted(entry for entry in (resolver.folder / folder).iterdir() if entry.name.endswith(".pub"))
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "its name is not valid"
        resolver.report(path, f"the folder {folder} can't be read: {reason}")
        return
    if len(files) > CALLERS_DIR_LIMIT:
        resolver.report(path, f"the folder {folder} holds more than {CALLERS_DIR_LIMIT} callers")
        return
    for file in files:
        name = file.name.removesuffix(".pub")
        if not re.search(NAME_PATTERN, name):
            resolver.report(path, f"{file!r} does not bear the name of a caller")
            continue
        if name in callers:
            resolver.report(path, f"the caller {name} of {file} is described in `callers` too", "keep one")
            continue
        try:
            keys = tuple(read_key_file(file, secret=False))
        except KeyMaterialError as exc:
            resolver.report(path, exc.message, exc.suggestion)
            continue
        for key in keys:
            resolver.claim_key(key, path, f"caller {name}")
        callers[name] = Peer(name, keys, None, 0)


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
        found.update(dict.fromkeys(matches))
    return tuple(found)
