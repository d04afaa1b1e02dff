"""The admin address: `/healthz`, `/readyz` and `/metrics`. Nothing here changes or reveals a config."""

from __future__ import annotations

from collections.abc import Callable

from fastproxy.errors import ProxyError
from fastproxy.model import Request, Response, ResponseHead
from fastproxy.net.connection import Connection, complete
from fastproxy.proxy.answer import answer_to
from fastproxy.telemetry.exposition import CONTENT_TYPE, render
from fastproxy.telemetry.metrics import Metrics


class AdminHandler:
    """Answers operators, probes and scrapers.

    Args:
        name: of this proxy.
        metrics: what `/metrics` shows.
        not_ready: says why the proxy should get no traffic now, "" when it may.
    """

    def __init__(self, name: str, metrics: Metrics, not_ready: Callable[[], str]) -> None:
        self._name = name
        self._metrics = metrics
        self._not_ready = not_ready

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request."""
        await complete(connection.respond(self._route(request), connection.date_line))

    def _route(self, request: Request) -> Response:
        path = request.head.target.partition(b"?")[0]
        if path not in (b"/healthz", b"/readyz", b"/metrics"):
            return _text(404, b"Not Found", b"there are /healthz, /readyz and /metrics here\n")
        if request.head.method not in (b"GET", b"HEAD"):
            refused = _text(405, b"Method Not Allowed", b"only GET and HEAD\n")
            refused.head.start += b"allow: GET, HEAD\r\n"
            return refused
        if path == b"/metrics":
            return _answer(200, b"OK", CONTENT_TYPE.encode(), render(self._metrics))
        reason = self._not_ready() if path == b"/readyz" else ""
        if reason:
            return _text(503, b"Service Unavailable", reason.encode() + b"\n")
        return _text(200, b"OK", b"ok\n")

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """Answer something that never became a request."""
        return answer_to(error, hop=self._name, role="admin", exchange_id="")


def _text(status: int, reason: bytes, content: bytes) -> Response:
    return _answer(status, reason, b"text/plain; charset=utf-8", content)


def _answer(status: int, reason: bytes, content_type: bytes, content: bytes) -> Response:
    start = b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\n" % (status, reason, content_type)
    return Response(ResponseHead(status, start), content)
