"""The wall clock is set while proxies run, by hours and days, forward and back: calls go on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.conftest import Maker
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import Pair

FAKETIME_LIBRARIES = (
    *Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"),
    *map(Path, filter(None, [os.environ.get("LIBFAKETIME")])),
)
pytestmark = pytest.mark.skipif(
    not FAKETIME_LIBRARIES, reason="libfaketime is not installed (or named by LIBFAKETIME)"
)


class Clock:
    """The wall clock of all processes that are started while it is there; the monotonic one stays."""

    def __init__(self, file: Path, patch: pytest.MonkeyPatch) -> None:
        self._file = file
        self.set("+0")
        for name, value in {
            "LD_PRELOAD": str(FAKETIME_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }.items():
            patch.setenv(name, value)

    def set(self, offset: str) -> None:
        """Set it, as an offset from the real one."""
        beside = self._file.with_suffix(".new")
        beside.write_text(offset)
        beside.replace(self._file)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(tmp_path / "offset", monkeypatch)


def goes_on(pair: Pair) -> bool:
    """Whether calls go through, both proxies are ready, and no worker seemed to hang."""
    return (
        all(pair.fetch("GET", "/web/hello").status == 200 for _ in range(3))
        and pair.inner.probe("/readyz").status == pair.out.probe("/readyz").status == 200
        and not any(proxy.log.find(logger="fastproxy.supervisor") for proxy in (pair.inner, pair.out))
    )


@pytest.mark.parametrize("transport", ["link", "http"])
def test_calls_go_on_whichever_way_the_clock_jumps(
    make: Maker, nginx: Nginx, clock: Clock, transport: str
) -> None:
    out = {"workers": 1, "defaults": {"transport": transport}}
    pair = make.pair({"web": [nginx.endpoint]}, out=out, inner={"workers": 1})
    for offset in ("+0", "+3d", "-3d", "+2h", "+0", "-400d"):
        clock.set(offset)
        assert goes_on(pair), offset
