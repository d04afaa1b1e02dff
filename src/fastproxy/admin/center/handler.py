"""Serves the center's API on the connections of a listener.

Takes of a request what the API needs, waits where the API wants to, and writes what it replies.
- The Host header must be an IP address, `localhost` or a name that the center was given: a web page whose own
  name was made to lead here (DNS rebinding) reads nothing.
- No more content is read than any request may have.
- Whoever hangs up while waiting gives its place free.
Knows nothing of what is registered and of who may register.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from http import HTTPStatus

from fastproxy.admin.center.api import CONTENT_LIMIT_BYTES, CenterApi, Reply, refusal_reply
from fastproxy.admin.center.refusals import HOST_REFUSED, CenterError
from fastproxy.admin.center.waiters import Wait, Waiters
from fastproxy.errors import ProxyError
from fastproxy.model import Request, Response, ResponseHead
from fastproxy.net.connection import Connection, complete
from fastproxy.net.content import read_beginning
from fastproxy.net.drive import Waiter
from fastproxy.net.http1 import write_fields
from fastproxy.net.timers import Timer, Wheel
from fastproxy.proxy.answer import answer_to

FIELDS = frozenset((b"authorization", b"origin"))
"""What the listener's parser has to keep apart (`HeadParser.control`) for this handler."""


class CenterHandler:
    """Answers services and proxies that register or look up.

    Args:
        api: judges and answers requests. waiters: where those that wait take their place.
        names: host names under which the center is reached, beside IP addresses and `localhost`.
        wheel: for the ends of waits. loop: the event loop, whose clock is the API's.
    """

    __slots__ = ("_api", "_loop", "_names", "_waiters", "_wheel")

    def __init__(
        self,
        api: CenterApi,
        waiters: Waiters,
        names: Iterable[str],
        wheel: Wheel,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._api = api
        self._waiters = waiters
        self._names = frozenset(_plain(name) for name in names) | {"localhost"}
        self._wheel = wheel
        self._loop = loop

    async def handle(self, request: Request, connection: Connection) -> None:
        """Answer one request, perhaps after a wait."""
        try:
            content = await read_beginning(request.content, CONTENT_LIMIT_BYTES)
        except ProxyError as error:  # the content broke off, or came too slowly
            response = self.refuse(error, request.peer)
        else:
            response = _response(await self._reply(request, content))
        await complete(connection.respond(response, connection.date_line))

    def refuse(self, error: ProxyError, peer: str) -> Response:
        """Answer something that never became a request."""
        return answer_to(error, hop="center", role="admin", exchange_id="")

    async def _reply(self, request: Request, content: bytes) -> Reply:
        head = request.head
        if not self._is_host_known(head.host):
            return refusal_reply(CenterError(HOST_REFUSED))
        reply = self._api.answer(
            head.method,
            head.target,
            head.control.get(b"authorization", b""),
            content,
            request.peer,
            self._loop.time(),
            origin=head.control.get(b"origin", b""),
        )
        return reply if isinstance(reply, Reply) else await self._wait(reply, request.peer)

    async def _wait(self, wait: Wait, peer: str) -> Reply:
        woken: Waiter[None] = Waiter()

        def wake() -> None:
            # In a turn of the loop of its own: a change is told from within the registry, which is no place
            # to look something up, and what changes together is then told together.
            self._loop.call_soon(woken.set, None)

        leave = self._waiters.add(wait, peer, wake)
        timer = Timer(self._wheel, lambda: woken.set(None))
        timer.set(self._loop.time() + wait.wait_s)
        try:
            await woken
        finally:
            leave()
            timer.close()
        return self._api.answer_now(wait, self._loop.time())

    def _is_host_known(self, host: bytes) -> bool:
        """Whether a Host header, well-formed or empty, says what only an honest client would."""
        text = host.decode("ascii")
        name = text[1:].partition("]")[0] if text.startswith("[") else text.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return _plain(name) in self._names
        return True


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _response(reply: Reply) -> Response:
    fields = list(reply.fields)
    if reply.content_type:
        fields.insert(0, (b"content-type", reply.content_type))
    reason = HTTPStatus(reply.status).phrase.encode()
    start = b"HTTP/1.1 %d %b\r\n%b" % (reply.status, reason, write_fields(fields))
    return Response(ResponseHead(reply.status, start, has_date=False), reply.content)
