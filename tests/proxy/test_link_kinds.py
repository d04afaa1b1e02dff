"""What the short way knows of a link's requests is bounded, whatever a caller sends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from fastproxy.proxy.link_flow import KINDS_PER_LINK, LinkFlow


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
