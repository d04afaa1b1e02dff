"""Processes of a run: a real chain is started, asked and ended, and nothing of it is left."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import pytest

from fastproxy.bench.configs import Leg
from fastproxy.bench.credentials import PLACES, issue
from fastproxy.bench.peers import CHAINS, service_command
from fastproxy.bench.processes import Fleet, Process, StartError, await_answer, pick_ports


def group_exists(group_id: int) -> bool:
    try:
        os.killpg(group_id, 0)
    except ProcessLookupError:
        return False
    return True


def test_ports_differ() -> None:
    assert len(set(pick_ports(50))) == 50


@pytest.mark.parametrize("name", ["haproxy-tcp", "haproxy-h1", "haproxy-h2", "nginx-h1"])
def test_a_chain_answers_and_leaves_nothing_behind(name: str, tmp_path: Path) -> None:
    (chain,) = (chain for chain in CHAINS if chain.name == name)
    assert chain.prepare is not None
    credentials = issue(tmp_path)
    service_port, in_port, out_port = pick_ports(3)
    ports = {"out": (out_port, in_port), "in": (in_port, service_port)}
    with Fleet() as fleet:
        processes = [fleet.start(service_command(service_port, tmp_path), tmp_path / "service.log")]
        for place in PLACES:
            folder = tmp_path / place
            folder.mkdir()
            leg = Leg(place, *ports[place], admin_port=0, folder=folder, credentials=credentials)
            processes.append(fleet.start(chain.prepare(leg), folder / "log"))
        await_answer(out_port, processes)
    assert not [process.pid for process in processes if group_exists(process.pid)]


def test_a_process_that_ends_at_its_start_is_reported_with_its_log(tmp_path: Path) -> None:
    (port,) = pick_ports(1)
    with Fleet() as fleet:
        command = [sys.executable, "-c", "raise SystemExit('no such setting: colour')"]
        process = fleet.start(command, tmp_path / "log")
        with pytest.raises(StartError, match="no such setting: colour"):
            await_answer(port, [process])


STUBBORN = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = os.fork()
if child != 0:
    print(child)
    sys.exit()          # the parent goes, the child stays and won't listen
signal.pause()
"""


def test_children_that_outlive_their_parent_end_too(tmp_path: Path) -> None:
    process = Process([sys.executable, "-c", STUBBORN], tmp_path / "log")
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    child = os.pidfd_open(int(process.log_tail()))
    try:
        process.stop()
        ended, _, _ = select.select([child], [], [], 5)
        assert ended
    finally:
        os.close(child)
