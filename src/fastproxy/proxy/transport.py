"""What a way to the next hop can do: one attempt to carry an exchange there.

The attempt loop (`forward.py`) knows of nothing else. `over_http` and `over_compat` carry to an in proxy,
sealed; `to_service` carries to a service, plain.
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from fastproxy.model import Content, Endpoint, Exchange, Response


class Outgoing(Struct, frozen=True):
    """A request's head on its way to the next hop, serialised; the same for all requests with the same head.

    line: b"METHOD target HTTP/1.1\\r\\nhost: ". host: the Host to send, or b"" for the endpoint's own.
    fields: all others, each with its line end, but for framing and what changes with every request.
    has_body: whether a body was declared.
    framing: the last lines, where the head alone decides on them.
    head: all of it in one piece, where host and framing are known beforehand.
    target: the one in `line`, where a transport writes a line of its own.
    """

    method: bytes
    line: bytes
    host: bytes
    fields: bytes
    has_body: bool
    framing: bytes = b""
    head: bytes = b""
    target: bytes = b""


class Transport(Protocol):
    """A way to the next hop."""

    async def attempt(
        self, exchange: Exchange, outgoing: Outgoing, content: Content, endpoint: Endpoint, now_s: float
    ) -> Response:
        """Carry a request to `endpoint` and wait for the head of the answer.

        Args:
            exchange: its deadline lies after `now_s`, monotonic time in seconds.
            outgoing, content: the request.
            endpoint: one address of the next hop.

        Raises:
            ProxyError: with `sent` telling whether the next hop may have acted on a part of it.
        """
        ...
