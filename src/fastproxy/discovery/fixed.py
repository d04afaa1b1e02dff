"""Endpoints that need no looking up: IP addresses and Unix sockets."""

from __future__ import annotations

from fastproxy.model import Endpoint


class FixedSource:
    """Always the same endpoints.

    Args:
        endpoints: in the order in which they take turns.
    """

    __slots__ = ("endpoints",)

    def __init__(self, endpoints: tuple[Endpoint, ...]) -> None:
        self.endpoints = tuple(dict.fromkeys(endpoints))

    @property
    def missing(self) -> str:
        """See `Source.missing`."""
        return "none is configured"

    async def start(self) -> None:
        """Nothing to look up."""

    def age_s(self, now_s: float) -> float | None:
        """Return 0: what is fixed is never out of date."""
        return 0.0

    async def close(self) -> None:
        """Nothing to stop."""
