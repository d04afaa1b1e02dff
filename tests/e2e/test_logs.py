"""What running proxies write of exchanges: all of it by the time they end, and nobody waits for a reader."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.e2e.client import Client, fetch
from tests.e2e.conftest import Maker
from tests.e2e.nginx import Nginx
from tests.e2e.proxies import LineFeed, Samples, address_of, key_of, out_config, write_key

CALLERS, ROUNDS = 8, 20
UNREAD = 500
"""Lines that nobody reads: some 150 KB, of which a proxy holds 64 KiB."""


def test_when_a_proxy_ends_each_exchange_has_its_line(make: Maker, nginx: Nginx) -> None:
    pair = make.pair({"web": [nginx.endpoint]})
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(pair.address)) for _ in range(CALLERS)]
        exchanges = []
        for _ in range(ROUNDS):
            for client in clients:
                client.send(b"GET /web/hello HTTP/1.1\r\nHost: web\r\n\r\n")
            exchanges += [client.answer().exchange for client in clients]
        for proxy in (pair.out, pair.inner):
            proxy.signal()
    for proxy in (pair.out, pair.inner):
        proxy.stop()
        assert sorted(line["id"] for line in proxy.access.lines) == sorted(exchanges)


def test_who_does_not_read_the_access_log_holds_nobody_up_and_is_told_what_is_missing(
    tmp_path: Path,
) -> None:
    write_key(tmp_path, "web")
    file = tmp_path / "out.yaml"
    file.write_text(json.dumps(out_config({"web": []}, key_of("in"), "127.0.0.1:1")))
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)  # what is held fills it many times
    process = subprocess.Popen(
        [sys.executable, "-m", "fastproxy", "run", str(file)], stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert process.stderr is not None
    log = LineFeed(process.stderr)
    with ExitStack() as stack:
        stack.callback(log.close)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        ready = log.wait_for(message="ready")
        with Client(address_of(ready["listen"])) as client:
            for _ in range(UNREAD):
                assert client.request("GET", "/unknown/service").status == 404
        metrics = fetch(address_of(ready["admin"]), "GET", "/metrics", host="localhost").body.decode()
        dropped = Samples(metrics).total("fastproxy_log_lines_dropped_total")
        assert 0 < dropped < UNREAD
        access = LineFeed(os.fdopen(reading, "rb"))
        stack.callback(access.close)
        stack.callback(process.wait)
        stack.callback(process.terminate)
        assert access.wait_for(message="log lines were dropped")["dropped"] == dropped
        assert len(access.lines) == UNREAD - dropped + 1
        assert all(line["status"] == 404 for line in access.lines[:-1])
