"""The center's HTTP API, request by request: bytes in, a reply or a wish to wait out.

    PUT    /v1/{kind}/{name}/endpoints/{address}    register an endpoint, or renew its lease
    DELETE /v1/{kind}/{name}/endpoints/{address}    deregister it
    GET    /v1/{kind}/{name}[?after=VERSION&wait_s=30]    its endpoints, at once or when they change
    GET    /v1/{kind}[?from=NAME&limit=100]    the names of a kind, a page at a time
    /api/register, /api/address/get    the original's API, see `original_api`

Every request is judged as strictly as a config: what isn't known is refused. Details: `docs/center.md`.
Whoever serves it calls `answer` within one turn of the loop with `Waiters.add`, so that no change gets lost
between the two, and `answer_now` when the waiting is over.
Knows nothing of sockets, connections and the event loop; time is an argument.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec
from msgspec import Meta, Struct

from fastproxy.admin.center.access import Access
from fastproxy.admin.center.names import Key, Kind, canonical_address, key_of
from fastproxy.admin.center.original_api import CompatApi
from fastproxy.admin.center.refusals import (
    FROM_A_BROWSER,
    MALFORMED,
    METHOD_REFUSED,
    NOTHING_HERE,
    TOO_LARGE,
    CenterError,
    Fields,
)
from fastproxy.admin.center.registry import Registered, Registry
from fastproxy.admin.center.waiters import Wait, Waiters

CONTENT_LIMIT_BYTES = 4096
"""No request needs more; whoever reads requests needn't take in more either."""

_LONGEST_WAIT_S = 60
_USUAL_WAIT_S = 30
_LONGEST_PAGE = 1000
_USUAL_PAGE = 100
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_JSON = b"application/json"
_NO_STORE = (b"cache-control", b"no-store")


class Reply(NamedTuple):
    """What to answer. fields: header fields beside Content-Type, Content-Length and Date."""

    status: int
    content_type: bytes
    content: bytes
    fields: Fields = (_NO_STORE,)


class Lease(Struct, frozen=True, forbid_unknown_fields=True):
    """The content of a registration. ttl_s: seconds that it lasts without renewal."""

    ttl_s: Annotated[float, Meta(ge=3, le=3600)] = 15.0


class CenterApi:
    """Answers requests to the center.

    Args:
        registry: what is registered. access: who may register. waiters: who waits for changes.
    """

    __slots__ = ("_access", "_compat", "_registry", "_waiters")

    def __init__(self, registry: Registry, access: Access, waiters: Waiters) -> None:
        self._registry = registry
        self._access = access
        self._waiters = waiters
        self._compat = CompatApi(registry, access)

    def answer(
        self,
        method: bytes,
        target: bytes,
        authorization: bytes,
        body: bytes,
        peer: str,
        now_s: float,
        *,
        origin: bytes,
    ) -> Reply | Wait:
        """Answer one request, or say what it waits for.

        Args:
            target: path and query. authorization, origin: values of these headers, b"" without one.
            peer: IP address of the other end, "unix" for a Unix socket.
            now_s: monotonic time, seconds.
        """
        self._registry.expire(now_s)
        try:
            if origin:  # else any web page seen on an open center's machine could register with a form
                raise CenterError(FROM_A_BROWSER)
            if len(body) > CONTENT_LIMIT_BYTES:
                raise CenterError(TOO_LARGE, f"at most {CONTENT_LIMIT_BYTES} bytes")
            return self._route(method, target, authorization, body, peer, now_s)
        except CenterError as error:
            return refusal_reply(error)

    def answer_now(self, wait: Wait, now_s: float) -> Reply:
        """Answer a request that has waited, whether or not something changed."""
        self._registry.expire(now_s)
        return self._endpoints(wait.key)

    def _route(
        self, method: bytes, target: bytes, authorization: bytes, body: bytes, peer: str, now_s: float
    ) -> Reply | Wait:
        path, _, query = target.partition(b"?")
        match path.split(b"/")[1:]:
            case [b"v1", kind] if kind:
                _require_method(method, b"GET")
                return self._names(_text(kind), _parameters(query, {"from", "limit"}))
            case [b"v1", kind, name]:
                _require_method(method, b"GET")
                key = _key(kind, name)
                return self._look_up(key, _parameters(query, {"after", "wait_s"}), peer)
            case [b"v1", kind, name, b"endpoints", address]:
                _require_method(method, b"PUT", b"DELETE")
                key = _key(kind, name)
                at = _address(address)
                _parameters(query, set())
                account = self._access.permit(key.name, authorization, peer)
                if method == b"DELETE":
                    self._registry.deregister(key, at)
                    return Reply(204, b"", b"")
                return self._register(key, at, account, body, now_s)
            case [b"api", b"register"]:
                _require_method(method, b"POST")  # a web page's GET may carry no Origin
                self._compat.register(_form(query, body), authorization, peer, now_s)
                return Reply(200, b"text/plain; charset=utf-8", b"success\n")
            case [b"api", b"address", b"get"]:
                _require_method(method, b"GET", b"POST")
                address_line = self._compat.address(_form(query, body))
                return Reply(200, b"text/plain; charset=utf-8", address_line + b"\n")
        raise CenterError(NOTHING_HERE)

    def _register(self, key: Key, address: str, account: str, body: bytes, now_s: float) -> Reply:
        try:
            lease = msgspec.json.decode(body, type=Lease) if body else Lease()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise CenterError(MALFORMED, f"the content: {error}") from error
        self._registry.register(Registered(key, address, lease.ttl_s, account), now_s)
        return _json(200, {"address": address, "expires_in_s": lease.ttl_s})

    def _look_up(self, key: Key, parameters: dict[str, str], peer: str) -> Reply | Wait:
        after = _number(parameters, "after", usual=-1)
        wait_s = _number(parameters, "wait_s", usual=_USUAL_WAIT_S, most=_LONGEST_WAIT_S)
        if after != self._registry.look_up(key).version or not wait_s:
            return self._endpoints(key)
        self._waiters.require_room(peer)
        return Wait(key, after, wait_s)

    def _endpoints(self, key: Key) -> Reply:
        version, addresses = self._registry.look_up(key)
        endpoints = [{"address": address} for address in addresses]
        return _json(200, {"name": key.name, "version": version, "endpoints": endpoints})

    def _names(self, kind: str, parameters: dict[str, str]) -> Reply:
        start = parameters.get("from", "")
        limit = _number(parameters, "limit", usual=_USUAL_PAGE, least=1, most=_LONGEST_PAGE)
        try:
            known_kind: Kind = key_of(kind, start or "any").kind
        except ValueError as error:
            raise CenterError(MALFORMED, str(error)) from error
        page = self._registry.page(known_kind, start=start, limit=limit)
        names = [
            {"name": name, "endpoints": count, "version": version} for name, count, version in page.names
        ]
        return _json(200, {"names": names, "next": page.next})


