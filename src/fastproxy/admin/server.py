"""The admin address: `/healthz`, `/readyz` and `/metrics` for everybody who reaches it, profiles for some.

Nothing here changes a config or reveals one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from fastproxy.admin.access import Access
from fastproxy.admin.answers import TEXT, AdminError, answer, refusal
from fastproxy.errors import ProxyError
from fastproxy.model import Request, Response
from fastproxy.net.connection import Connection, complete
from fastproxy.net.drive import until
from fastproxy.proxy.answer import answer_to
from fastproxy.telemetry.exposition import CONTENT_TYPE

if TYPE_CHECKING:
    from fastproxy.admin.profiles import Profiles


class AdminHandler:
    """Answers operators, probes and scrapers.

    Args:
        name: of this proxy.
        metrics: returns what `/metrics` shows.
        not_ready: says why the proxy should get no traffic now, "" when it may.
        access: judges who may have profiles. make_profiles: makes what takes them, when first asked for.
        loop: the event loop.
    """

    def __init__(
        self,
        name: str,
        metrics: Callable[[], Coroutine[Any, Any, bytes]],
        not_ready: Callable[[], str],
        access: Access,
        make_profiles: Callable[[], Profiles],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._name = name
        self._metrics = metrics
        self._not_ready = not_ready
        self._access = access
        self._make_profiles = make_profiles
        self._profiles: Profiles | None = None
        self._loop = loop

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request."""
        head = request.head
        path, _, query = head.target.partition(b"?")
        try:
            if path.startswith(b"/debug/"):
                self._access.check(head)
                if self._profiles is None:
                    self._profiles = self._make_profiles()
                response = await self._profiles.answer(head.method, path, query)
            else:
                response = await self._simple(head.method, path)
        except AdminError as error:
            response = refusal(error)
        await complete(connection.respond(response, connection.date_line))

    async def _simple(self, method: bytes, path: bytes) -> Response:
        if path not in (b"/healthz", b"/readyz", b"/metrics"):
            raise AdminError(404, "there are /healthz, /readyz, /metrics and /debug/pprof/ here")
        if method not in (b"GET", b"HEAD"):
            raise AdminError(405, "only GET and HEAD", b"allow: GET, HEAD\r\n")
        if path == b"/metrics":
            return answer(200, CONTENT_TYPE.encode(), await until(self._loop.create_task(self._metrics())))
        reason = self._not_ready() if path == b"/readyz" else ""
        if reason:
            return answer(503, TEXT, reason.encode() + b"\n")
        return answer(200, TEXT, b"ok\n")

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """Answer something that never became a request."""
        return answer_to(error, hop=self._name, role="admin", exchange_id="")
