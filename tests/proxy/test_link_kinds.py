"""What the short way knows of a link's requests is bounded, whatever a caller sends."""

from __future__ import annotations

import struct
from types import SimpleNamespace
from typing import Any

from fastproxy.errors import RATE_LIMITED, ProxyError
from fastproxy.proxy.link_flow import KINDS_PER_LINK, LinkFlow

START = ">IIB"
"""How a request on a link begins (docs/wire.md): bytes of what follows, budget, bytes of the exchange id."""


def test_a_link_is_known_by_few_kinds_of_requests() -> None:
    nothing: Any = None
    receiver: Any = SimpleNamespace(parser=nothing)
    flow = LinkFlow(nothing, receiver, nothing, nothing, lambda: 0.0)
    link = SimpleNamespace(known=None, is_served_by=lambda handler: handler is flow)
    origin: Any = SimpleNamespace(link=link)
    for number in range(10 * KINDS_PER_LINK):
        kind = b"%d" % number
        call: Any = object()
        flow.keep(origin, "web", kind, call)
        assert flow.recall(origin, "web", kind) is call
        assert len(origin.link.known) <= KINDS_PER_LINK


def test_what_a_former_config_decided_is_not_left_with_a_link_that_another_serves() -> None:
    nothing: Any = None
    receiver: Any = SimpleNamespace(parser=nothing)
    former = LinkFlow(nothing, receiver, nothing, nothing, lambda: 0.0)
    link = SimpleNamespace(known=None, is_served_by=lambda handler: handler is not former)
    origin: Any = SimpleNamespace(link=link)
    call: Any = object()
    former.keep(origin, "web", b"kind", call)
    assert link.known is None


def test_a_call_over_its_rate_takes_no_turn_of_an_endpoint() -> None:
    nothing: Any = None
    turns = iter([nothing])

    def refuse(*_: Any) -> None:
        raise ProxyError(RATE_LIMITED)

    proxy: Any = SimpleNamespace(in_flight=0, in_flight_limit=1)
    receiver: Any = SimpleNamespace(parser=nothing)
    limiter: Any = SimpleNamespace(check=refuse)
    flow = LinkFlow(proxy, receiver, limiter, nothing, lambda: 0.0)
    hop = SimpleNamespace(source=SimpleNamespace(endpoints=()), balancer=SimpleNamespace(failing=()))
    lanes = SimpleNamespace(in_turn=turns)
    call = SimpleNamespace(hop=hop, endpoints=hop.source.endpoints, lanes=lanes, rate_key="", rate=object())
    known = SimpleNamespace(whole=b"whole", content_bytes=0, usual=(call, b""))
    link: Any = SimpleNamespace(known=known, read_s=0.0)
    start = b"id" + known.whole
    meta_bytes = struct.calcsize(START) - 4 + len(start)
    assert not flow.begin(link, 1, struct.pack(START, meta_bytes, 0, len(b"id")) + start)
    assert list(turns) == [nothing]
