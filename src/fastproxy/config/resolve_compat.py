"""The rules of `compat` that go beyond single fields, for both roles.

Shared secrets prove less than identities: what a config of `compat` leaves open is said at every load. A
caller counts as proven by a sign key that is its alone; where there is none, the config must say that claims
are trusted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from fastproxy.config.problem import Path
from fastproxy.config.resolve import Resolver
from fastproxy.config.schema import InConfig, OutConfig
from fastproxy.config.schema_compat import InCompat, InCompatCaller, OutCompatCaller
from fastproxy.config.schema_parts import KeySource
from fastproxy.config.secret import Secret
from fastproxy.config.snapshot import CompatDemand, CompatIn, CompatOut, CompatSender, Peer

AES_KEY_BYTES = (16, 24, 32)
SHORT_KEY_BYTES = 16
"""Sign keys below it can be guessed from one recorded message."""

_TAKEN_HEADERS = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "connection", "keep-alive", "proxy-connection"),
        *("te", "trailer", "upgrade", "expect", "http2-settings", "content-type"),
        *("proxy-authenticate", "proxy-authorization", "via", "forwarded", "x-forwarded-for"),
        *("fastproxy-caller", "fastproxy-exchange", "fastproxy-timeout-ms", "request-dead-time"),
        *("proxy-error-message", "proxy-name"),
    )
)
"""Headers that frame messages or that the proxies write themselves, with `_` for what it may be read as."""

_SECTION: Path = ("compat",)
_CALLERS: Path = ("compat", "callers")
_USES = {"sign_keys": "sign key", "encrypt_keys": "encrypt key"}
_LACKS = {"sign": "aren't signed: anyone between can change them", "encrypt": "can be read by anyone between"}

Keys = dict[str, Secret]


def resolve_compat_out(
    config: OutConfig, resolver: Resolver, caller_names: Iterable[str]
) -> CompatOut | None:
    """Resolve an out proxy's section.

    Args:
        config: with its services. resolver: gets what is wrong. caller_names: every caller that can occur.
    """
    used = [name for name, service in config.services.items() if service.transport == "compat"]
    written = resolver.structure.written(())
    if "compat" not in written:
        for name in used:
            resolver.report(
                ("services", name), "`transport: compat` needs the section `compat`", "see the reference"
            )
    compat = config.compat
    if compat is None:
        return None
    _check_caller_header(compat.caller_header, resolver)
    if used:
        _warn_of_weakness(resolver)
    else:
        resolver.warn(_SECTION, "no service has `transport: compat`, so this is not used")
    sign_keys, encrypt_keys = _keys(compat.sign_keys, compat.encrypt_keys, resolver)
    described = resolver.structure.written(_CALLERS)
    for name in caller_names:
        if used and name not in described:
            advice = f"add `{name}: {{sign: …, encrypt: …}}`; `{name}: {{}}` does neither"
            resolver.report(_CALLERS, f"it isn't said how the messages of {name} are made", advice)
    callers = {}
    for name, caller in compat.callers.items():
        if caller_names:
            resolver.known_name(name, set(caller_names), (*_CALLERS, name), "caller")
        callers[name] = _sender(name, caller, sign_keys, encrypt_keys, resolver)
    return CompatOut(
        caller_header=compat.caller_header,
        context_path=compat.context_path,
        body_limit_bytes=compat.body_limit_bytes,
        encrypt_keys=encrypt_keys,
        callers=callers,
    )


def resolve_compat_in(
    config: InConfig, resolver: Resolver, identities: Mapping[str, Peer]
) -> CompatIn | None:
    """Resolve an in proxy's section.

    Args:
        config: with what its listener accepts. resolver: gets what is wrong.
        identities: the callers that have one.
    """
    accepted = "compat" in config.listen.accept
    accept: Path = ("listen", "accept")
    if accepted and "compat" not in resolver.structure.written(()):
        resolver.report(accept, "`compat` is accepted but not configured", "add the section `compat`")
    compat = config.compat
    if compat is None:
        return None
    _check_caller_header(compat.caller_header, resolver)
    if accepted:
        _warn_of_weakness(resolver)
    elif not resolver.structure.has_problem(accept):
        resolver.report(
            _SECTION, "`listen.accept` doesn't contain `compat`", "add it there, or remove this section"
        )
    sign_keys, encrypt_keys = _keys(compat.sign_keys, compat.encrypt_keys, resolver)
    for name, caller in compat.callers.items():
        path = (*_CALLERS, name)
        _check_key_names(caller, path, resolver)
        if name in identities:
            where = f"line {identities[name].line}" if identities[name].line else "`callers_dir`"
            resolver.report(
                path,
                f"{name} has an identity ({where}), so it is refused over `compat`",
                "remove it here, or remove its public keys",
            )
    _check_proof(compat, sign_keys, resolver)
    return CompatIn(
        caller_header=compat.caller_header,
        context_path=compat.context_path,
        trust_claimed_caller=compat.trust_claimed_caller,
        body_limit_bytes=compat.body_limit_bytes,
        sign_keys=sign_keys,
        encrypt_keys=encrypt_keys,
        callers={
            name: CompatDemand(tuple(caller.sign), tuple(caller.encrypt))
            for name, caller in compat.callers.items()
        },
    )


def _warn_of_weakness(resolver: Resolver) -> None:
    resolver.warn(
        _SECTION,
        "compat protects weakly: fixed IV, unsigned paths and answers, nothing against replay",
        "move to link with `fastproxy migrate --transport link`",
    )


def is_taken_header(name: str) -> bool:
    """Whether a header means something else, so that it can't name the caller."""
    return name.lower().replace("_", "-") in _TAKEN_HEADERS


