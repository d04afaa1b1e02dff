"""Profiles of a proxy while it runs, at the paths of Go programs: `/debug/pprof/` and `/debug/fgprof`.

Every profile begins with its request and ends with it: after the seconds that it asks for, or when whoever
asked has hung up. One of a kind is taken at a time, and the seconds are bounded.
Knows nothing of who may ask, or of how profiles are taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from math import ceil
from typing import Any
from urllib.parse import parse_qsl

from msgspec import Struct

from fastproxy.admin.answers import AdminError, answer
from fastproxy.model import Response
from fastproxy.net.drive import until
from fastproxy.telemetry.profiling.render import FORMATS

PREFIX = "/debug/pprof/"
_FIELDS = (
    b"cache-control: no-store\r\n"
    b"x-content-type-options: nosniff\r\n"
    b"cross-origin-resource-policy: same-origin\r\n"
)


class Kind(Struct, frozen=True):
    """One kind of profile.

    name: of its file. claims: what only one profile at a time can have: cpu, wall, block or memory.
    words: what it shows.
    default_s, most_s: how long it takes.
    """

    name: str
    claims: str
    words: str
    default_s: float = 30.0
    most_s: float = 300.0


KINDS = {
    "/debug/pprof/profile": Kind("cpu", "cpu", "CPU: where the processor's time goes"),
    "/debug/fgprof": Kind("wall", "wall", "Wall clock: where time goes, waiting included"),
    "/debug/pprof/block": Kind("block", "block", "Stalls of the event loop: how long, and what caused them"),
    "/debug/pprof/heap": Kind("heap", "memory", "Memory in use, of what was allocated meanwhile", 10.0, 60.0),
    "/debug/pprof/allocs": Kind(
        "allocs", "memory", "Memory allocated, whether or not it is in use still", 10.0, 60.0
    ),
}


Taker = Callable[[Kind, float, str], Coroutine[Any, Any, bytes]]
"""Takes a profile of a kind for so many seconds, and makes a file of it in one of `FORMATS`.

Raises:
    AdminError: it can't be had; the words say why and what to do.
"""


class Profiles:
    """Answers with profiles.

    Args:
        take: takes them; is cancelled when whoever asked hangs up. loop: the event loop.
    """

    __slots__ = ("_ends_s", "_loop", "_take")

    def __init__(self, take: Taker, loop: asyncio.AbstractEventLoop) -> None:
        self._take = take
        self._loop = loop
        self._ends_s: dict[str, float] = {}  # of what is being taken

    async def answer(self, method: bytes, path: bytes, query: bytes) -> Response:
        """Answer a request, in the end.

        Raises:
            AdminError: it asks for nothing that there is, or for what can't be had now.
        """
        if method != b"GET":
            raise AdminError(405, "only GET", b"allow: GET\r\n")
        if path in (PREFIX.encode(), PREFIX[:-1].encode()):
            return answer(200, b"text/html; charset=utf-8", _index().encode(), _FIELDS)
        kind = KINDS.get(path.decode("latin-1"))
        if kind is None:
            raise AdminError(404, f"there are {', '.join(KINDS)} here; {PREFIX} tells what they are")
        seconds, form = _parse(kind, query)
        content = await until(self._loop.create_task(self._exclusively(kind, seconds, form)))
        if form == "flamegraph":
            return answer(200, b"text/html; charset=utf-8", content, _FIELDS)
        disposition = b'content-disposition: attachment; filename="%b.pb.gz"\r\n' % kind.name.encode()
        return answer(200, b"application/octet-stream", content, _FIELDS + disposition)

    async def _exclusively(self, kind: Kind, seconds: float, form: str) -> bytes:
        ends_s = self._ends_s.get(kind.claims)
        if ends_s is not None:
            left_s = max(1, ceil(ends_s - self._loop.time()))
            raise AdminError(
                409,
                f"a {kind.claims} profile is being taken already, for {left_s} s more",
                b"retry-after: %d\r\n" % left_s,
            )
        self._ends_s[kind.claims] = self._loop.time() + seconds
        try:
            return await self._take(kind, seconds, form)
        finally:
            del self._ends_s[kind.claims]


def _parse(kind: Kind, query: bytes) -> tuple[float, str]:
    """Return the seconds and the format that a query asks for."""
    fields = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    given = dict(fields)
    # `debug` asks Go for text instead, `gc` for a collection before.
    if len(given) < len(fields) or given.keys() - {"seconds", "format", "debug", "gc"}:
        raise AdminError(400, "a query has `seconds` and `format`, each once")
    form = given.get("format", "pprof")
    if form not in FORMATS:
        raise AdminError(400, f"`format` is one of {', '.join(FORMATS)}")
    if given.get("debug", "0") != "0":
        raise AdminError(400, "there is no text form; use `format=flamegraph`, or `fastproxy profile`")
    try:
        seconds = float(given.get("seconds", kind.default_s))
    except ValueError:
        seconds = 0.0
    if not 0.01 <= seconds <= kind.most_s:  # refuses nan as well
        raise AdminError(400, f"`seconds` is a number up to {kind.most_s:g}")
    return seconds, form


def _index() -> str:
    rows = "".join(
        f'<tr><td>{kind.words}<td><a href="{path}">{path}</a><td>'
        f'<a href="{path}?seconds={min(kind.default_s, 10):g}&amp;format=flamegraph">flame graph of '
        f"{min(kind.default_s, 10):g} s</a>"
        for path, kind in KINDS.items()
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>fastproxy profiles</title>'
        "<style>:root{color-scheme:light dark}body{font:15px/1.6 system-ui,sans-serif;margin:2rem}"
        "td{padding:.2rem 1.2rem .2rem 0}</style><h1>Profiles of this proxy</h1>"
        f"<table>{rows}</table><p>Each takes the seconds that <code>?seconds=</code> says, then answers in "
        "pprof's format: <code>go tool pprof -http :8081 http://HOST:PORT/debug/pprof/profile</code>.</html>\n"
    )
