"""Request, response and exchange as every layer above sees them; bodies are streams.

A `Body` yields pieces. One that arrived whole with its head says so in `whole`, so that the hot path
handles small messages without a single suspension; everything else reads piece by piece.
Knows nothing of sockets, sealing or policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

Headers = list[tuple[bytes, bytes]]
"""Header fields in the order in which they came; names as they were spelled, values without outer spaces."""


class Body(Protocol):
    """The content of a message, read once, from front to back.

    whole: the entire content when it is already here, else None; trailers never come with a whole body.
    length: number of bytes when the sender declared it, else None.
    trailers: the trailer fields; complete once `read` has returned b"".
    """

    whole: bytes | None
    length: int | None
    trailers: Headers

    async def read(self) -> bytes:
        """Return the next piece, never empty before the end; b"" at the end.

        Raises:
            ProxyError: the sender broke off, or broke a rule or a limit.
        """
        ...

    def close(self) -> None:
        """Say that the rest is not wanted. Safe to call at any time, more than once."""
        ...


class WholeBody:
    """A body that is here entirely."""

    __slots__ = ("_read", "length", "trailers", "whole")

    def __init__(self, content: bytes) -> None:
        self.whole: bytes | None = content
        self.length: int | None = len(content)
        self.trailers: Headers = []
        self._read = False

    async def read(self) -> bytes:
        """Return the content at the first call, b"" after."""
        if self._read:
            return b""
        self._read = True
        return self.whole or b""

    def close(self) -> None:
        """Nothing to release."""


@dataclass(slots=True)
class Request:
    """One request, parsed and checked.

    method: as sent, e.g. b"POST".
    target: origin form (path and query), exactly as it will be forwarded; b"*" for OPTIONS only.
    headers: end-to-end fields only; Host, framing and hop-by-hop fields are not among them.
    host: the authority that the request is for, or b"" (HTTP/1.0 without Host).
    body: the content; `WholeBody(b"")` when there is none.
    has_body: whether the message declared a content, be it of zero bytes.
    absolute: the target came in absolute form.
    peer: the address of the connection's other end, for logs and Forwarded.
    """

    method: bytes
    target: bytes
    headers: Headers
    host: bytes
    body: Body
    has_body: bool = False
    absolute: bool = False
    peer: str = ""


@dataclass(slots=True)
class Response:
    """One response, parsed and checked.

    headers: end-to-end fields only. body: `WholeBody(b"")` when there is none.
    declared_length: Content-Length of an answer that carries none of the content itself
        (HEAD, 304), passed on as it is.
    """

    status: int
    reason: bytes
    headers: Headers
    body: Body
    declared_length: int | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of a service or a receiver: an IP address or a Unix socket path, resolved."""

    host: str
    port: int
    authority: str = field(default="", compare=False)
    """What stands in the Host header and in logs: `name:port` as configured."""

    def __str__(self) -> str:
        return self.authority or f"{self.host}:{self.port}"
