"""What a way to the next hop can do: one attempt to carry an exchange there.

The attempt loop (`forward.py`) knows of nothing else. `over_http` carries to a receiver, sealed;
`to_service` carries to a service, plain.
"""

from __future__ import annotations

from typing import Protocol

from fastproxy.model import Endpoint, Exchange, Request, Response


class Transport(Protocol):
    """A way to the next hop."""

    async def attempt(self, exchange: Exchange, request: Request, endpoint: Endpoint) -> Response:
        """Carry the request to `endpoint` and wait for the head of the answer.

        Raises:
            ProxyError: with `sent` telling whether the next hop may have acted on a part of it.
        """
        ...
