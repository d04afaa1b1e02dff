"""All that can be asked for below `/api/v1/`: one table, which serves and which the document is made from.

What asks only reads; what changes how the proxy works says so, and needs more (`admin.access`).
To add one: its types in `model.py`, a method of `Source`, and a row here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from msgspec import Struct

from fastproxy.admin.access import Asker
from fastproxy.admin.answers import AdminError
from fastproxy.admin.api.model import (
    Callers,
    ConfigNow,
    DrainOutcome,
    ExchangeStory,
    FailuresKept,
    FailuresQuery,
    Identities,
    Limits,
    Links,
    LogLevel,
    ProxyNow,
    ReloadOutcome,
    Services,
    TapQuery,
    Traffic,
)
from fastproxy.model import Body
from fastproxy.telemetry.failures import Wanted
from fastproxy.telemetry.tapped import Tapped, TapTerms, TapWanted

PREFIX = "/api/v1/"


class Source(Protocol):
    """Who knows the answers. Each may raise an AdminError that says why there is none."""

    async def proxy(self) -> ProxyNow: ...
    async def config(self) -> ConfigNow: ...
    async def traffic(self) -> Traffic: ...
    async def callers(self) -> Callers: ...
    async def services(self) -> Services: ...
    async def links(self) -> Links: ...
    async def identities(self) -> Identities: ...
    async def limits(self) -> Limits: ...
    async def failures(self, wanted: Wanted) -> FailuresKept: ...
    async def tap(self, terms: TapTerms, asker: Asker) -> Body: ...
    async def log_level(self) -> LogLevel: ...
    async def set_log_level(self, level: LogLevel) -> LogLevel: ...
    async def reload(self) -> ReloadOutcome: ...
    async def diff(self) -> ReloadOutcome: ...
    async def drain(self) -> DrainOutcome: ...


class Asked(Struct, frozen=True):
    """What a request asks for. name: what stands in the path for its parameter, "" where there is none.
    query, said: as the operation has them. asker: who asks.
    """

    name: str
    query: Struct | None
    said: Struct | None
    asker: Asker


Told = Struct | dict[str, Any] | Body
"""What is told: one value as JSON, or lines of JSON for as long as there are some."""


class Operation(Struct, frozen=True):
    """One row.

    path: with its parameter, if it has one, as the last segment. name: in the document, and for clients that
    are made from it. words: what it is for. answers: the type of what is told; of a line, where `is_stream`.
    tell: asks the source. query, said: what may be asked, and what comes with the request.
    changes: it changes how the proxy works. reveals: parameters that need the same right, since by them it
    tells more than whoever may read is to know. status: of the answer.
    """

    method: str
    path: str
    name: str
    words: str
    answers: Any
    tell: Callable[[Source, Asked], Awaitable[Told]]
    query: type[Struct] | None = None
    said: type[Struct] | None = None
    changes: bool = False
    status: int = 200
    is_stream: bool = False
    reveals: tuple[str, ...] = ()


async def _failures(source: Source, asked: Asked) -> FailuresKept:
    query = cast(FailuresQuery, asked.query)
    return await source.failures(
        Wanted("", query.cause, query.caller, query.service, query.trace, query.limit)
    )


async def _exchange(source: Source, asked: Asked) -> ExchangeStory:
    found = (await source.failures(Wanted(exchange=asked.name))).failures
    if not found:
        raise AdminError(
            404,
            "this proxy keeps nothing of an exchange with this id: it went well here, it never came here, or "
            "it failed longer ago than the last `failures.kept_per_cause` of its cause; the access log has "
            "a line of each exchange",
        )
    return ExchangeStory(asked.name, found)


async def _tap(source: Source, asked: Asked) -> Body:
    query = cast(TapQuery, asked.query)
    wanted = TapWanted(
        query.caller,
        query.service,
        query.route,
        query.method.upper(),
        query.status,
        query.cause,
        query.trace,
    )
    return await source.tap(TapTerms(wanted, query.content, query.unredacted), asked.asker)


async def _document(source: Source, asked: Asked) -> dict[str, Any]:
    from fastproxy.admin.api.openapi import document  # noqa: PLC0415 - for those who ask

    return document(OPERATIONS)


OPERATIONS = (
    Operation("GET", "/api/v1/openapi.json", "describe", "This document", dict[str, Any], _document),
    Operation(
        "GET", "/api/v1/proxy", "getProxy", "The proxy: whether it is ready, its config, its processes",
        ProxyNow, lambda source, asked: source.proxy(),
    ),
    Operation(
        "GET", "/api/v1/config", "getConfig", "The config in force, with defaults and without secrets",
        ConfigNow, lambda source, asked: source.config(),
    ),
    Operation(
        "GET", "/api/v1/traffic", "getTraffic",
        "Who has called what: counters by caller, service, route and outcome, with latencies",
        Traffic, lambda source, asked: source.traffic(),
    ),
    Operation(
        "GET", "/api/v1/callers", "listCallers", "The callers that are known, and what proves them",
        Callers, lambda source, asked: source.callers(),
    ),
    Operation(
        "GET", "/api/v1/services", "listServices", "The services, their endpoints, and connections to these",
        Services, lambda source, asked: source.services(),
    ),
    Operation(
        "GET", "/api/v1/links", "listLinks", "The links that are there",
        Links, lambda source, asked: source.links(),
    ),
    Operation(
        "GET", "/api/v1/identities", "listIdentities", "Keys and certificates, their dates and their use",
        Identities, lambda source, asked: source.identities(),
    ),
    Operation(
        "GET", "/api/v1/limits", "getLimits", "Limits, and how close callers and the proxy are to them",
        Limits, lambda source, asked: source.limits(),
    ),
    Operation(
        "GET", "/api/v1/failures", "listFailures",
        "The last failures and refusals: hop, phase, cause, the numbers that decided, and what to do",
        FailuresKept, _failures, query=FailuresQuery,
    ),
    Operation(
        "GET", "/api/v1/exchanges/{id}", "getExchange", "What is known of one exchange that failed",
        ExchangeStory, _exchange,
    ),
    Operation(
        "GET", "/api/v1/tap", "tap",
        "Exchanges as they end, a line for each that fits, with the heads of request and answer; "
        '{"dropped": N} in between where so many were not shown, being too many at a time',
        Tapped, _tap, query=TapQuery, is_stream=True, reveals=("unredacted", "content"),
    ),
    Operation(
        "GET", "/api/v1/log-level", "getLogLevel", "The lowest level that is logged",
        LogLevel, lambda source, asked: source.log_level(),
    ),
    Operation(
        "PUT", "/api/v1/log-level", "setLogLevel", "Log more or less, until the next reload or start",
        LogLevel, lambda source, asked: source.set_log_level(cast(LogLevel, asked.said)),
        said=LogLevel, changes=True,
    ),
    Operation(
        "GET", "/api/v1/diff", "previewReload", "What a reload would change",
        ReloadOutcome, lambda source, asked: source.diff(), changes=True,
    ),
    Operation(
        "POST", "/api/v1/reload", "reload", "Load the config file anew",
        ReloadOutcome, lambda source, asked: source.reload(), changes=True,
    ),
    Operation(
        "POST", "/api/v1/drain", "drain", "End, with what is under way, as at SIGTERM",
        DrainOutcome, lambda source, asked: source.drain(), changes=True, status=202,
    ),
)  # fmt: skip
