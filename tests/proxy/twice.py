"""Performs a play twice: by proxies that know the short way, and by others that may only take the long one.

Callers, services and metrics must see the same.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fastproxy.app.running import Proxy
from tests.e2e.proxies import merged
from tests.net.kit import Wire
from tests.proxy.stage import COMPAT_IN, COMPAT_OUT, OPEN_TO_ALL, Config, Stage, request

LONG_ONLY = {"limits": {"requests_per_connection": 1_000_000}}
ASKED = request(content=b"what")
_ID = re.compile(rb"[0-9a-f]{16}x[0-9a-f]{12}")
_DATE_LINE = re.compile(rb"\r\ndate: [^\r]*")

Play = Callable[[Stage, Wire], list[bytes]]
"""What happens once both proxies know a call; takes its caller, returns what callers and services got."""


def comparable(data: bytes) -> bytes:
    return _DATE_LINE.sub(b"\r\ndate: now", _ID.sub(b"ID", data))


def counted(proxy: Proxy) -> list[Any]:
    """What metrics say of a proxy, durations apart."""
    return [
        (
            series.caller, series.service, series.bytes_in, series.bytes_out, series.retries, series.refusals,
            sorted((outcome, cause, sum(spent.counts)) for outcome, cause, spent in series.outcomes()),
        )
        for series in proxy.metrics.all_series()
    ]  # fmt: skip


def perform(folder: Path, play: Play, warm: bytes, out: Config, inner: Config) -> tuple[list[Any], Stage]:
    """Perform a play once; returns all that can be seen from outside."""
    stage = Stage(folder, out=out, inner={**OPEN_TO_ALL, **inner})
    with stage.playing():
        caller = stage.warm_up(warm)
        seen: list[Any] = [comparable(said) for said in play(stage, caller)]
        seen += [caller.closing, counted(stage.outer), counted(stage.inner)]
        stage.settle(caller)
        seen += [pool.size for proxy in (stage.outer, stage.inner) for pool in stage._pools(proxy)]
        caller.lose()
        stage.settle()
        stage.check_nothing_is_left()
    return seen, stage


def perform_twice(
    play: Play,
    warm: bytes = ASKED,
    *,
    over: str = "http",
    out: Config | None = None,
    inner: Config | None = None,
) -> list[Any]:
    """Perform a play on both ways, and compare; returns what was seen.

    Args:
        play: as above. warm: the call that the proxies know. over: the transport between them.
        out, inner: settings that differ from the plain ones.
    """
    out, inner = (COMPAT_OUT, COMPAT_IN) if over == "compat" else (out or {}, inner or {})
    with TemporaryDirectory() as folder:
        short, stage = perform(Path(folder), play, warm, out, inner)
        long_out, long_in = merged(out, LONG_ONLY), merged(inner, LONG_ONLY)
        long, long_stage = perform(Path(folder), play, warm, long_out, long_in)
        assert short == long
        assert stage.flights, "the short way was not taken at all"
        assert not long_stage.flights
    return short
