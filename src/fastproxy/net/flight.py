"""The short way through a connection: a request leaves and its answer returns without a coroutine.

A handler that has decided once on a request from a certain peer may leave a `Flow` with the deciding part of
its head. The connection hands it the next such request that is here entirely. What the flow takes is a
`Flight` until it is answered; what it doesn't take goes to the handler, as if there were no flow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from fastproxy.errors import ProxyError
from fastproxy.model import FieldBlock, RequestHead

if TYPE_CHECKING:
    from fastproxy.net.connection import Connection


class Flow(Protocol):
    """Takes requests of one peer whose heads decide the same."""

    def begin(self, edge: Connection, head: RequestHead, rest: FieldBlock, content: bytes) -> bool:
        """Take a request, which ends by `Connection.land` or `divert`; False: nothing was done with it.

        Args:
            rest: of its head, as in `Request`.
        """
        ...


class Flight(Protocol):
    """A request that is under way.

    deadline: monotonic time in seconds. phase: where it stands, a word of the error table.
    """

    @property
    def deadline(self) -> float: ...
    @property
    def phase(self) -> str: ...

    def throw(self, error: ProxyError) -> None:
        """Its time is up: answer with this error."""
        ...

    def cancel(self) -> None:
        """Nobody waits for its answer any more."""
        ...
