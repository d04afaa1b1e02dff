"""The rules of an out proxy's config that go beyond single fields, and its snapshot."""

from __future__ import annotations

from fastproxy.config.address import Address
from fastproxy.config.problem import Path
from fastproxy.config.resolve import Resolver
from fastproxy.config.resolve_compat import resolve_compat_out
from fastproxy.config.resolve_link import check_windows, resolve_peer, resolve_tls
from fastproxy.config.resolve_tracing import resolve_tracing
from fastproxy.config.schema import OutConfig, OutService, Receiver
from fastproxy.config.snapshot import OutSnapshot, OwnKey, Peer, RemoteService, TlsFiles

SharedReceivers = dict[str, tuple[Peer, tuple[Address, ...], str]]
"""Receiver, endpoints and name at the center, by the receiver's name."""

_TLS: Path = ("tls",)
_OF_SEALED_WAYS = ("receiver", "cipher", "compress", "compress_min_bytes", "pad_to_bytes")
"""Settings of a service that `compat` can't keep."""


def resolve_out(config: OutConfig, resolver: Resolver, file: str) -> OutSnapshot:
    """Resolve an out proxy's config; what is wrong is reported to `resolver`."""
    listen = resolver.plain_listener(
        config.listen.address,
        ("listen", "address"),
        allow_remote=config.listen.allow_remote,
        exposes="whoever reaches it speaks as the caller, unencrypted",
    )
    _check_service_names(config, resolver)
    caller_names = _caller_names(config)
    own_keys = _own_keys(config, resolver)
    shared = _shared_receivers(config, resolver)
    services = {
        name: found
        for name, service in config.services.items()
        if (found := _service(name, service, shared, resolver)) is not None
    }
    _check_receivers_agree(services, resolver)
    check_windows(config.link, resolver)
    if not resolver.structure.written(("services",)):
        resolver.report(("services",), "no service is configured, so every call would be refused")
    tracing = resolve_tracing(config.tracing, config.name, resolver)
    return OutSnapshot(
        file=resolver.folder / file,
        config=config,
        listen=listen,
        admin=resolver.admin(config.admin, listen),
        caller=config.caller,
        caller_names=caller_names,
        own_keys=own_keys,
        tls=_tls(config, resolver),
        services=services,
        compat=resolve_compat_out(config, resolver, caller_names),
        center=resolver.center(config.center.url, None, None) if config.center else None,
        warnings=tuple(resolver.warnings),
        lapsed=tuple(resolver.lapsed),
        tracing=tracing,
    )


def _check_service_names(config: OutConfig, resolver: Resolver) -> None:
    listen = config.listen
    known = resolver.structure.written(("services",))
    if listen.service_from == "fixed":
        if not listen.service:
            resolver.report(
                ("listen", "service_from"), "`service_from: fixed` needs `service`", "add `service: NAME`"
            )
        if listen.default_service:
            resolver.report(
                ("listen", "default_service"), "`default_service` has no meaning with `service_from: fixed`"
            )
    elif listen.service:
        resolver.report(
            ("listen", "service"),
            f"`service` has no meaning with `service_from: {listen.service_from}`",
            "write `default_service`, or `service_from: fixed`",
        )
    for setting in ("service", "default_service"):
        if name := getattr(listen, setting):
            resolver.known_name(name, known, ("listen", setting), "service")


def _caller_names(config: OutConfig) -> tuple[str, ...]:
    if config.callers is not None:
        return tuple(config.callers.names)
    return (config.caller,) if config.caller else ()


def _own_keys(config: OutConfig, resolver: Resolver) -> tuple[OwnKey, ...]:
    """Read the private key of each caller that can occur; only `compat` and certificates do without."""
    written = resolver.structure.written(())
    needs_keys = not config.services or any(_needs_key(one, config) for one in config.services.values())
    if "callers" in written:
        for setting in ("caller", "private_key"):
            if setting in written:
                resolver.report(
                    (setting,), f"`{setting}` and `callers` exclude each other", "keep one of them"
                )
        return _claimable_keys(config, resolver, needs_keys)
    if "caller" not in written:
        resolver.report((), "`caller` is missing", "add `caller: NAME`")
    if needs_keys and "private_key" not in written:
        resolver.report((), "`private_key` is missing", "add `private_key: {file: NAME.key}`")
    if config.private_key is None:
        return ()
    return (resolver.caller_key(config.private_key, ("private_key",), config.caller),)


def _needs_key(service: OutService, config: OutConfig) -> bool:
    """Whether callers prove themselves to a service's receiver by their keys."""
    receiver = service.receiver
    described = config.receivers.get(receiver) if isinstance(receiver, str) else receiver
    return service.transport != "compat" and (described is None or not described.tls_id)


def _claimable_keys(config: OutConfig, resolver: Resolver, needs_keys: bool) -> tuple[OwnKey, ...]:
    keys = []
    for name, caller in config.callers.names.items() if config.callers else ():
        path: Path = ("callers", "names", name)
        if caller.private_key is not None:
            keys.append(resolver.caller_key(caller.private_key, (*path, "private_key"), name))
        elif needs_keys and not resolver.structure.has_problem(path):
            resolver.report(path, "`private_key` is missing", "add `private_key: {file: NAME.key}`")
    return tuple(keys)


