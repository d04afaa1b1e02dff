"""What the admin API tells of a proxy: the supervisor's own knowledge, and the shares of its workers, merged.

Loaded when somebody first asks; until then the supervisor holds nothing for it.
A worker that doesn't answer in time is left out: what it has is asked for again the next time.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from fastproxy import __version__
from fastproxy.admin.access import Asker
from fastproxy.admin.answers import AdminError
from fastproxy.admin.api.api import Api
from fastproxy.admin.api.model import (
    MOST_ROWS,
    CallerNow,
    Callers,
    ConfigNow,
    DrainOutcome,
    FailuresKept,
    Identities,
    IdentityNow,
    LimitNow,
    Limits,
    LinkNow,
    Links,
    LogLevel,
    OutcomeCounted,
    OwnShareRow,
    ProcessesNow,
    ProxyNow,
    RateNow,
    ReloadOutcome,
    ServiceNow,
    Services,
    Traffic,
    TrafficRow,
    WorkerNow,
)
from fastproxy.admin.api.operations import OPERATIONS
from fastproxy.config.redacted import redacted
from fastproxy.config.snapshot import Snapshot
from fastproxy.control.channel import ChannelError
from fastproxy.control.messages import SHARE, Share, encode
from fastproxy.errors import RATE_LIMITED
from fastproxy.supervisor.door import Asked, RefusedError
from fastproxy.supervisor.log_level import LogLevels
from fastproxy.supervisor.merging import both_services, with_uses
from fastproxy.supervisor.process import WorkerProcess
from fastproxy.supervisor.reloading import Reload, over_http
from fastproxy.supervisor.tally import Tally
from fastproxy.supervisor.taps import Tap, Taps
from fastproxy.telemetry.failure_words import with_words
from fastproxy.telemetry.failures import Failure, Wanted, newest
from fastproxy.telemetry.metrics import DURATION_BOUNDS_S, OWN_BOUNDS_S, OWN_SHARE
from fastproxy.telemetry.state import State, limits_in_use
from fastproxy.telemetry.tapped import TapTerms

_PATIENCE_S = 2.0
"""How long a worker has for its share."""
_AT_THE_DOOR = 16
"""Failures of one exchange that are told there, in one line."""
_ALL = Wanted()
_Row = TypeVar("_Row")


class Standing(Struct, frozen=True):
    """What the supervisor lets be known, and done.

    workers: those that there are now. gone: what workers that have ended had kept of failures, each as
    `messages.FAILURES` has it. tally: what they count. levels: how much is logged.
    snapshot: returns the config in force. not_ready: says why the proxy
    should get no traffic, "" when it may.
    reload, preview: load the config anew, or say what that would do. drain: ends the proxy, with what is
    under way; returns whether it was told so before.
    """

    workers: Callable[[], Iterable[WorkerProcess]]
    gone: Iterable[bytes]
    tally: Tally
    levels: LogLevels
    snapshot: Callable[[], Snapshot]
    not_ready: Callable[[], str]
    reload: Reload
    preview: Reload
    drain: Callable[[], bool]


class Overview:
    """Knows the answers (`admin.api.operations.Source`).

    Args:
        standing: as above.
    """

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._taps = Taps(standing.workers, self._most_taps, standing.tally, asyncio.get_running_loop())

    async def proxy(self) -> ProxyNow:
        """The proxy and its processes."""
        standing = self._standing
        state, snapshot, reason = await self._counted(), standing.snapshot(), standing.not_ready()
        late_s = state.levels.get("fastproxy_loop_lag_max_seconds", {})
        workers = [
            WorkerNow(
                worker.number,
                worker.pid,
                worker.state_name,
                state.resident_bytes.get(f"worker {worker.number}", 0.0),
                worker.slot.in_flight,
                worker.slot.connections,
                worker.slot.links,
                late_s.get(f"worker {worker.number}", 0.0),
            )
            for worker in standing.workers()
        ]
        return ProxyNow(
            snapshot.config.name,
            "in" if standing.tally.role == "in" else "out",
            __version__,
            standing.tally.start_unix_s,
            not reason,
            reason,
            str(snapshot.file),
            standing.tally.loaded_unix_s,
            workers,
            ProcessesNow(state.cpu_s, sum(state.resident_bytes.values())),
        )

    async def config(self) -> ConfigNow:
        """The config in force."""
        snapshot = self._standing.snapshot()
        config, is_cut = redacted(snapshot, MOST_ROWS)
        return ConfigNow(str(snapshot.file), config, is_cut)

    async def traffic(self) -> Traffic:
        """Who has called what."""
        state = await self._counted()
        rows = [
            TrafficRow(
                one.caller,
                one.service,
                one.route,
                one.bytes_in,
                one.bytes_out,
                one.retries,
                one.refusals,
                one.would_refuse,
                [
                    OutcomeCounted(each.outcome, each.cause, sum(each.counts), each.sum_s, each.counts)
                    for each in one.outcomes
                ],
            )
            for one in state.series
            if one.outcomes
        ]
        own = [
            OwnShareRow(service, sum(one.counts), one.sum_s, one.counts)
            for service, one in state.histograms.get(OWN_SHARE, {}).items()
        ]
        return Traffic(
            time.time(),
            list(DURATION_BOUNDS_S),
            rows[:MOST_ROWS],
            list(OWN_BOUNDS_S),
            own[:MOST_ROWS],
            max(len(rows), len(own)) > MOST_ROWS,
        )

    async def callers(self) -> Callers:
        """The callers; all workers know the same ones."""
        found = {caller.name: caller for share in await self._ask("callers", CallerNow) for caller in share}
        callers = [found[name] for name in sorted(found)]
        return Callers(callers[:MOST_ROWS], len(callers) > MOST_ROWS)

    async def services(self) -> Services:
        """The services, with what all workers have open to their endpoints."""
        found: dict[str, ServiceNow] = {}
        for share in await self._ask("services", ServiceNow):
            for service in share:
                known = found.get(service.name)
                found[service.name] = service if known is None else both_services(known, service)
        services = list(found.values())
        return Services(services[:MOST_ROWS], len(services) > MOST_ROWS)

    async def links(self) -> Links:
        """The links of all workers, the oldest first."""
        shares = await self._ask("links", LinkNow)
        links = sorted((link for share in shares for link in share), key=lambda link: link.opened_unix_s)
        return Links(links[:MOST_ROWS], len(links) > MOST_ROWS)

    async def identities(self) -> Identities:
        """Keys and certificates, with the uses that all workers have counted."""
        shares = await self._ask("identities", IdentityNow)
        state = await self._counted()
        found = with_uses((identity for share in shares for identity in share), state.key_uses)
        return Identities(found[:MOST_ROWS], len(found) > MOST_ROWS)

    async def limits(self) -> Limits:
        """Limits, and how close all is to them."""
        state = await self._counted()
        refused: Counter[tuple[str, ...]] = Counter()
        for one in state.series:
            refused[one.caller, one.service, one.route] += one.refusals.get(RATE_LIMITED.label, 0)
        bursts = dict(state.listed.get("fastproxy_rate_burst_requests", ()))
        per_s = dict(state.listed.get("fastproxy_rate_requests_per_second", ()))
        rates = [
            RateNow(key[0], key[1], key[2], per_s.get(key, 0.0), bursts.get(key, 0.0), used, refused[key])
            for key, used in state.listed.get("fastproxy_rate_used_ratio", ())
        ]
        rates.sort(key=lambda rate: (rate.used, rate.refused), reverse=True)
        return Limits(rates[:MOST_ROWS], [LimitNow(*row) for row in limits_in_use(state)])

    async def failures(self, wanted: Wanted) -> FailuresKept:
        """Failures of all workers, those that have ended among them."""
        asked = msgspec.structs.replace(wanted, limit=wanted.limit + 1)
        shares = await self._ask("failures", Failure, asked)
        gone = (
            with_words(msgspec.msgpack.decode(record, type=Failure))
            for records in self._standing.gone
            for record in msgspec.msgpack.decode(records, type=list[bytes])
        )
        found = newest((*(failure for share in shares for failure in share), *gone), asked)
        return FailuresKept(found[: wanted.limit], len(found) > wanted.limit)

    async def tap(self, terms: TapTerms, asker: Asker) -> Tap:
        """Exchanges of all workers as they end."""
        return await self._taps.begin(terms, asker)

    def _most_taps(self) -> int:
        admin = self._standing.snapshot().config.admin
        return 0 if admin is None else admin.taps

    async def log_level(self) -> LogLevel:
        """How much is logged."""
        return LogLevel(self._standing.levels.level)

    async def set_log_level(self, level: LogLevel) -> LogLevel:
        """Log as much in all processes."""
        await self._standing.levels.set(level.level)
        return await self.log_level()

    async def reload(self) -> ReloadOutcome:
        """Load the config anew."""
        reloaded = await over_http(self._standing.reload)
        return ReloadOutcome(reloaded.how, reloaded.changes)

    async def diff(self) -> ReloadOutcome:
        """What a reload would do."""
        reloaded = await over_http(self._standing.preview)
        return ReloadOutcome(reloaded.how, reloaded.changes)

    async def drain(self) -> DrainOutcome:
        """End the proxy."""
        return DrainOutcome(is_draining=True, was_draining=self._standing.drain())

    async def _counted(self) -> State:
        tally = self._standing.tally
        await tally.refresh()
        return tally.state()

    async def _ask(self, part: str, kind: type[_Row], wanted: Wanted = _ALL) -> list[list[_Row]]:
        """Ask all workers that can answer for their share of a part.

        Raises:
            AdminError: none of them does.
        """
        question = encode(Share(part, wanted))
        asking = [
            asyncio.create_task(worker.ask(SHARE, question))
            for worker in self._standing.workers()
            if worker.is_ready
        ]
        if not asking:
            return []
        try:
            done, _ = await asyncio.wait(asking, timeout=_PATIENCE_S)
        finally:
            for task in asking:
                task.cancel()
        shares: list[list[_Row]] = []
        for task in done:
            try:
                shares.append(msgspec.msgpack.decode(task.result(), type=list[kind]))  # type: ignore[valid-type]
            except ChannelError:  # it has just ended, or is another program's
                continue
        if not shares:
            raise AdminError(503, "no worker answers; ask again, or look into the log")
        return shares


def api_of(overview: Overview) -> Api:
    """Return what answers below `/api/v1/`."""
    return Api(OPERATIONS, overview)


async def at_the_door(overview: Overview, asked: Asked) -> dict[str, Any]:
    """Answer a command that asks for what is known of one exchange.

    Raises:
        RefusedError: it names none, or nobody can say.
    """
    exchange = asked.args.get("id")
    if not isinstance(exchange, str) or not exchange:
        raise RefusedError("say the id of an exchange")
    try:
        found = await overview.failures(Wanted(exchange=exchange, limit=_AT_THE_DOOR))
    except AdminError as error:
        raise RefusedError(error.words) from error
    return {"failures": msgspec.to_builtins(found.failures)}