def _check_caller_header(name: str, resolver: Resolver) -> None:
    if is_taken_header(name):
        message = f"the header {name} has another meaning, so it can't name the caller"
        resolver.report(("compat", "caller_header"), message, "a name of its own, as C_ServiceName")


# --- keys ---------------------------------------------------------------------------------------------------


def _keys(
    sign: Mapping[str, KeySource], encrypt: Mapping[str, KeySource], resolver: Resolver
) -> tuple[Keys, Keys]:
    """Read the keys of both uses, without those that can't be used."""
    sign_keys = _read(sign, "sign_keys", resolver)
    for name, key in sign_keys.items():
        if (length := len(key.reveal())) < SHORT_KEY_BYTES:
            resolver.warn(
                ("compat", "sign_keys", name),
                f"a key of {length} bytes can be guessed from one recorded message",
                f"{SHORT_KEY_BYTES} random characters at least",
            )
    encrypt_keys = _read(encrypt, "encrypt_keys", resolver)
    for name, key in list(encrypt_keys.items()):
        if not is_aes_key(key.reveal()):
            resolver.report(
                ("compat", "encrypt_keys", name),
                f"this key has {len(key.reveal())} bytes, which makes no AES key",
                "16, 24 or 32 ASCII characters",
            )
            del encrypt_keys[name]
    _check_uses(sign_keys, encrypt_keys, resolver)
    return sign_keys, encrypt_keys


def is_aes_key(key: bytes) -> bool:
    """Whether the original can encrypt with this key."""
    return len(key) in AES_KEY_BYTES and key.isascii()


def _read(sources: Mapping[str, KeySource], setting: str, resolver: Resolver) -> Keys:
    keys: Keys = {}
    for name, source in sources.items():
        secret = resolver.text_secret(source, ("compat", setting, name))
        if secret is not None:
            keys[name] = secret
    return keys


def _check_uses(sign_keys: Keys, encrypt_keys: Keys, resolver: Resolver) -> None:
    """Refuse one key in two uses; two names for one key in one use occur in the original's own example."""
    first: dict[bytes, tuple[str, str]] = {}
    named = [("sign_keys", *item) for item in sign_keys.items()]
    named += [("encrypt_keys", *item) for item in encrypt_keys.items()]
    for setting, name, key in named:
        path = ("compat", setting, name)
        known_setting, known = first.setdefault(fingerprint(key), (setting, name))
        if known_setting != setting:
            resolver.report(
                path,
                f"the {_USES[setting]} {name} is also the {_USES[known_setting]} {known}",
                "one key has one use: change one of them at both proxies",
            )
        elif known != name:
            resolver.warn(path, f"this is the key {known} under a second name")


def fingerprint(key: Secret) -> bytes:
    """What stands for a key where keys are told apart: nothing there needs the key itself."""
    return hashlib.sha256(key.reveal()).digest()


# --- callers ------------------------------------------------------------------------------------------------


def _sender(
    name: str, caller: OutCompatCaller, sign_keys: Keys, encrypt_keys: Keys, resolver: Resolver
) -> CompatSender:
    path = (*_CALLERS, name)
    for setting, reference in (("sign", caller.sign), ("encrypt", caller.encrypt)):
        if reference:
            _check_key_name(reference, setting, (*path, setting), resolver)
        else:
            resolver.warn(path, f"the messages of {name} {_LACKS[setting]}")
    return CompatSender(
        sign_key_name=caller.sign,
        sign_key=sign_keys.get(caller.sign),
        encrypt_key_name=caller.encrypt,
        encrypt_key=encrypt_keys.get(caller.encrypt),
        compress=caller.compress,
    )


def _check_key_names(caller: InCompatCaller, path: Path, resolver: Resolver) -> None:
    for setting, references in (("sign", caller.sign), ("encrypt", caller.encrypt)):
        for index, reference in enumerate(references):
            _check_key_name(reference, setting, (*path, setting, index), resolver)


def _check_key_name(reference: str, setting: str, path: Path, resolver: Resolver) -> None:
    known = resolver.structure.written(("compat", f"{setting}_keys"))
    resolver.known_name(reference, known, path, f"{setting} key")


def _check_proof(compat: InCompat, sign_keys: Keys, resolver: Resolver) -> None:
    """Every caller is proven by a sign key that is its alone, or the config trusts claims."""
    doubts = list(chain(_unsigned(compat), _sharing(compat, sign_keys)))
    trust: Path = ("compat", "trust_claimed_caller")
    if not compat.trust_claimed_caller:
        for name, doubt in doubts:
            resolver.report(
                (*_CALLERS, name, "sign"),
                f"{doubt}, so that its messages don't prove who calls",
                "a sign key of its own, or `trust_claimed_caller: true`",
            )
    elif doubts:
        resolver.warn(
            trust, f"callers are taken at their word: {'; '.join(doubt for _, doubt in doubts[:8])}"
        )
    else:
        resolver.warn(trust, "every caller is proven by a sign key of its own", "set it to false")


def _unsigned(compat: InCompat) -> Iterator[tuple[str, str]]:
    for name, caller in compat.callers.items():
        if not caller.sign:
            yield name, f"{name} need not sign"


def _sharing(compat: InCompat, sign_keys: Keys) -> Iterator[tuple[str, str]]:
    """Yield the callers with a key that another has too, whatever the key's name."""
    holders: dict[bytes, str] = {}
    for name, caller in compat.callers.items():
        for reference in caller.sign:
            if reference not in sign_keys:
                continue
            first = holders.setdefault(fingerprint(sign_keys[reference]), name)
            if first != name:
                yield name, f"{name} shares the sign key {reference} with {first}"
                break
