"""Calls over a link whose receiver doesn't read: they wait outside it, and can go elsewhere when it ends."""

from __future__ import annotations

from typing import Any, cast

from fastproxy.errors import ProxyError
from fastproxy.model import Endpoint, Exchange
from fastproxy.net.link.caller import CallerLink
from fastproxy.proxy.over_link import OverLink
from fastproxy.proxy.transport import Outgoing
from fastproxy.wire.link.frames import END, REQUEST
from fastproxy.wire.records import PLAIN
from tests.net.kit import Run
from tests.net.link.ends import Calling, response

ENDPOINT = Endpoint("127.0.0.1", 1)


class OneLink:
    """Pools that have this link."""

    def __init__(self, link: CallerLink) -> None:
        self._link = link

    def pool(self, endpoint: Endpoint) -> OneLink:
        return self

    def take(self) -> CallerLink:
        return self._link


def attempt(end: Calling, content: bytes = bytes(1000)) -> Run:
    """Begin a call."""
    pools = {"web": OneLink(end.link)}
    way = OverLink("api", cast(Any, pools), PLAIN, lambda: end.clock.now)
    exchange = Exchange("exchange-1", end.clock.now, "192.0.2.1")
    exchange.caller, exchange.deadline = "web", end.clock.now + 10
    outgoing = Outgoing(b"POST", b"POST / HTTP/1.1\r\n", b"", b"host: api\r\n\r\n", False, b"")
    return Run(way.attempt(exchange, outgoing, content, ENDPOINT, end.clock.now))


def test_what_is_not_read_is_not_piled_up() -> None:
    end = Calling()
    end.link.pause_writing()
    calls = [attempt(end) for _ in range(200)]
    end.clock.advance(0)
    assert end.wire.written == b""
    assert end.link.streams == {}
    end.link.resume_writing()
    heard = [each.stream for each in end.peer.hear() if each.kind == REQUEST | END]
    assert heard == list(range(1, 201))  # in the order in which they came
    end.peer.send(response(1))
    assert calls[0].value().head.status == 200


def test_what_waited_was_not_sent_when_the_link_ends() -> None:
    end = Calling()
    end.link.pause_writing()
    call, given_up = attempt(end), attempt(end)
    given_up.drive.cancel()
    end.clock.advance(45)
    assert end.ended == "unread"
    assert isinstance(call.error, ProxyError)
    assert call.error.cause.label == "connection_lost"
    assert not call.error.sent
