"""The admin address: `/healthz`, `/readyz` and `/metrics` for everybody who reaches it; profiles, and what is
below `/api/v1/`, for those who may have it (`access`). The dashboard's page is for everybody as well: what it
shows it has to ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fastproxy.admin.access import PROFILES, Access, Asker
from fastproxy.admin.answers import TEXT, AdminError, answer, problem, refusal
from fastproxy.errors import ProxyError
from fastproxy.model import Request, RequestHead, Response
from fastproxy.net.connection import Connection, complete
from fastproxy.net.content import read_beginning
from fastproxy.net.drive import until
from fastproxy.proxy.answer import answer_to
from fastproxy.telemetry.exposition import format_for

if TYPE_CHECKING:
    from fastproxy.admin.api.api import Api
    from fastproxy.admin.profiles import Profiles


_SCRAPES = 8
"""At a time, until their answers are read: with thousands of callers each is megabytes."""


class AdminHandler:
    """Answers operators, probes and scrapers.

    Args:
        name: of this proxy.
        metrics: returns what `/metrics` shows, in the format of a content type.
        not_ready: says why the proxy should get no traffic now, "" when it may.
        access: judges who may have what. make_profiles, make_api: make what takes profiles, and what answers
            below `/api/v1/`, when first asked for.
        loop: the event loop.
    """

    def __init__(
        self,
        name: str,
        metrics: Callable[[bytes], Coroutine[Any, Any, bytes]],
        not_ready: Callable[[], str],
        access: Access,
        make_profiles: Callable[[], Profiles],
        make_api: Callable[[], Api],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._name = name
        self._metrics = metrics
        self._not_ready = not_ready
        self._access = access
        self._make_profiles = make_profiles
        self._make_api = make_api
        self._profiles: Profiles | None = None
        self._api: Api | None = None
        self._loop = loop
        self._scrapes = 0

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request."""
        head = request.head
        path, _, query = head.target.partition(b"?")
        try:
            if path.startswith(b"/debug/"):
                self._access.check(head, PROFILES)
                if self._profiles is None:
                    self._profiles = self._make_profiles()
                response = await self._profiles.answer(head.method, path, query)
            elif path.startswith(b"/api/"):
                response = await self._answer_api(request, path, query)
            elif path == b"/metrics":
                await self._answer_scrape(head, connection)
                return
            else:
                response = self._simple(head, path)
        except AdminError as error:
            response = problem(error) if path.startswith(b"/api/") else refusal(error)
        await complete(connection.respond(response, connection.date_line))

    async def _answer_api(self, request: Request, path: bytes, query: bytes) -> Response:
        head = request.head
        if self._api is None:
            self._api = self._make_api()
        api = self._api
        role = self._access.check(head, api.need(head.method, path, query))
        try:  # before there is a task, which can't wait for content
            said = await read_beginning(request.content, api.said_limit_bytes)
        except ProxyError as error:  # it broke off, or came too slowly
            return self.refuse(error, request.peer)
        answering = api.answer(head.method, path, query, said, Asker(request.peer, role))
        return await until(self._loop.create_task(answering))

    async def _answer_scrape(self, head: RequestHead, connection: Connection) -> None:
        _check_reads(head)
        self._access.check_name(head)
        if self._scrapes == _SCRAPES:
            raise AdminError(503, f"{_SCRAPES} scrapes are under way, or not read", b"retry-after: 1\r\n")
        self._scrapes += 1
        try:
            content_type = format_for(head.control.get(b"accept", b""))
            text = await until(self._loop.create_task(self._metrics(content_type)))
            await complete(connection.respond(answer(200, content_type, text), connection.date_line))
        finally:
            self._scrapes -= 1

    def _simple(self, head: RequestHead, path: bytes) -> Response:
        is_dashboard = path == b"/" or path.startswith(b"/assets/")
        if not is_dashboard and path not in (b"/healthz", b"/readyz"):
            raise AdminError(404, "there are /, /healthz, /readyz, /metrics, /debug/pprof/ and /api/v1/ here")
        _check_reads(head)
        if is_dashboard:
            from fastproxy.admin.dashboard.files import hand_out  # noqa: PLC0415 - for those who look

            return hand_out(path)
        reason = self._not_ready() if path == b"/readyz" else ""
        if reason:
            return answer(503, TEXT, reason.encode() + b"\n")
        return answer(200, TEXT, b"ok\n")

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """Answer something that never became a request."""
        return answer_to(error, hop=self._name, role="admin", exchange_id="")


def _check_reads(head: RequestHead) -> None:
    if head.method not in (b"GET", b"HEAD"):
        raise AdminError(405, "only GET and HEAD", b"allow: GET, HEAD\r\n")
