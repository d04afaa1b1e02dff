"""Somebody between the two proxies: sees every envelope, keeps it, and may change it.

Works on whole messages: reads a request of the out proxy, lets it be changed, passes it on, and does the same
with the answer. What isn't told otherwise passes unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from tests.e2e.client import Address, Client
from tests.e2e.http_wire import CutError
from tests.e2e.services import Conversation, ScriptedService, sized

Change = Callable[[bytes], bytes]

TARGET = "/fastproxy/v2"
CONTENT_TYPE = "Content-Type: application/vnd.fastproxy.v2"


def unchanged(content: bytes) -> bytes:
    """Pass on what came."""
    return content


class Relay:
    """A relay on a loopback port, from when it is told where it leads.

    requests, responses: contents that came, in order, before they were changed.
    """

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.responses: list[bytes] = []
        self._on_request: Change = unchanged
        self._on_response: Change = unchanged
        self._target: Address = ("", 0)
        self._service = ScriptedService(self._carry)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._service.__exit__(kind, error, trace)

    def lead_to(self, address: Address) -> str:
        """Lead to an in proxy; return the relay's own address as configs write it."""
        self._target = address
        return self._service.endpoint

    @contextmanager
    def changing(self, *, request: Change = unchanged, response: Change = unchanged) -> Iterator[None]:
        """Change what passes, for a while."""
        self._on_request, self._on_response = request, response
        try:
            yield
        finally:
            self._on_request = self._on_response = unchanged

    def _carry(self, conversation: Conversation) -> None:
        with Client(self._target) as inner:
            while True:
                request = conversation.request()
                if not request.whole:
                    raise CutError
                self.requests.append(request.body)
                target = request.start.split(" ")[1]
                answer = inner.request("POST", target, self._on_request(request.body), [CONTENT_TYPE])
                self.responses.append(answer.body)
                content = self._on_response(answer.body)
                ending = ["Connection: close"] if answer.get("connection") == "close" else []
                conversation.send(sized(content, CONTENT_TYPE, *ending, status=answer.start.split(" ", 1)[1]))
                if ending:
                    raise CutError
