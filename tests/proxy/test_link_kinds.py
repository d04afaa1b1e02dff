"""What the short way knows of a link's requests is bounded, whatever a caller sends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastproxy.proxy.link_flow import KINDS_PER_LINK, LinkFlow


def test_a_link_is_known_by_few_kinds_of_requests() -> None:
    nothing: Any = None
    receiver: Any = SimpleNamespace(parser=nothing)
    flow = LinkFlow(nothing, receiver, nothing, nothing, lambda: 0.0)
    origin: Any = SimpleNamespace(link=SimpleNamespace(known=None))
    for number in range(10 * KINDS_PER_LINK):
        kind = b"%d" % number
        call: Any = object()
        flow.keep(origin, "web", kind, call)
        assert flow.recall(origin, "web", kind) is call
        assert len(origin.link.known) <= KINDS_PER_LINK
