"""The rules of an out proxy's config that go beyond single fields, and its snapshot."""

from __future__ import annotations

from fastproxy.config.address import Address
from fastproxy.config.problem import Path
from fastproxy.config.resolve import Resolver
from fastproxy.config.schema import OutConfig, OutService, Receiver
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import OutSnapshot, Peer, RemoteService

SharedReceivers = dict[str, tuple[Peer, tuple[Address, ...]]]


def resolve_out(config: OutConfig, resolver: Resolver, file: str) -> OutSnapshot:
    """Resolve an out proxy's config; what is wrong is reported to `resolver`."""
    listen = resolver.plain_listener(
        config.listen.address,
        ("listen", "address"),
        allow_remote=config.listen.allow_remote,
        exposes="whoever reaches it speaks as the caller, unencrypted",
    )
    _check_service_names(config, resolver)
    caller_keys = _caller_keys(config, resolver)
    shared = _shared_receivers(config, resolver)
    services = {
        name: found
        for name, service in config.services.items()
        if (found := _service(name, service, shared, resolver)) is not None
    }
    _check_receivers_agree(services, resolver)
    if not resolver.structure.written(("services",)):
        resolver.report(("services",), "no service is configured, so every call would be refused")
    return OutSnapshot(
        file=resolver.folder / file,
        config=config,
        listen=listen,
        admin=resolver.admin(config.admin, listen),
        caller=config.caller,
        caller_keys=caller_keys,
        services=services,
        warnings=tuple(resolver.warnings),
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


def _caller_keys(config: OutConfig, resolver: Resolver) -> dict[str, Secret]:
    """Read the private key of each caller that can occur."""
    written = resolver.structure.written(())
    if "callers" in written:
        for setting in ("caller", "private_key"):
            if setting in written:
                resolver.report(
                    (setting,), f"`{setting}` and `callers` exclude each other", "keep one of them"
                )
        names = config.callers.names if config.callers else {}
        return {
            name: resolver.private_key(
                caller.private_key, ("callers", "names", name, "private_key"), f"caller {name}"
            )
            for name, caller in names.items()
        }
    for setting, example in (("caller", "caller: NAME"), ("private_key", "private_key: {file: NAME.key}")):
        if setting not in written:
            resolver.report((), f"`{setting}` is missing", f"add `{example}`")
    if config.private_key is None:
        return {}
    key = resolver.private_key(config.private_key, ("private_key",), f"caller {config.caller}")
    return {config.caller: key}


def _shared_receivers(config: OutConfig, resolver: Resolver) -> SharedReceivers:
    shared: SharedReceivers = {}
    for name, receiver in config.receivers.items():
        path: Path = ("receivers", name)
        use = f"receiver {name}"
        peer = Peer(
            name,
            resolver.public_keys(receiver.public_keys, (*path, "public_keys"), use),
            resolver.psk(receiver.psk, (*path, "psk"), use),
            resolver.structure.line(path),
        )
        shared[name] = (peer, resolver.endpoints(receiver.endpoints, (*path, "endpoints")))
    return shared


def _service(
    name: str, service: OutService, shared: SharedReceivers, resolver: Resolver
) -> RemoteService | None:
    path: Path = ("services", name)
    own_settings = resolver.structure.written(path)
    receiver_path = (*path, "receiver") if "receiver" in own_settings else ("defaults", "receiver")
    line = resolver.structure.line(path)
    match service.receiver:
        case None:
            if "receiver" not in own_settings | resolver.structure.written(("defaults",)):
                advice = "add `receiver: {name: …, public_keys: […]}` or a name from `receivers`"
                resolver.report(path, "`receiver` is missing", advice)
            return None
        case Receiver() as receiver:
            use = f"receiver {receiver.name}"
            peer = Peer(
                receiver.name,
                resolver.public_keys(receiver.public_keys, (*receiver_path, "public_keys"), use),
                resolver.psk(receiver.psk, (*receiver_path, "psk"), use),
                resolver.structure.line(receiver_path),
            )
            if "endpoints" not in own_settings:
                resolver.report(path, "`endpoints` is missing", "add the in proxy's `HOST:PORT`")
            elif not service.endpoints and not resolver.structure.has_problem((*path, "endpoints")):
                resolver.report((*path, "endpoints"), "needs at least 1 item(s)")
            endpoints = resolver.endpoints(service.endpoints, (*path, "endpoints"))
        case str(reference):
            if resolver.structure.has_problem(receiver_path):
                return None
            known = resolver.structure.written(("receivers",))
            if (
                not resolver.known_name(reference, known, receiver_path, "receiver")
                or reference not in shared
            ):
                return None
            peer, endpoints = shared[reference]
            if "endpoints" in own_settings:
                resolver.report(
                    (*path, "endpoints"),
                    f"the endpoints stand with the receiver {reference} already",
                    "remove them here, or write the receiver out here",
                )
    return RemoteService(name, peer, endpoints, service, line)


def _check_receivers_agree(services: dict[str, RemoteService], resolver: Resolver) -> None:
    """One name must mean one identity, wherever it is written."""
    first: dict[str, Peer] = {}
    for service in services.values():
        peer = service.receiver
        known = first.setdefault(peer.name, peer)
        if (set(known.public_keys), known.psk) != (set(peer.public_keys), peer.psk):
            resolver.report(
                ("services", service.name, "receiver"),
                f"the receiver {peer.name} has other keys at line {known.line}",
                "describe it once, in `receivers`",
            )
