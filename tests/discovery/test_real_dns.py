"""Names behind a real DNS server, in a network namespace with a resolver configuration of its own."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE_OF = {"dnsmasq": "dnsmasq-base", "ip": "iproute2"}


@pytest.fixture
def namespace() -> Iterator[str]:
    """Name of a network namespace whose only DNS server is 127.0.0.1."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to make a network namespace: run it as root, as CI does")
    missing = [package for command, package in PACKAGE_OF.items() if shutil.which(command) is None]
    if missing:
        pytest.fail(f"install these Debian packages first: {' '.join(missing)}")
    name = f"fastproxy-dns-{os.getpid()}"
    etc = Path("/etc/netns") / name
    etc.mkdir(parents=True)
    try:
        # One try of three seconds: a dead server is noticed soon, a slow one has its time.
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:3 attempts:1\n")
        subprocess.run(["ip", "netns", "add", name], check=True)
        try:
            subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
            yield name
        finally:
            left = subprocess.run(["ip", "netns", "pids", name], check=True, capture_output=True, text=True)
            for pid in left.stdout.split():  # only what a broken test left in its own namespace
                os.kill(int(pid), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", name], check=True)
    finally:
        shutil.rmtree(etc)


def test_records_change_vanish_and_return_and_the_server_dies(namespace: str, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    played = subprocess.run(
        ["ip", "netns", "exec", namespace, sys.executable, "-m", "tests.discovery.play_dns", str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert played.returncode == 0, played.stderr
    last_known = ["198.51.100.7", "192.0.2.2", "192.0.2.3"]
    assert json.loads(played.stdout) == {
        "started": ["198.51.100.7", "192.0.2.1", "2001:db8::1"],
        "changed": last_known,
        "name gone": last_known,
        "server dead": last_known,
        "server back": ["198.51.100.7", "192.0.2.4"],
        "not there yet": [],
        "there now": ["192.0.2.5"],
    }
    assert played.stderr.count("doesn't resolve") == 2
    assert played.stderr.count("resolves again") == 2