def _tls(config: OutConfig, resolver: Resolver) -> TlsFiles | None:
    """Resolve the certificate of the caller, which is one: a certificate stands for a single name."""
    if config.tls is None:
        return None
    if "callers" in resolver.structure.written(()):
        resolver.report(
            _TLS, "`tls` proves a single caller, and `callers` names several", "use `caller: NAME`"
        )
    written_out = (service.receiver for service in config.services.values())
    ids = [receiver.tls_id for receiver in config.receivers.values()]
    ids += [receiver.tls_id for receiver in written_out if isinstance(receiver, Receiver)]
    if not any(ids):
        resolver.warn(_TLS, "no receiver has a `tls_id`, so this is not used")
    return resolve_tls(config.tls, _TLS, f"caller {config.caller}", resolver)


def _shared_receivers(config: OutConfig, resolver: Resolver) -> SharedReceivers:
    shared: SharedReceivers = {}
    for name, receiver in config.receivers.items():
        path: Path = ("receivers", name)
        peer = resolve_peer(name, receiver, path, f"receiver {name}", _TLS, resolver)
        shared[name] = (peer, *_endpoints(receiver.endpoints, (*path, "endpoints"), name, resolver))
    return shared


def _service(
    name: str, service: OutService, shared: SharedReceivers, resolver: Resolver
) -> RemoteService | None:
    path: Path = ("services", name)
    own_settings = resolver.structure.written(path)
    receiver_path = (*path, "receiver") if "receiver" in own_settings else ("defaults", "receiver")
    line = resolver.structure.line(path)
    if service.transport == "compat":
        return _compat_service(name, service, resolver)
    match service.receiver:
        case None:
            if "receiver" not in own_settings | resolver.structure.written(("defaults",)):
                advice = "add `receiver: {name: …, public_keys: […]}` or a name from `receivers`"
                resolver.report(path, "`receiver` is missing", advice)
            return None
        case Receiver() as receiver:
            peer_name = receiver.name
            peer = resolve_peer(peer_name, receiver, receiver_path, f"receiver {peer_name}", _TLS, resolver)
            endpoints, center_name = _own_endpoints(name, service, receiver.name, resolver)
        case str(reference):
            if resolver.structure.has_problem(receiver_path):
                return None
            known = resolver.structure.written(("receivers",))
            if (
                not resolver.known_name(reference, known, receiver_path, "receiver")
                or reference not in shared
            ):
                return None
            peer, endpoints, center_name = shared[reference]
            if "endpoints" in own_settings:
                resolver.report(
                    (*path, "endpoints"),
                    f"the endpoints stand with the receiver {reference} already",
                    "remove them here, or write the receiver out here",
                )
    _check_transport(service, path, peer, resolver)
    return RemoteService(name, peer, endpoints, center_name, service, line)


def _check_transport(service: OutService, path: Path, peer: Peer, resolver: Resolver) -> None:
    """Report what a service's transport can't do."""
    written = resolver.structure.written(path)
    if peer.tls_id and service.transport != "link":
        resolver.report(
            (*path, "transport") if "transport" in written else path,
            f"the receiver {peer.name} has a `tls_id`, which proves it over `transport: link` alone",
            "use link, or give it `public_keys`",
        )
    if service.transport == "link" and "cipher" in written:
        message = "`cipher` has no meaning with `transport: link`, which has one cipher"
        resolver.report((*path, "cipher"), message, "remove it here")


def _compat_service(name: str, service: OutService, resolver: Resolver) -> RemoteService:
    path: Path = ("services", name)
    for setting in _OF_SEALED_WAYS:
        if setting in resolver.structure.written(path):
            advice = "see `compat.callers`" if setting == "compress" else "remove it here"
            resolver.report((*path, setting), f"`{setting}` has no meaning with `transport: compat`", advice)
    endpoints, center_name = _own_endpoints(name, service, name, resolver)
    if center_name:  # elsewhere a key is pinned
        resolver.warn(
            (*path, "endpoints"),
            "whoever controls the center can have these calls answered, and read where they aren't encrypted",
            "write the addresses here, or use `transport: link`",
        )
    return RemoteService(name, None, endpoints, center_name, service, resolver.structure.line(path))


def _own_endpoints(
    name: str, service: OutService, center_name: str, resolver: Resolver
) -> tuple[tuple[Address, ...], str]:
    """Resolve the endpoints that a service must have, as `_endpoints` does."""
    path: Path = ("services", name)
    if "endpoints" not in resolver.structure.written(path):
        resolver.report(path, "`endpoints` is missing", "add the in proxy's `HOST:PORT`")
    elif not service.endpoints and not resolver.structure.has_problem((*path, "endpoints")):
        resolver.report((*path, "endpoints"), "needs at least 1 item(s)")
    return _endpoints(service.endpoints, (*path, "endpoints"), center_name, resolver)


def _endpoints(
    texts: list[str], path: Path, center_name: str, resolver: Resolver
) -> tuple[tuple[Address, ...], str]:
    """Return addresses and "", or none and the name to ask the center for.

    Args:
        center_name: what `center` alone stands for.
    """
    if asked := resolver.center_name(texts, path, center_name):
        return (), asked
    return resolver.endpoints(texts, path), ""


def _check_receivers_agree(services: dict[str, RemoteService], resolver: Resolver) -> None:
    """One name must mean one identity, wherever it is written."""
    first: dict[str, Peer] = {}
    for service in services.values():
        peer = service.receiver
        if peer is None:
            continue
        known = first.setdefault(peer.name, peer)
        proof = (set(peer.public_keys), peer.key_dates, peer.tls_id, peer.psk)
        if (set(known.public_keys), known.key_dates, known.tls_id, known.psk) != proof:
            resolver.report(
                ("services", service.name, "receiver"),
                f"the receiver {peer.name} is proven by something else at line {known.line}",
                "describe it once, in `receivers`",
            )
