"""From the files of the Go original, taken together, to what each new config says: one consistent set.

The out proxies of a set know the services that the in proxies' routes name; the in proxies know what the out
proxies' callers do. Where two files of a set differ on what a caller does, the stricter one counts in both.
Knows neither YAML nor files.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from fastproxy.config.keys import public_from_private
from fastproxy.config.migrate.old import OldFile
from fastproxy.config.problem import Problem, nearest
from fastproxy.config.resolve_compat import fingerprint
from fastproxy.config.secret import Secret

KEY_FOLDER = "keys"

_USES = ("sign", "encrypt")


@dataclass(frozen=True, slots=True)
class Target:
    """What is migrated to.

    transport: link, http or compat. services: endpoint, `HOST:PORT`, of each that was named; "" without one.
    center: URL of the center; "" for none.
    """

    transport: str
    services: Mapping[str, str]
    center: str


@dataclass(frozen=True, slots=True)
class CallerPlan:
    """What a caller does, at an out proxy, or must do, at an in proxy: with which keys, by name.

    compress: at an out proxy. said_by: the files that say so; none: no file does. public_key: of its
    identity, in hex; "" over compat.
    """

    sign: tuple[str, ...] = ()
    encrypt: tuple[str, ...] = ()
    compress: str = "none"
    said_by: tuple[str, ...] = ()
    public_key: str = ""


@dataclass(frozen=True, slots=True)
class ProxyPlan:
    """What a new config says.

    file: its name. old: what it is made from. name: of the proxy. key_files: of the secrets that it names,
    relative to it, by use (sign, encrypt, caller, receiver) and name. services: endpoint by name; "" at an
    out proxy. transport: between the proxies. doubts: why claims must be trusted. receiver_key: public key,
    in hex, of the receiver, and receiver: its name; "" over compat.
    """

    file: str
    old: OldFile
    name: str
    callers: Mapping[str, CallerPlan]
    services: Mapping[str, str]
    transport: str
    key_files: Mapping[tuple[str, str], str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()
    receiver: str = ""
    receiver_key: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole set. secrets: content of each key file. notes: what its owner must know."""

    proxies: tuple[ProxyPlan, ...]
    secrets: Mapping[str, str]
    notes: tuple[str, ...]


