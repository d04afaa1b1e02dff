"""May this caller call this route? The privileges of the config, compiled.

A privilege names callers, services, methods and path patterns; whatever no privilege names is refused.
Among those that have the method, the most specific path wins, and of equals the first in the file: it
decides the rate and whether ambiguous paths pass.
Knows nothing of how a caller proved itself, nor of what happens to an exchange that may pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct

from fastproxy.errors import AMBIGUOUS_PATH, NO_PRIVILEGE, Numbers, ProxyError
from fastproxy.policy.path import canonical_path
from fastproxy.policy.pattern import ANY_METHOD, PatternTable, parse_pattern
from fastproxy.policy.ratelimit import Rate


class Privilege(Struct, frozen=True):
    """One privilege as the config grants it, globs resolved to names.

    callers, services: names. methods: as in requests, case matters; None for all.
    paths: patterns, see `policy.pattern`.
    rate: how fast each caller may call each of the routes; None for no limit.
    allow_ambiguous: let paths through that programs read in different ways.
    line: where it stands in the config file, for `fastproxy explain`.
    """

    callers: tuple[str, ...]
    services: tuple[str, ...]
    methods: tuple[str, ...] | None
    paths: tuple[str, ...]
    rate: Rate | None = None
    allow_ambiguous: bool = False
    line: int = 0


class Route(Struct, frozen=True):
    """The route that a request was found to be on, and what holds there.

    pattern: the path pattern as the config spells it.
    name: methods, where there are any, and pattern: for metrics, logs and answers; "" for no route.
    rate: None for no limit.
    rate_key: names service, methods and pattern; the same after a reload of the same config.
    privilege: the privilege that decided; None only where refusals are reported instead of enforced.
    """

    pattern: str
    rate: Rate | None = None
    rate_key: str = ""
    allow_ambiguous: bool = False
    privilege: Privilege | None = None
    name: str = ""


NO_ROUTE = Route("none")
"""Stands for the route of a request without privilege, where refusals are reported instead of enforced."""


class NearMiss(Struct, frozen=True):
    """A privilege that would have held, had it not been for one thing.

    lacks: the one of "caller", "service", "method" and "path" that isn't in it.
    """

    privilege: Privilege
    lacks: str


class Explanation(Struct, frozen=True):
    """Why a request is let through or refused.

    route: what `Privileges.decide` answers; None when it refuses.
    outranked: privileges that hold too, but are less specific or stand further down.
    near_misses: privileges that lack one thing.
    """

    route: Route | None
    outranked: tuple[Privilege, ...]
    near_misses: tuple[NearMiss, ...]


_Services = dict[str, PatternTable[Route]]


class Privileges:
    """All privileges of an in proxy; immutable once compiled."""

    __slots__ = ("_allows_ambiguous", "_by_caller", "_privileges")

    def __init__(self, privileges: Sequence[Privilege], by_caller: dict[str, _Services]) -> None:
        self._privileges = tuple(privileges)
        self._by_caller = by_caller
        self._allows_ambiguous = any(privilege.allow_ambiguous for privilege in privileges)

    def decide(self, caller: str, service: str, method: bytes, path: bytes) -> Route:
        """Find the route on which a caller may make a request.

        Args:
            caller: the name that was proven.
            service: the name of the service called.
            method: as sent.
            path: canonical, see `canonical_path`.

        Raises:
            ProxyError: NO_PRIVILEGE.
        """
        route = self._find(caller, service, method, path)
        if route is None:
            raise ProxyError(
                NO_PRIVILEGE,
                f"{caller} has no privilege for this service, method and path",
                numbers=self._lack(caller, service, path),
            )
        return route

    def admit(self, caller: str, service: str, method: bytes, target: bytes) -> tuple[Route, bytes]:
        """Decide on a target as it was sent; return the route and the target to forward.

        A path with more than one reading passes only if the very privilege that decides allows such paths.

        Raises:
            ProxyError: NO_PRIVILEGE, AMBIGUOUS_PATH or MALFORMED_REQUEST.
        """
        try:
            path, query = canonical_path(target)
        except ProxyError as error:
            if error.cause is not AMBIGUOUS_PATH or not self._allows_ambiguous:
                raise
            path, query = canonical_path(target, allow_ambiguous=True)
            route = self._find(caller, service, method, path)
            if route is None or not route.allow_ambiguous:
                raise
            return route, path + query
        return self.decide(caller, service, method, path), path + query

    def explain(self, caller: str, service: str, method: bytes, path: bytes) -> Explanation:
        """Say what decides on a request, and what nearly would have. Arguments as for `decide`.

        Looks at every privilege in turn: for people, not for the path of a request.
        """
        route = self._find(caller, service, method, path)
        decisive = None if route is None else route.privilege
        outranked: list[Privilege] = []
        near_misses: list[NearMiss] = []
        for privilege in self._privileges:
            if privilege is decisive:
                continue
            lacks = _lacks(privilege, caller, service, method, path)
            if not lacks:
                outranked.append(privilege)
            elif len(lacks) == 1:
                near_misses.append(NearMiss(privilege, lacks[0]))
        return Explanation(route, tuple(outranked), tuple(near_misses))

    def _lack(self, caller: str, service: str, path: bytes) -> Numbers:
        """Return what the privileges of a caller lack for a request that they don't allow; see `NearMiss`."""
        services = self._by_caller.get(caller)
        if services is None:
            return {"privileges_lack": "the caller"}
        routes = services.get(service)
        if routes is None:
            return {"privileges_lack": "the service"}
        methods = routes.methods_of(path)
        if not methods:
            return {"privileges_lack": "the path"}
        return {
            "privileges_lack": "the method",
            "methods_allowed": ", ".join(sorted(map(bytes.decode, methods))),
        }

    def _find(self, caller: str, service: str, method: bytes, path: bytes) -> Route | None:
        services = self._by_caller.get(caller)
        if services is None:
            return None
        routes = services.get(service)
        return None if routes is None else routes.find(method, path)


