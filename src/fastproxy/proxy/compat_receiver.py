"""The in proxy's side of wire format v1: opening requests, sealing answers.

Only bodies are sealed. The caller's name, service, path and header fields are taken from the HTTP message
around one, unsigned as they are; `docs/wire.md` says what that means. Refusals go back in the clear, also to
a caller that is proven: the format can't bind an answer to its request, so sealing one would prove nothing,
and its senders look for errors in the header.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine
from typing import Any, NamedTuple, cast

from fastproxy.errors import NOT_AN_ENVELOPE, ProxyError
from fastproxy.model import Request, RequestHead, Response, ResponseHead
from fastproxy.policy.service_choice import ServiceChoice
from fastproxy.proxy.fields import ERROR_MESSAGE, PROXY_NAME
from fastproxy.proxy.held_body import HeldBodies
from fastproxy.proxy.way_in import Received
from fastproxy.wire.compat.sealing import CompatAnswer, CompatReceiver
from fastproxy.wire.records import Packing

_ADDRESSED = "compat"
"""Where among a head's plans stands what was made of it here."""

_ERROR_FIELDS = re.compile(rb"(?<=\r\n)(?:%b|%b):[^\r]*\r\n" % (ERROR_MESSAGE, PROXY_NAME), re.IGNORECASE)


class Addressed(NamedTuple):
    """What the head of the HTTP message says, unproven: who calls, which service, and what is asked of it.

    service: "" when it names none that is known.
    """

    caller: str
    service: str
    head: RequestHead


class CompatWayIn:
    """Opens requests and seals answers; see `way_in.RequestReceiver`.

    prefix: what the targets of its requests begin with.

    Args:
        receiver: keys, and what each caller must do.
        caller_header: the field that names the caller.
        context_path: what comes before the service in a target; "" or `/PATH`.
        choice: how the first segment after that becomes a service.
        bodies: holds them while they come, and knows how large they may be.
    """

    def __init__(
        self,
        receiver: CompatReceiver,
        caller_header: str,
        context_path: str,
        choice: ServiceChoice,
        bodies: HeldBodies,
    ) -> None:
        self.prefix = f"{context_path}/".encode()
        self._open = receiver.open
        self._caller_field = caller_header.lower().encode()
        self._choice = choice
        self._bodies = bodies
        self._limit_bytes = bodies.request_limit_bytes

    def receive_single(self, outer: Request) -> Received | None:
        """Open a message that is here entirely, None for any other."""
        message = outer.content
        if type(message) is not bytes:
            return None
        caller, service, inner = outer.head.plans.get(_ADDRESSED) or self._address(outer.head)
        request = self._open(caller, message, self._limit_bytes)
        return Received(
            caller, request.answer, service=service, head=inner, content=request.body, rest=outer.rest
        )

    async def receive(self, outer: Request) -> Received:
        """Wait for the whole message, and open it.

        Raises:
            ProxyError: nobody is proven, or the message has another form or is too large.
        """
        if _ADDRESSED not in outer.head.plans:
            self._address(outer.head)  # before any of it is held
        message = await self._bodies.hold_sealed_request(outer.content)
        return cast(Received, self.receive_single(Request(outer.head, message, outer.peer, outer.rest)))

    def _address(self, head: RequestHead) -> Addressed:
        if not head.target.startswith(self.prefix):
            raise ProxyError(NOT_AN_ENVELOPE)
        target = head.target[len(self.prefix) - 1 :]
        try:
            service, target = self._choice.choose(target, b"", absolute=False)
        except ProxyError:  # told to nobody before it is proven who calls
            service = ""
        inner = RequestHead(head.method, target, head.minor)
        inner.host, inner.fields = head.host, head.fields
        inner.control = {name: value for name, value in head.control.items() if name != self._caller_field}
        caller = head.control.get(self._caller_field, b"").decode("latin-1")
        addressed = head.plans[_ADDRESSED] = Addressed(caller, service, inner)
        return addressed

    def hold(self, response: Response) -> Coroutine[Any, Any, Response] | None:
        """Wait for the rest of a service's answer; None where there is none.

        Raises (the wait):
            ProxyError: it is too large, or broke off.
        """
        content = response.content
        if type(content) is bytes and len(content) <= self._bodies.response_limit_bytes:
            return None
        return self._hold(response)

    async def _hold(self, response: Response) -> Response:
        return Response(response.head, await self._bodies.hold_response(response.content))

    def seal(
        self,
        binding: CompatAnswer,
        method: bytes,
        response: Response,
        fields: bytes,
        packing: Packing,
        refusal: str,
    ) -> Response:
        """Seal the body of a service's answer; status and fields go in the clear, and so does a refusal.

        What goes without content has no Content-Length either: that of the sealed body isn't known.
        """
        head, content = response.head, response.content
        start = head.start
        if refusal:
            return Response(ResponseHead(head.status, start + fields), content)
        if head.status != 200:  # by these fields out proxies know a refusal: the service's own must not pass
            start = _ERROR_FIELDS.sub(b"", start)
        assert type(content) is bytes  # after `hold`
        sealed = b"" if head.bodiless or method == b"HEAD" else binding.seal(content)
        return Response(ResponseHead(head.status, start + fields), sealed)
