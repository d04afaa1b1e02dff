"""The way from the out proxy to an in proxy that speaks wire format v1, such as the Go original's.

Only the body is sealed, as a whole. Method, path, query and end-to-end fields go in the clear, as they came;
one more field names the caller. The deadline goes as the caller wrote it (`request_dead_time`): a budget that
changed from request to request would cost the in proxy more than the rest of a small request, and when this
proxy's own deadline passes, the connection ends and with it the exchange.
Nothing of what comes back is proven. `docs/wire.md` has the bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import cast

from msgspec.structs import replace

from fastproxy.errors import AMBIGUOUS_PATH, METHOD_UNSUPPORTED, RECEIVER_REFUSED, ProxyError
from fastproxy.model import Body, Content, Endpoint, Exchange, Response, ResponseHead, host_field
from fastproxy.net.http1 import length_line
from fastproxy.net.pool import Pools
from fastproxy.proxy.compat_lane import CompatLane
from fastproxy.proxy.fields import ERROR_MESSAGE, PROXY_NAME
from fastproxy.proxy.held_body import HeldBodies
from fastproxy.proxy.transport import Outgoing, connect_in_time
from fastproxy.wire.compat.sealing import CompatSender

_HOST = b" HTTP/1.1\r\nhost: "
_MESSAGE_CHARACTERS = 200
"""What a peer says of its refusal is shown up to this length."""

_MESSAGE = re.compile(rb"\r\n%b: ?([^\r]*)" % ERROR_MESSAGE, re.IGNORECASE)
_NAME = re.compile(rb"\r\n%b: ?([^\r]*)" % PROXY_NAME, re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: ?([0-9]{1,6})\r", re.IGNORECASE)

_DOT_SEGMENT = re.compile(rb"[^?]*?(?:[/\\]|%2f|%5c)(?:\.|%2e){1,2}(?:[/\\;?]|%2f|%5c|%3b|\Z)", re.IGNORECASE)
"""A segment that some programs resolve against those before it: the context path and the service."""

_REFUSED = {
    status: replace(RECEIVER_REFUSED, status=status)
    for status in (400, 403, 404, 413, 414, 429, 431, 503, 504)
}
"""Statuses of an in proxy that mean the same to the caller. The others concern the proxies: 401 would have
the caller look at its own credentials, and 500 is what the original answers when it can't open a message."""


class OverCompat:
    """Carries exchanges of one service to the in proxy in front of it.

    Args:
        service: its name, for the in proxy.
        context_path: what comes before that; "" or `/PATH`.
        caller_header: the field that names the caller.
        senders: seal the messages of each caller that may occur.
        bodies: holds answers while they come, and knows how large they may be.
        pools: connections by endpoint.
        clock: monotonic time in seconds.
    """

    tunnels = False

    def __init__(
        self,
        service: str,
        context_path: str,
        caller_header: str,
        senders: Mapping[str, CompatSender],
        bodies: HeldBodies,
        pools: Pools,
        clock: Callable[[], float],
    ) -> None:
        self._before_target = f" {context_path}/{service}".encode()
        self._senders = {
            name: (sender, f"{caller_header}: {name}\r\n".encode()) for name, sender in senders.items()
        }
        self._bodies = bodies
        self._limit_bytes = bodies.response_limit_bytes
        self._pools = pools
        self._clock = clock

    def lane(
        self,
        caller: str,
        outgoing: Outgoing,
        endpoint: Endpoint,
        exchange_id: str,
        timeout_s: float,
    ) -> CompatLane | None:
        """Compile the short way to `endpoint`; see `Transport.lane`."""
        pool = self._pools.pool(endpoint)
        if pool is None or outgoing.target == b"*":
            return None
        sender, caller_line = self._senders[caller]
        start = b"".join(self._head(outgoing, endpoint, caller_line))
        return CompatLane(self, endpoint, pool, sender, start, self._limit_bytes)

    def _head(self, outgoing: Outgoing, endpoint: Endpoint, caller_line: bytes) -> tuple[bytes, ...]:
        """The parts of a request's head but for its framing and its rest."""
        return (
            outgoing.method,
            self._before_target,
            outgoing.target,
            _HOST,
            host_field(endpoint),
            outgoing.fields,
            caller_line,
        )

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        """Seal a request, send it to `endpoint` and open the answer; see `Transport.attempt`.

        content: here entirely, as bytes; the format carries none that is still on its way.
        """
        method = outgoing.method
        if outgoing.target == b"*":
            raise ProxyError(METHOD_UNSUPPORTED, "OPTIONS * has no form over compat")
        if _DOT_SEGMENT.match(outgoing.target):
            raise ProxyError(AMBIGUOUS_PATH, "over compat a dot segment could lead to another service")
        exchange.phase = "seal"
        sender, caller_line = self._senders[exchange.caller]
        message = sender.seal(cast(bytes, content))
        connection = self._pools.take(endpoint)
        if connection is None:
            connection, _ = await connect_in_time(self._pools, exchange, endpoint, self._clock)
        exchange.phase = "wait"
        head = self._head(outgoing, endpoint, caller_line)
        waiter = connection.send(method, b"".join((*head, length_line(len(message)), outgoing.rest, message)))
        try:
            outer = await waiter
        except BaseException:
            connection.abandon(waiter)
            raise
        return await self.finish(exchange, outgoing, endpoint, outer)

    async def finish(
        self, exchange: Exchange, outgoing: Outgoing, endpoint: Endpoint, outer: Response
    ) -> Response:
        """Open the answer to an attempt.

        Raises:
            ProxyError: the in proxy refused, or what came doesn't open; `sent` is set.
        """
        exchange.phase = "open"
        sender, _ = self._senders[exchange.caller]
        try:
            if outer.head.status != 200:
                _check_refusal(outer, endpoint)
            sealed = outer.content
            if type(sealed) is not bytes:
                sealed = await self._bodies.hold_sealed_response(sealed)
            return self._open(sender, outgoing.method, outer.head, sealed, endpoint)
        except ProxyError as error:
            error.sent = True
            raise

    def _open(
        self, sender: CompatSender, method: bytes, head: ResponseHead, sealed: bytes, endpoint: Endpoint
    ) -> Response:
        if head.bodiless or method == b"HEAD":
            # The length, if there is one, is that of a sealed body, which no caller would get.
            return Response(ResponseHead(head.status, head.start, has_date=head.has_date), b"")
        try:
            return Response(head, sender.open_response(sealed, self._limit_bytes))
        except ProxyError as error:
            detail = error.detail or error.cause.title
            raise ProxyError(error.cause, f"{endpoint} answered {head.status}: {detail}") from error


def _check_refusal(outer: Response, endpoint: Endpoint) -> None:
    """Raise if it is not the service that answers but the in proxy, which says so in the header."""
    head, content = outer.head, outer.content
    message, name = _MESSAGE.search(head.start), _NAME.search(head.start)
    if message is None and name is None:
        return
    if type(content) is not bytes:
        cast(Body, content).close()
    retry_after = _RETRY_AFTER.search(head.start)
    raise ProxyError(
        _REFUSED.get(head.status, RECEIVER_REFUSED),
        f"{endpoint} answered {head.status}: {_shown(message)} (from {_shown(name)})",
        retry_after_s=None if retry_after is None else float(retry_after[1]),
    )


def _shown(field: re.Match[bytes] | None) -> str:
    """What a peer wrote, as far as a person can read it: it goes into answers and logs."""
    said = b"" if field is None else field[1][:_MESSAGE_CHARACTERS].strip()
    return "".join(c if " " <= c <= "~" else "?" for c in said.decode("latin-1")) or "?"