def compile_privileges(privileges: Sequence[Privilege]) -> Privileges:
    """Compile the privileges of a config, in the order of the file.

    Callers with the same privileges share one table, so that memory grows with routes and with callers, not
    with their product.

    Raises:
        ValueError: a path pattern is wrong; names the line of its privilege.
    """
    patterns = [_parse_patterns(privilege) for privilege in privileges]
    groups, group_of = _group_callers(privileges)
    tables = {
        group: _tables_of((privileges[index], patterns[index]) for index in _members(groups, group))
        for group in set(group_of.values())
    }
    return Privileges(privileges, {caller: tables[group] for caller, group in group_of.items()})


_Groups = list[tuple[int, int]]
"""Sets of privileges: each is an earlier one, by its place in this list, and one more privilege."""


def _group_callers(privileges: Sequence[Privilege]) -> tuple[_Groups, dict[str, int]]:
    """Return which sets of privileges there are, and which of them each caller has.

    A step for each name that stands in the config, however many privileges those callers have already.
    """
    groups: _Groups = [(0, -1)]
    group_of: dict[str, int] = {}
    for index, privilege in enumerate(privileges):
        grown: dict[int, int] = {}
        for caller in privilege.callers:
            before = group_of.get(caller, 0)
            if groups[before][1] == index:  # named twice
                continue
            if before not in grown:
                grown[before] = len(groups)
                groups.append((before, index))
            group_of[caller] = grown[before]
    return groups, group_of


def _members(groups: _Groups, group: int) -> list[int]:
    """Return the indexes of the privileges in a group, in the order of the file."""
    indexes = []
    while group:
        group, index = groups[group]
        indexes.append(index)
    return indexes[::-1]


_Patterns = list[tuple[str, tuple[bytes, ...]]]


def _parse_patterns(privilege: Privilege) -> _Patterns:
    try:
        return [(text, parse_pattern(text, privilege.allow_ambiguous)) for text in privilege.paths]
    except ValueError as error:
        raise ValueError(f"line {privilege.line}: {error}") from error


def _methods_of(privilege: Privilege) -> tuple[bytes, ...]:
    if privilege.methods is None:
        return (ANY_METHOD,)
    return tuple(method.encode() for method in privilege.methods)


def _tables_of(privileges: Iterable[tuple[Privilege, _Patterns]]) -> _Services:
    services: _Services = {}
    for privilege, patterns in privileges:
        methods = _methods_of(privilege)
        label = "*" if privilege.methods is None else ",".join(sorted(privilege.methods))
        for service in privilege.services:
            table = services.setdefault(service, PatternTable())
            for text, segments in patterns:
                rate_key = f"{service} {label} {text}"
                name = text if privilege.methods is None else f"{label} {text}"
                route = Route(text, privilege.rate, rate_key, privilege.allow_ambiguous, privilege, name)
                table.add(segments, methods, route)
    return services


def _lacks(privilege: Privilege, caller: str, service: str, method: bytes, path: bytes) -> list[str]:
    paths: PatternTable[bool] = PatternTable()
    for _, segments in _parse_patterns(privilege):
        paths.add(segments, (ANY_METHOD,), True)
    holds = {
        "caller": caller in privilege.callers,
        "service": service in privilege.services,
        "method": privilege.methods is None or method in _methods_of(privilege),
        "path": paths.find(method, path) is not None,
    }
    return [thing for thing, is_in in holds.items() if not is_in]
