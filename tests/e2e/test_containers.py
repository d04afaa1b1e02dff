"""A proxy as containers run it: the first process, with nobody who reads what it writes, on a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.client import fetch
from tests.e2e.launching import TIME_LIMIT_S, config_file, ended, launched, run_command, standing_in
from tests.e2e.proxies import address_of

IN_ITS_OWN = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")


def _can_unshare() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*IN_ITS_OWN, "true"], capture_output=True, check=False).returncode == 0


first_process = pytest.mark.skipif(not _can_unshare(), reason="no namespace of processes can be made here")


# --- as the first process -------------------------------------------------------------------------------


@first_process
def test_as_the_first_process_it_reaps_strangers_and_passes_the_exit_code_on(tmp_path: Path) -> None:
    """Orphans become the first process's; where nobody reaps them, they pile up until no more can start."""
    job = """
import os, signal, time
from pathlib import Path
read, write = os.pipe()
if (middle := os.fork()) == 0:
    if os.fork() == 0:
        os.close(read)
        while os.getppid() != 1:
            time.sleep(0.001)
        os._exit(0)
    os._exit(0)
os.waitpid(middle, 0)
os.close(write)
os.read(read, 1)  # ends when the orphan does
def dead():
    stats = [path.read_text() for path in Path("/proc").glob("[0-9]*/stat")]
    return [stat for stat in stats if stat.rpartition(")")[2].split()[0] == "Z"]
while dead():  # the test's time limit bounds it
    time.sleep(0.01)
os._exit(11)
"""
    command = ("--with", "--", sys.executable, "-c", job)
    with launched(config_file(tmp_path), *command, prefix=IN_ITS_OWN) as proxy:
        assert proxy.wait() == 11
    assert proxy.log.wait_for(message="the command has started")


@first_process
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_as_the_first_process_it_ends_when_it_is_told_to(tmp_path: Path, signum: int) -> None:
    """The first process never gets a signal that it doesn't handle, nor dies of it."""
    with launched(config_file(tmp_path), prefix=IN_ITS_OWN) as proxy:
        proxy.ready()
        os.kill(first_process_of(proxy.process.pid), signum)
        assert proxy.wait() == 0
        assert proxy.log.wait_for(message="stopped")


@first_process
def test_as_the_first_process_it_ends_when_told_twice(tmp_path: Path) -> None:
    with launched(config_file(tmp_path, drain={"delay_s": 600}), prefix=IN_ITS_OWN) as proxy:
        proxy.ready()
        pid = first_process_of(proxy.process.pid)
        os.kill(pid, signal.SIGTERM)
        proxy.log.wait_for(message="draining")
        os.kill(pid, signal.SIGTERM)
        assert proxy.wait() == 0


def first_process_of(unshare: int) -> int:
    """The process that `unshare --fork` has started."""
    return int(Path(f"/proc/{unshare}/task/{unshare}/children").read_text())


# --- with nobody who reads ------------------------------------------------------------------------------


FULL = (">/dev/full", "2>/dev/full")
CLOSED = ("<&-", ">&-", "2>&-")


def into(where: Sequence[str], *command: str) -> list[str]:
    """A command line whose standard streams a shell has put somewhere."""
    return ["sh", "-c", f'exec "$@" {" ".join(where)}', "sh", *command]


@contextmanager
def running(command: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command, with pipes for its output that nobody reads from, nor ever will."""
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.Popen(command, stdout=writer, stderr=writer)
    os.close(writer)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("where", [FULL, CLOSED, CLOSED[2:], ()])
def test_a_full_disk_or_nobody_at_all_behind_its_logs_stops_nothing(
    tmp_path: Path, where: Sequence[str]
) -> None:
    ready = tmp_path / "ready"
    file = config_file(tmp_path, log={"level": "debug"})
    with running(into(where, *run_command(file, "--ready-file", ready))) as process:
        standing = standing_in(ready, process)
        for _ in range(20):  # each of which is logged
            assert fetch(address_of(standing.listen), "GET", "/").status == 404
            assert fetch(address_of(standing.admin), "GET", "/readyz").status == 200
        os.kill(standing.pid, signal.SIGTERM)
        assert process.wait(TIME_LIMIT_S) == 0
    assert not ready.exists()


@first_process
def test_a_disk_that_fills_up_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """Of its own, 16 KiB large; it gets room again, and the log says how much is missing."""
    disk, ready = tmp_path / "disk", tmp_path / "ready"
    disk.mkdir()
    script = f'mount -t tmpfs -o size=16k tmpfs {disk} && exec "$@" >>{disk}/out 2>>{disk}/err'
    proxy = run_command(config_file(tmp_path), "--ready-file", ready)
    with running(["unshare", "--mount", "sh", "-c", script, "sh", *proxy]) as process:
        standing = standing_in(ready, process)
        files = [Path(f"/proc/{standing.pid}/root{disk}/{name}") for name in ("out", "err")]
        for _ in range(150):
            assert fetch(address_of(standing.listen), "GET", "/").status == 404
        assert sum(file.stat().st_size for file in files) <= 16_384
        for file in files:
            os.truncate(file, 0)
        end_s = time.monotonic() + TIME_LIMIT_S
        while b"log lines were dropped" not in files[1].read_bytes():
            assert fetch(address_of(standing.listen), "GET", "/").status == 404
            assert time.monotonic() < end_s
            time.sleep(0.01)
        os.kill(standing.pid, signal.SIGTERM)
        assert process.wait(TIME_LIMIT_S) == 0


@pytest.mark.parametrize("where", [FULL, CLOSED])
def test_a_start_that_fails_has_its_exit_code_though_nobody_hears_why(
    tmp_path: Path, where: Sequence[str]
) -> None:
    file = config_file(tmp_path, listen={"address": "127.0.0.1:0", "nonsense": 1})
    done = subprocess.run(into(where, *run_command(file)), timeout=TIME_LIMIT_S, check=False)
    assert done.returncode == 2


def test_a_start_that_fails_leaves_no_ready_file(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    ready.write_text("of an earlier one")
    file = config_file(tmp_path, listen={"address": "192.0.2.1:80"})
    assert ended(file, "--ready-file", ready).returncode == 1
    assert not ready.exists()
