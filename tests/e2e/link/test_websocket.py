"""WebSocket conformance through both proxies: the Autobahn cases, played by kosoku at a server behind them.

The same cases are played at the server itself first: whatever passes there has to pass through the proxies,
with the same verdicts.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.server import ServerConnection, serve

from tests.e2e.conftest import Maker
from tests.e2e.proxies import endpoint_of

A_FEW = ["1.1.*", "2.*", "5.1*", "6.1.*", "7.1.*", "12.1.1"]
"""Messages, pings, fragments, UTF-8, closes and a compressed one: what takes a second."""
LEAST_CASES = 500
TIMEOUT_S = 3600
PASSED = {"OK": "OK", "NON-STRICT": "OK", "INFORMATIONAL": "INFORMATIONAL"}
"""Verdicts, and what they count for. Where good messages stand before a broken one, a server that answers
them first is strict, and one that ends the connection at once isn't: which of them a server with several
threads is depends on which runs first."""


@contextmanager
def echo_server() -> Iterator[str]:
    """Run a WebSocket server that says back what is said to it; yields its address."""
    quiet = logging.getLogger("tests.e2e.websocket")
    quiet.setLevel(logging.CRITICAL)  # most cases are meant to break the protocol

    def echo(connection: ServerConnection) -> None:
        for message in connection:
            connection.send(message)

    with serve(echo, "127.0.0.1", 0, max_size=None, ping_interval=None, logger=quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield endpoint_of(server.socket.getsockname())
        server.shutdown()
        thread.join(10)


def passed(address: str, cases: Sequence[str], reports: Path) -> dict[str, tuple[str, str]]:
    """Play the cases at a server; return the two verdicts (on messages, on closing) of each that passed."""
    selection = [argument for case in cases for argument in ("--include", case)]
    program = Path(sys.executable).with_name("kosoku")
    command = [str(program), f"ws://{address}", "--outdir", str(reports), "--parallelism", "4", *selection]
    subprocess.run(command, capture_output=True, timeout=TIMEOUT_S / 2)  # 1 when some case doesn't pass
    (found,) = json.loads((reports / "index.json").read_text()).values()
    verdicts = {name: (case["behavior"], case["behaviorClose"]) for name, case in found.items()}
    return {
        name: (PASSED[messages], PASSED[closing])
        for name, (messages, closing) in verdicts.items()
        if messages in PASSED and closing in PASSED
    }


def check_the_proxies_change_nothing(make: Maker, folder: Path, cases: Sequence[str], least: int) -> None:
    hour = {"defaults": {"timeout_s": 3600}}
    with echo_server() as server:
        pair = make.pair({"chat": [server]}, out=hour, inner=hour)
        direct = passed(f"{server}/", cases, folder / "direct")
        assert len(direct) >= least
        through = passed(f"{endpoint_of(pair.address)}/chat/", cases, folder / "through")
        assert {name: through.get(name) for name in direct} == direct
        for proxy in (pair.out, pair.inner):
            proxy.wait_for_gauge("fastproxy_in_flight", 0)


def test_a_few_cases_pass_through_the_proxies(make: Maker, tmp_path: Path) -> None:
    check_the_proxies_change_nothing(make, tmp_path, A_FEW, 30)


@pytest.mark.long
@pytest.mark.timeout(TIMEOUT_S)
def test_all_cases_that_pass_at_the_server_pass_through_the_proxies(make: Maker, tmp_path: Path) -> None:
    check_the_proxies_change_nothing(make, tmp_path, ["*"], LEAST_CASES)
