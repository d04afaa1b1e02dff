"""What traces keep off the short ways: they record nothing, so a request that is to be recorded goes the long
way.

Stands in front of a short way only where traces are on; where they are off, nothing here is made or called.
"""

from __future__ import annotations

from fastproxy.model import FieldBlock, RequestHead
from fastproxy.net.connection import Connection
from fastproxy.net.flight import Flow
from fastproxy.net.http1 import HeadParser
from fastproxy.proxy.known_call import KnownCall, KnownCalls
from fastproxy.telemetry.tracing import Tracer


class UntracedFlow:
    """The out proxy's short way, for requests that are not recorded.

    Args:
        flow: that way. tracer: says which requests are to be recorded.
        caller, service: of these requests.
    """

    __slots__ = ("_caller", "_flow", "_service", "_tracer")

    def __init__(self, flow: Flow, tracer: Tracer, caller: str, service: str) -> None:
        self._flow = flow
        self._tracer = tracer
        self._caller = caller
        self._service = service

    def begin(self, edge: Connection, head: RequestHead, rest: FieldBlock, content: bytes) -> bool:
        """Take a request that isn't recorded; see `Flow`."""
        return self._tracer.passes(self._caller, self._service, rest) and self._flow.begin(
            edge, head, rest, content
        )


class UntracedCalls(KnownCalls):
    """What the in proxy knows of one caller's requests, as far as they are not recorded.

    Nothing is found at a glance: whether a request is recorded is no matter of its head alone.

    Args:
        parser: as for `KnownCalls`. tracer: says which requests are to be recorded.
    """

    __slots__ = ("_tracer",)

    def __init__(self, parser: HeadParser, tracer: Tracer) -> None:
        super().__init__(parser)
        self._tracer = tracer

    def find(self, message: bytes, start: int, end: int) -> tuple[KnownCall, bytes] | None:
        """Find the call that a request is one of, if it isn't recorded; see `KnownCalls.find`."""
        found = super().find(message, start, end)
        self.whole = b""
        if found is None:
            return None
        call, rest = found
        return found if self._tracer.passes(call.rate_key[0], call.hop.name, rest) else None