class Planner:
    """Plans one set.

    Args:
        files: all of it. target: what to migrate to. private_key: returns 32 bytes for a key file, by name.
    """

    def __init__(self, files: Sequence[OldFile], target: Target, private_key: Callable[[str], bytes]) -> None:
        self.problems: list[Problem] = []
        self._outs = [file for file in files if file.role == "out"]
        self._ins = [file for file in files if file.role == "in"]
        self._target = target
        self._private_key = private_key
        self._notes: dict[str, None] = {}
        self._keys: dict[tuple[str, str], Secret] = {}
        self._key_files: dict[tuple[str, str], str] = {}
        self._file_names: set[str] = set()

    def plan(self) -> Plan:
        """Return the plan; it is of use only when `problems` stays empty."""
        self._gather_keys()
        self._check_services()
        if self._target.transport == "compat":
            proxies = [self._compat_out(index, old) for index, old in enumerate(self._outs)]
            proxies += [self._compat_in(index, old) for index, old in enumerate(self._ins)]
        else:
            proxies = self._with_identities()
        secrets = {file: self._keys[use].reveal().decode() for use, file in self._key_files.items()}
        return Plan(tuple(proxies), secrets, tuple(self._notes))

    # --- what belongs together ----------------------------------------------------------------------------

    def _ins_of(self, out: OldFile) -> list[OldFile]:
        """Return the in proxies that an out proxy may send to, as far as the files tell."""
        port = out.forward.rpartition(":")[2]
        fitting = [old for old in self._ins if (str(old.port), old.context_path) == (port, out.context_path)]
        return fitting or self._ins

    def _peers(self, old: OldFile) -> list[OldFile]:
        """Return the files of the other side that a file works with."""
        if old.role == "out":
            return self._ins_of(old)
        return [out for out in self._outs if old in self._ins_of(out)]

    def _services_of(self, old: OldFile) -> dict[str, str]:
        """Return the services of a proxy, with the endpoints that an in proxy needs."""
        sources = [old] if old.role == "in" else self._ins_of(old)
        names = dict.fromkeys(route.service for source in sources for route in source.routes)
        if old.role == "out":
            return dict.fromkeys(names if self._ins else self._target.services, "")
        return {name: self._target.services.get(name) or "center" for name in names}

    def _check_services(self) -> None:
        """Report services without endpoints, and those that were named but don't occur."""
        known = dict.fromkeys(route.service for old in self._ins for route in old.routes)
        for old in self._ins:
            missing = [
                name
                for name in dict.fromkeys(route.service for route in old.routes)
                if not self._target.services.get(name) and not self._target.center
            ]
            if missing:
                options = " ".join(f"--service {name}=HOST:PORT" for name in missing)
                message = f"no endpoint is known for {', '.join(missing)}"
                self._problem(old.file, message, f"add {options}, or --center URL")
        for name in self._target.services:
            if known and name not in known:
                self._problem("--service", f"no file has a route of {name}", nearest(name, known))
        for old in self._outs:
            if not self._ins and not self._target.services:
                message = "an out proxy's file doesn't say which services there are"
                self._problem(old.file, message, "add the in proxy's file, or --service NAME for each")

    # --- compat -------------------------------------------------------------------------------------------

    def _gather_keys(self) -> None:
        """Collect the keys of all files: a name means the same key everywhere."""
        for old in (*self._outs, *self._ins):
            for use, keys in zip(_USES, (old.sign_keys, old.encrypt_keys), strict=True):
                for name, key in keys.items():
                    if self._keys.setdefault((use, name), key) != key:
                        message = f"the {use} key {name} is another than in the files before"
                        self._problem(old.file, message, "migrate what doesn't belong together in two runs")
        self._check_uses()

    def _check_uses(self) -> None:
        """Report keys with two uses, which no config may have."""
        signing = {fingerprint(key): name for (use, name), key in self._keys.items() if use == "sign"}
        for (use, name), key in self._keys.items():
            other = signing.get(fingerprint(key), "")
            if use == "encrypt" and other:
                message = f"the encrypt key {name} is also the sign key {other}; here one key has one use"
                self._problem("the old files", message, "change one of them, or use --transport link")

    def _compat_out(self, index: int, old: OldFile) -> ProxyPlan:
        callers = {}
        for name in old.callers:
            demanded = self._demands(name, old)
            # One key of each use: its own where it names one, else one that the in proxy asks for.
            callers[name] = CallerPlan(
                demanded.sign[:1], demanded.encrypt[:1], old.callers[name].compress, demanded.said_by
            )
        return self._compat_proxy(index, old, callers)

    def _compat_in(self, index: int, old: OldFile) -> ProxyPlan:
        return self._compat_proxy(index, old, {name: self._demands(name, old) for name in _callers_of(old)})

    def _compat_proxy(self, index: int, old: OldFile, callers: Mapping[str, CallerPlan]) -> ProxyPlan:
        key_files = {}
        for use, own in zip(_USES, (old.sign_keys, old.encrypt_keys), strict=True):
            named = (name for caller in callers.values() for name in getattr(caller, use))
            for name in dict.fromkeys([*own, *named]):
                if (use, name) in self._keys:
                    key_files[use, name] = self._key_file(use, name, "secret")
        doubts = self._doubts(callers) if old.role == "in" else ()
        if doubts:
            self._notes[
                f"{old.file}: `trust_claimed_caller` is set: {'; '.join(doubts)}. Whoever can send like one "
                "of these callers can pose as it; a sign key for each, or link, ends that."
            ] = None
        return ProxyPlan(
            file=_file_name(old.role, index),
            old=old,
            name=old.name,
            callers=callers,
            services=self._services_of(old),
            transport=self._target.transport,
            key_files=key_files,
            doubts=doubts,
        )

    def _demands(self, caller: str, old: OldFile) -> CallerPlan:
        """Return the keys that a caller uses by its file and those of the other side, its own first."""
        tellers = [one for one in (old, *self._peers(old)) if caller in one.callers]
        if not tellers:
            return self._any_key(caller, old)
        keys: dict[str, tuple[str, ...]] = {}
        for use in _USES:
            named = [getattr(one.callers[caller], use) for one in tellers]
            keys[use] = tuple(dict.fromkeys(name for name in named if name))
            if keys[use] and not all(named):
                lax = ", ".join(one.file for one, name in zip(tellers, named, strict=True) if not name)
                self._notes[f"{caller} must {use} now: {lax} doesn't ask for it, the other side does."] = None
        return CallerPlan(keys["sign"], keys["encrypt"], said_by=tuple(one.file for one in tellers))

    def _any_key(self, caller: str, old: OldFile) -> CallerPlan:
        """Return the demand on a caller of which no file says what it uses: any key that is known here."""
        for use, known in zip(_USES, (old.sign_keys, old.encrypt_keys), strict=True):
            if not known:
                message = f"no file says which {use} key {caller} uses, and there is none to ask for"
                self._problem(old.file, message, "add the out proxy's file")
        self._notes[
            f"{old.file}: no file says which keys {caller} uses, so it must sign and encrypt with any known "
            "one; narrow it down in `compat.callers`."
        ] = None
        return CallerPlan(tuple(old.sign_keys), tuple(old.encrypt_keys))

    def _doubts(self, callers: Mapping[str, CallerPlan]) -> tuple[str, ...]:
        """Say of which callers a message doesn't prove who calls, and why."""
        doubts = []
        holders: dict[bytes, str] = {}
        for name, caller in callers.items():
            if not caller.sign:
                doubts.append(f"{name} need not sign")
            for key_name in caller.sign:
                if ("sign", key_name) not in self._keys:
                    continue  # reported where it was named
                first = holders.setdefault(fingerprint(self._keys["sign", key_name]), name)
                if first != name:
                    doubts.append(f"{name} shares the sign key {key_name} with {first}")
                    break
        return tuple(doubts)

    # --- link and http ------------------------------------------------------------------------------------

    def _with_identities(self) -> list[ProxyPlan]:
        """Plan both sides with a fresh identity for each caller and each receiver."""
        for role, files, other in (("in", self._ins, self._outs), ("out", self._outs, self._ins)):
            if not files:
                message = f"each side names the other's keys, and no {role} proxy's file is here"
                self._problem(other[0].file, message, "add it, or use --transport compat")
                return []
        sending = dict.fromkeys(name for old in self._outs for name in old.callers)
        names = sending | dict.fromkeys(name for old in self._ins for name in _callers_of(old))
        callers = {name: CallerPlan(public_key=self._identity("caller", name)) for name in names}
        for name in names.keys() - sending.keys():
            file = self._key_files["caller", name]
            self._notes[f"No out proxy's file names {name}: give its out proxy the private key {file}."] = (
                None
            )
        receivers: dict[str, ProxyPlan] = {}
        for index, old in enumerate(self._ins):
            name = _free(old.name, {plan.name for plan in receivers.values()})
            receivers[old.file] = ProxyPlan(
                file=_file_name("in", index),
                old=old,
                name=name,
                callers={caller: callers[caller] for caller in _callers_of(old)},
                services=self._services_of(old),
                transport=self._target.transport,
                receiver=name,
                receiver_key=self._identity("receiver", name),
                key_files={("receiver", name): self._key_files["receiver", name]},
            )
        proxies = [self._sealed_out(index, old, callers, receivers) for index, old in enumerate(self._outs)]
        return [*proxies, *receivers.values()]

    def _sealed_out(
        self, index: int, old: OldFile, callers: Mapping[str, CallerPlan], receivers: Mapping[str, ProxyPlan]
    ) -> ProxyPlan:
        fitting = self._ins_of(old)
        if len(fitting) > 1:
            files = ", ".join(one.file for one in fitting)
            message = f"which in proxy it sends to can't be told: {old.forward} may be that of {files}"
            self._problem(old.file, message, "give the files of one pair at a time")
        receiver = receivers[fitting[0].file]
        return ProxyPlan(
            file=_file_name("out", index),
            old=old,
            name=old.name,
            callers={name: callers[name] for name in old.callers},
            services=self._services_of(old),
            transport=self._target.transport,
            key_files={("caller", name): self._key_files["caller", name] for name in old.callers},
            receiver=receiver.name,
            receiver_key=receiver.receiver_key,
        )

    def _identity(self, use: str, name: str) -> str:
        """Make a key pair and return its public key in hex."""
        private_key = self._private_key(self._key_file(use, name, "key"))
        self._keys[use, name] = Secret(private_key.hex().encode())
        return public_from_private(Secret(private_key)).hex()

    # --- names --------------------------------------------------------------------------------------------

    def _key_file(self, use: str, name: str, ending: str) -> str:
        """Return the file of a secret; another use of the name gets another file."""
        if (use, name) not in self._key_files:
            file_name = _free(name, self._file_names)
            self._file_names.add(file_name)
            self._key_files[use, name] = f"{KEY_FOLDER}/{file_name}.{ending}"
        return self._key_files[use, name]

    def _problem(self, file: str, message: str, suggestion: str) -> None:
        self.problems.append(Problem(file, 0, "", message, suggestion))


def _callers_of(old: OldFile) -> dict[str, None]:
    """Return the callers that an in proxy's file names."""
    return dict.fromkeys([*(route.caller for route in old.routes), *old.callers])


def _file_name(role: str, index: int) -> str:
    return f"{role}.yaml" if index == 0 else f"{role}-{index + 1}.yaml"


def _free(name: str, taken: Collection[str]) -> str:
    """Return the name, or the first of NAME-2, NAME-3 … that isn't taken."""
    found, number = name, 1
    while found in taken:
        number += 1
        found = f"{name}-{number}"
    return found
