"""From `fastproxy init` to a call that succeeds: the files are run as they were written.

Only the four ports, which are fixed so that people know them, are replaced by ones that are free here.
"""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from fastproxy.bench.processes import Fleet
from fastproxy.demo.sample_services import Got, SampleService
from tests.e2e.proxies import reserved_port

FASTPROXY = [sys.executable, "-m", "fastproxy"]
LIMIT_S = 20


def start(fleet: Fleet, folder: Path, name: str) -> None:
    """Run one of the configs, and wait until it says on its log that it is ready."""
    log = folder / f"{name}.log"
    process = fleet.start([*FASTPROXY, "run", str(folder / f"{name}.yaml")], log)
    while process.is_running():
        if '"ready"' in log.read_text():
            return
    raise AssertionError(process.log_tail())


def test_a_call_through_what_init_wrote(tmp_path: Path) -> None:
    with SampleService("api") as service, ExitStack() as reserved, Fleet() as fleet:
        subprocess.run(
            [*FASTPROXY, "init", "--caller", "web", "--service", f"api=127.0.0.1:{service.port}"],
            cwd=tmp_path, check=True, capture_output=True, timeout=LIMIT_S,
        )  # fmt: skip
        ports = {
            old: str(reserved.enter_context(reserved_port())) for old in ("8033", "8034", "9033", "9034")
        }
        for name in ("in", "out"):
            file = tmp_path / f"{name}.yaml"
            file.write_text(
                re.sub(r"(?<=127\.0\.0\.1:)[89]03[34]", lambda old: ports[old[0]], file.read_text())
            )
        start(fleet, tmp_path, "in")
        start(fleet, tmp_path, "out")
        connection = http.client.HTTPConnection("127.0.0.1", int(ports["8034"]), timeout=LIMIT_S)
        connection.request("POST", "/api/v1/items?page=2", "a=1")
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        assert response.status == 200
        assert answer == {"service": "api", "caller": "web", "you_sent": "a=1"}
        assert list(service.got) == [Got("POST", "/v1/items?page=2", "web", "a=1")]
