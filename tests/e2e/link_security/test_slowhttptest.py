"""The attacks of `slowhttptest` at the out proxy's plain listener: a normal caller goes on being served."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from tests.e2e.link_security.proxies import Parties, call
from tests.e2e.proxies import ProxyProcess
from tests.e2e.services import Conversation, sized

CONNECTIONS = 400
SECONDS = 20
LARGE = sized(bytes(8 << 20))
PATIENCE_S = 5.0
"""A call takes a millisecond; this leaves room for a busy machine, not for waiting behind an attacker."""

pytestmark = [pytest.mark.long, pytest.mark.timeout(120)]


def after_the_body(conversation: Conversation) -> None:
    """A service that reads each request to its end before it answers."""
    while True:
        request = conversation.request()
        if not request.whole:
            return
        conversation.send(LARGE if "/large" in request.start else sized(b"hello"))


@pytest.fixture(scope="module")
def out(shared_parties: Parties) -> ProxyProcess:
    """An out proxy with the limits as they are by default, and a link behind it."""
    service = shared_parties.service(after_the_body)
    receiver = shared_parties.in_proxy({"api": service.endpoint})
    return shared_parties.out_proxy(("api",), receiver)


class NormalCaller:
    """Calls all the time. slowest_s: the longest that a call took. statuses: how they went."""

    def __init__(self, proxy: ProxyProcess) -> None:
        self._proxy = proxy
        self._stop = threading.Event()
        self.slowest_s = 0.0
        self.statuses: list[int] = []
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _go_on(self) -> None:
        while not self._stop.wait(0.02):  # a caller, not a load
            started_s = time.monotonic()
            self.statuses.append(call(self._proxy, b"amount=1").status)
            self.slowest_s = max(self.slowest_s, time.monotonic() - started_s)


@pytest.fixture
def caller(out: ProxyProcess) -> Iterator[NormalCaller]:
    """A normal caller beside the attack."""
    caller = NormalCaller(out)
    yield caller
    caller.stop()


ATTACKS = {
    "slow headers": ["-H", "-i", "2", "-x", "24"],
    "slow body": ["-B", "-i", "2", "-s", "8192", "-x", "10"],
    "slow read": ["-X", "-n", "2", "-z", "32", "-w", "512", "-y", "1024"],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_normal_caller_goes_on_being_served(out: ProxyProcess, caller: NormalCaller, attack: str) -> None:
    program = shutil.which("slowhttptest")
    if program is None:
        pytest.fail("slowhttptest is missing; install the Debian package of that name")
    assert isinstance(out.listen, tuple)
    url = f"http://127.0.0.1:{out.listen[1]}/api/large"
    before = out.metrics().total("fastproxy_connections_accepted_total")
    done = subprocess.run(
        [
            program,
            *ATTACKS[attack],
            "-c",
            str(CONNECTIONS),
            "-r",
            "200",
            "-l",
            str(SECONDS),
            "-p",
            "5",
            "-u",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS + 60,
    )
    caller.stop()
    said = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert out.metrics().total("fastproxy_connections_accepted_total") >= before + CONNECTIONS
    assert re.findall(r"service available:\s+(\w+)", said)
    assert set(re.findall(r"service available:\s+(\w+)", said)) == {"YES"}
    assert len(caller.statuses) > 50
    assert set(caller.statuses) == {200}
    assert caller.slowest_s < PATIENCE_S
    assert call(out).status == 200
