"""What a way into the in proxy can do: open a request, which tells who calls, and seal the answer.

`InProxy` knows of nothing else; `http_receiver` and `compat_receiver` are such ways. Which one a request took
stands in its target.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from fastproxy.errors import ProxyError
from fastproxy.model import NO_FIELDS, Content, FieldBlock, Request, RequestHead, Response
from fastproxy.proxy.refusals import Refusals
from fastproxy.wire.envelope import service_field
from fastproxy.wire.records import Packing


class Received(Struct):
    """A request of a caller that counts as proven.

    caller: by name. binding: what its receiver seals the answer with; None where the stream says it all.
    exchange_id, service: "" if not known.
    budget_ms: time left for the exchange, as the message says; 0 when it doesn't.
    head, content: of the request inside; head is None when `error` says why it can't be served.
    kind: what requests that are decided alike have in common; b"" where there is no short way.
    rest: of the head, as in `Request`.
    """

    caller: str
    binding: Any
    exchange_id: str = ""
    service: str = ""
    budget_ms: int = 0
    head: RequestHead | None = None
    content: Content = b""
    error: ProxyError | None = None
    kind: bytes = b""
    rest: FieldBlock = NO_FIELDS


def kind_of(service: str, head: RequestHead) -> bytes:
    """What requests to a service have in common that are decided alike: the sealed bytes that decide,
    but for a length."""
    return service_field(service) + head.kind


class AnswerSealer(Protocol):
    """Makes what goes back."""

    def seal(
        self, binding: Any, method: bytes, response: Response, fields: bytes, packing: Packing, refusal: str
    ) -> Response:
        """Make what goes back.

        Args:
            binding, method: of the request.
            response: of the service, or this proxy's refusal.
            fields: further header lines for its head.
            packing: compression and padding, where the format leaves them to the receiver.
            refusal: the cause's label when this proxy refuses, else "".
        """
        ...


class RequestReceiver(AnswerSealer, Protocol):
    """Opens requests and seals answers."""

    def receive_single(self, outer: Request) -> Received | None:
        """Open the ordinary request, which is here entirely; None for any other, for `receive` to judge."""
        ...

    async def receive(self, outer: Request) -> Received:
        """Open a request, as far as it takes to know who calls.

        Raises:
            ProxyError: nobody is proven; answer in the clear.
        """
        ...


class ShortWayIn(Protocol):
    """The short way of ordinary calls on one way in (`known_call`)."""

    def recall(self, origin: Any, caller: str, kind: bytes) -> Any:
        """Have requests like this take it; return what is known of their kind, or None.

        Args:
            origin: the request around it, or the stream that it came on.
        """
        ...

    def keep(self, origin: Any, caller: str, kind: bytes, call: Any) -> None:
        """Remember what was decided on requests of this kind."""
        ...


class WayBack(NamedTuple):
    """How requests that came one way are answered.

    receiver: seals. refusals: answers what is refused on this way.
    hold: makes a service's answer complete, where one that is still coming can't be sealed; None if it is.
    challenge: answers a sender that doesn't know this receiver's epoch, where there is such a thing.
    both_ways: it carries interim answers, and what follows a change of protocol.
    """

    receiver: AnswerSealer
    refusals: Refusals
    hold: Callable[[Response], Awaitable[Response] | None] | None = None
    challenge: Callable[[Any], Response] | None = None
    both_ways: bool = False


class WayIn(NamedTuple):
    """One way in over HTTP.

    receiver: opens. back: how it is answered.
    open_timeout_s: for what proves who calls to arrive.
    """

    receiver: RequestReceiver
    back: WayBack
    open_timeout_s: float
