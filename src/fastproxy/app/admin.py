"""The admin address of its parts: who may have profiles, and what they look at."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any

from fastproxy.admin.access import FIELDS, Access
from fastproxy.admin.server import AdminHandler
from fastproxy.app.parts import Parts, reveal
from fastproxy.config.snapshot import Snapshot
from fastproxy.net.http1 import HeadLimits, HeadParser
from fastproxy.net.link.received_stream import ReceivedStream
from fastproxy.net.link.server import LinkServer
from fastproxy.net.server import Server, ServerLimits

if TYPE_CHECKING:
    from fastproxy.admin.profiles import Profiles

_CONNECTIONS = 256
"""Probes, scrapers and people are few."""


def admin_server(
    snapshot: Snapshot,
    parts: Parts,
    not_ready: Callable[[], str],
    server: Server,
    links: LinkServer | None,
) -> Server:
    """Make the listener for operators, probes and scrapers.

    Args:
        not_ready: says why the proxy should get no traffic now, "" when it may.
        server: where exchanges come in; links: those on which they come in as well, if any.
    """
    admin = snapshot.admin
    access = Access(
        admin.address.host if admin else "",
        is_unix=admin is not None and admin.address.is_unix,
        token=reveal(admin.token) if admin else None,
        is_open=admin is not None and admin.is_open,
    )

    def make_profiles() -> Profiles:
        from fastproxy.admin.profiles import Profiles  # noqa: PLC0415 - for those who ask

        return Profiles(lambda: _exchanges(server, links), parts.wheel, parts.loop)

    handler = AdminHandler(snapshot.config.name, parts.metrics, not_ready, access, make_profiles)
    limits = ServerLimits(connections=_CONNECTIONS)
    return Server(handler, HeadParser(HeadLimits(), FIELDS), limits, parts.wheel, parts.loop)


def _exchanges(
    server: Server, links: LinkServer | None
) -> Iterator[tuple[str, Coroutine[Any, Any, Any] | None]]:
    """Tell which exchanges are under way: where each stands, and its coroutine; the short way has none."""
    for connection in server.connections:
        if (under_way := connection.under_way) is not None:
            phase, coroutine = under_way
            yield f"exchange, {phase}", coroutine
    for link in links.links if links is not None else ():
        for stream in link.streams.values():
            coroutine = stream.coroutine if isinstance(stream, ReceivedStream) else None
            yield f"exchange, {stream.phase}", coroutine
