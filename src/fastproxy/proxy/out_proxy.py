"""The out proxy: beside the caller. Plain HTTP comes in, sealed requests go out.

`OutProxy._call` is the order of things: who is calling, which service, until when, then the
way to its receiver, where the request is sealed and the answer opened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import NamedTuple

from fastproxy.errors import CALLER_UNKNOWN, OVERLOADED, ProxyError
from fastproxy.model import Exchange, Request, Response
from fastproxy.net.server import Connection
from fastproxy.policy.deadline import set_deadline
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.answer import answer_to
from fastproxy.proxy.fields import BUDGET, DEAD_TIME, EXCHANGE
from fastproxy.proxy.forward import NextHop
from fastproxy.proxy.recorder import CALLER_GONE, Recorder


class CallerRule(NamedTuple):
    """Who calls at this listener: always `fixed`, or the one of `names` that the field `header` names.

    header: in lower case.
    """

    fixed: str
    header: bytes = b""
    names: frozenset[str] = frozenset()


class OutProxy:
    """Handles requests of callers.

    Args:
        name: of this proxy.
        caller_rule: how the caller is found. choice: how the service is.
        services: the way to each service's receiver, by service name.
        recorder: notes every exchange.
        in_flight_limit: bound on exchanges at a time.
        new_id: makes exchange ids.
        clock: monotonic time in seconds. unix_clock: seconds since 1970.
    """

    role = "out"

    def __init__(
        self,
        name: str,
        caller_rule: CallerRule,
        choice: ServiceChoice,
        services: Mapping[str, NextHop],
        recorder: Recorder,
        in_flight_limit: int,
        new_id: Callable[[], str],
        clock: Callable[[], float],
        unix_clock: Callable[[], float],
    ) -> None:
        self.name = name
        self.caller_rule = caller_rule
        self._choice = choice
        self._services = services
        self._via = b"via: 1.1 %b\r\n" % name.encode()
        self._recorder = recorder
        self._in_flight_limit = in_flight_limit
        self._new_id = new_id
        self._clock = clock
        self._unix_clock = unix_clock
        self.in_flight = 0

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request of a caller."""
        exchange = self._recorder.begin(self._new_id(), request.peer)
        exchange.method, exchange.path = request.method, request.target
        self.in_flight += 1
        try:
            try:
                response = await self._call(exchange, request, connection)
            except ProxyError as error:
                response = self._refusal(exchange, error)
            exchange.status = response.status
            exchange.phase = "answer"
            response.fields += self._own_fields(exchange)
            if not response.has_date:
                response.fields += connection.date_line
            await connection.respond(response)
        except ProxyError as error:
            exchange.cause = exchange.cause or error.cause.label
            raise
        except asyncio.CancelledError:
            exchange.cause = exchange.cause or CALLER_GONE
            raise
        finally:
            self.in_flight -= 1
            self._recorder.end(exchange, connection.bytes_in, connection.bytes_out)

    async def _call(self, exchange: Exchange, request: Request, connection: Connection) -> Response:
        """The order of things at this hop; each step may refuse."""
        if self.in_flight > self._in_flight_limit:  # before any work is done for it
            raise ProxyError(OVERLOADED, f"{self._in_flight_limit} allowed", retry_after_s=1)
        exchange.phase = "identify"  # who is calling?
        exchange.caller = self._identify(request)
        exchange.phase = "route"  # which service?
        exchange.service, request.target = self._choice.choose(request.target, request.host, request.absolute)
        hop = self._services[exchange.service]
        exchange.phase = "deadline"  # until when? From here on nothing can take longer.
        control = request.control or {}
        exchange.deadline = set_deadline(
            exchange.started, self._unix_clock(), hop.timeout_s,
            dead_time=control.get(DEAD_TIME), timeout_ms=control.get(BUDGET),
        )  # fmt: skip
        connection.set_deadline(exchange)
        return await hop.forward(exchange, request)  # pick an endpoint, seal and send, wait, open

    def _identify(self, request: Request) -> str:
        rule = self.caller_rule
        if rule.fixed:
            return rule.fixed
        claimed = (request.control or {}).get(rule.header, b"").decode("latin-1")
        if claimed not in rule.names:
            raise ProxyError(CALLER_UNKNOWN, "the request names no caller that may be claimed here")
        return claimed

    def _refusal(self, exchange: Exchange, error: ProxyError) -> Response:
        exchange.cause = error.cause.label
        self._recorder.failed(exchange, error)
        return answer_to(error, hop=self.name, role=self.role, exchange_id=exchange.id)

    def _own_fields(self, exchange: Exchange) -> bytes:
        return b"%b%b: %b\r\n" % (self._via, EXCHANGE, exchange.id.encode())

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """Answer something that never became a request."""
        exchange = self._recorder.begin(self._new_id(), peer)
        response = self._refusal(exchange, error)
        exchange.status = response.status
        response.fields += self._own_fields(exchange)
        self._recorder.end(exchange, 0, 0)
        return response
