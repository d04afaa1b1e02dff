"""What the short way keeps of the exchange that showed it, and what it must not keep alive by that."""

from __future__ import annotations

import gc
from pathlib import Path

from fastproxy.net.connection import Connection
from tests.proxy.stage import OPEN_TO_ALL, Stage
from tests.proxy.twice import ASKED


def connections_of(peer: str) -> int:
    """How many connections of this peer there are, in use or not."""
    gc.collect()
    return sum(type(each) is Connection and each.peer == peer for each in gc.get_objects())


def test_a_flow_does_not_keep_the_connection_that_it_was_learned_on(tmp_path: Path) -> None:
    stage = Stage(tmp_path, inner=OPEN_TO_ALL)
    peer = "192.0.2.77"
    with stage.playing():
        caller = stage.caller(peer)
        for _ in range(3):
            stage.call(caller, ASKED)
        assert connections_of(peer) == 1
        caller.end()
        del caller
        assert connections_of(peer) == 0
        stage.flights = 0
        stage.call(stage.caller(peer), ASKED)
        assert stage.flights == 2  # at both proxies: the flow is there still
