"""The admin address: `/healthz`, `/readyz` and `/metrics` for everybody who reaches it, profiles for some.

Reloading, and what it would change, is for those who may change the proxy: see `access`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from fastproxy.admin.access import Access
from fastproxy.admin.answers import TEXT, AdminError, answer, refusal
from fastproxy.errors import ProxyError
from fastproxy.model import Request, RequestHead, Response
from fastproxy.net.connection import Connection, complete
from fastproxy.net.drive import until
from fastproxy.proxy.answer import answer_to
from fastproxy.telemetry.exposition import format_for

if TYPE_CHECKING:
    from fastproxy.admin.profiles import Profiles


Act = Callable[[], Coroutine[Any, Any, dict[str, Any]]]
"""Does something, and returns what there is to say of it.

Raises:
    AdminError: it isn't done.
"""
NO_STORE = b"cache-control: no-store\r\n"


class AdminHandler:
    """Answers operators, probes and scrapers.

    Args:
        name: of this proxy.
        metrics: returns what `/metrics` shows, in the format of a content type.
        not_ready: says why the proxy should get no traffic now, "" when it may.
        access: judges who may have profiles, or change anything. make_profiles: makes what takes them, when
            first asked for. acts: what can be asked for below `/api/v1/`, by method and path.
        loop: the event loop.
    """

    def __init__(
        self,
        name: str,
        metrics: Callable[[bytes], Coroutine[Any, Any, bytes]],
        not_ready: Callable[[], str],
        access: Access,
        make_profiles: Callable[[], Profiles],
        acts: Mapping[tuple[bytes, bytes], Act],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._name = name
        self._metrics = metrics
        self._not_ready = not_ready
        self._access = access
        self._make_profiles = make_profiles
        self._acts = acts
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
            elif path.startswith(b"/api/"):
                self._access.check(head, is_change=True)
                response = await self._act(head.method, path)
            else:
                response = await self._simple(head, path)
        except AdminError as error:
            response = refusal(error)
        await complete(connection.respond(response, connection.date_line))

    async def _act(self, method: bytes, path: bytes) -> Response:
        act = self._acts.get((method, path))
        if act is None:
            methods = b", ".join(known for known, where in self._acts if where == path)
            if methods:
                raise AdminError(405, f"only {methods.decode()}", b"allow: %b\r\n" % methods)
            known = ", ".join(where.decode() for _, where in self._acts)
            raise AdminError(404, f"there are {known} here")
        told = await until(self._loop.create_task(act()))
        return answer(200, b"application/json", msgspec.json.encode(told) + b"\n", NO_STORE)

    async def _simple(self, head: RequestHead, path: bytes) -> Response:
        if path not in (b"/healthz", b"/readyz", b"/metrics"):
            raise AdminError(404, "there are /healthz, /readyz, /metrics, /debug/pprof/ and /api/v1/ here")
        if head.method not in (b"GET", b"HEAD"):
            raise AdminError(405, "only GET and HEAD", b"allow: GET, HEAD\r\n")
        if path == b"/metrics":
            content_type = format_for(head.control.get(b"accept", b""))
            text = await until(self._loop.create_task(self._metrics(content_type)))
            return answer(200, content_type, text)
        reason = self._not_ready() if path == b"/readyz" else ""
        if reason:
            return answer(503, TEXT, reason.encode() + b"\n")
        return answer(200, TEXT, b"ok\n")

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """Answer something that never became a request."""
        return answer_to(error, hop=self._name, role="admin", exchange_id="")