def refusal_reply(error: CenterError) -> Reply:
    """Make the reply that says no, as `application/problem+json` (RFC 9457)."""
    refusal = error.refusal
    problem = {
        "type": f"urn:fastproxy:center:{refusal.label}",
        "title": refusal.title,
        "status": refusal.status,
        "detail": error.detail or refusal.title,
        "cause": refusal.label,
        "advice": refusal.advice,
    }
    content = msgspec.json.encode(problem)
    return Reply(refusal.status, b"application/problem+json", content, (_NO_STORE, *error.fields))


def _json(status: int, content: dict[str, Any]) -> Reply:
    return Reply(status, _JSON, msgspec.json.encode(content))


def _require_method(method: bytes, *allowed: bytes) -> None:
    if method not in allowed:
        raise CenterError(METHOD_REFUSED, fields=((b"allow", b", ".join(allowed)),))


def _text(segment: bytes) -> str:
    try:
        return unquote(segment.decode("ascii"), errors="strict")
    except UnicodeDecodeError as error:
        raise CenterError(MALFORMED, "the path is not UTF-8, percent-encoded") from error


def _key(kind: bytes, name: bytes) -> Key:
    try:
        return key_of(_text(kind), _text(name))
    except ValueError as error:
        raise CenterError(MALFORMED, str(error)) from error


def _address(segment: bytes) -> str:
    try:
        return canonical_address(_text(segment))
    except ValueError as error:
        raise CenterError(MALFORMED, str(error)) from error


def _pairs(encoded: bytes, what: str) -> list[tuple[str, str]]:
    if not encoded:
        return []
    try:
        return parse_qsl(
            encoded.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=8,
        )
    except ValueError as error:
        raise CenterError(MALFORMED, f"the {what} is not a short list of name=value") from error


def _parameters(query: bytes, known: set[str]) -> dict[str, str]:
    pairs = _pairs(query, "query")
    parameters = dict(pairs)
    if len(parameters) != len(pairs):
        raise CenterError(MALFORMED, "a parameter stands there twice")
    if parameters.keys() - known:
        raise CenterError(MALFORMED, f"the parameters here are: {', '.join(sorted(known)) or 'none'}")
    return parameters


def _form(query: bytes, body: bytes) -> dict[str, str]:
    """Return the original's parameters: the form's, then the query's; the first of a name counts."""
    found: dict[str, str] = {}
    for name, value in _pairs(body, "form") + _pairs(query, "query"):
        found.setdefault(name, value)
    return found


def _number(
    parameters: dict[str, str], name: str, *, usual: int, least: int = 0, most: int = 10**18 - 1
) -> int:
    text = parameters.get(name)
    if text is None:
        return usual
    if not _NUMBER.fullmatch(text) or not least <= int(text) <= most:
        raise CenterError(MALFORMED, f"{name} is a whole number from {least} to {most}")
    return int(text)
