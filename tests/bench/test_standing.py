"""Standing up: a port that another program took meanwhile costs a second attempt, nothing else."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from fastproxy.bench import standing
from fastproxy.bench.configs import Leg
from fastproxy.bench.credentials import PLACES, issue
from fastproxy.bench.peers import CHAINS, Chain
from fastproxy.bench.processes import Fleet, StartError, pick_ports
from fastproxy.bench.standing import stand, start_service


@pytest.mark.parametrize("name", ["haproxy-tcp", "nginx-h1", "fastproxy-link"])
def test_a_taken_port_is_chosen_anew(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken_from = next(chain for chain in CHAINS if chain.name == name)
    service_folder = tmp_path / "service"
    service_folder.mkdir()
    with Fleet() as fleet, socket.create_server(("127.0.0.1", 0)) as taken:
        service = start_service(service_folder, fleet)
        taken_port = taken.getsockname()[1]
        chosen: list[list[int]] = []

        def pick(count: int) -> list[int]:
            ports = pick_ports(count)
            if not chosen:
                ports[1] = taken_port  # that of the in proxy
            chosen.append(ports)
            return ports

        monkeypatch.setattr(standing, "pick_ports", pick)
        chain = stand(taken_from, service, tmp_path, fleet, issue(tmp_path))
        assert len(chosen) == 2
        assert chain.port == chosen[1][0]
        assert chain.is_whole()
        assert chain.start_s > 0
        assert chain.proxies.keys() == set(PLACES)


def test_what_fails_otherwise_is_tried_once_and_ended(tmp_path: Path) -> None:
    started: list[Path] = []

    def fail(leg: Leg) -> list[str]:
        started.append(leg.folder)
        return [sys.executable, "-c", "raise SystemExit('no such setting: colour')"]

    service_folder = tmp_path / "service"
    service_folder.mkdir()
    with Fleet() as fleet:
        service = start_service(service_folder, fleet)
        with pytest.raises(StartError, match="no such setting: colour"):
            stand(Chain("broken", "broken", None, fail), service, tmp_path, fleet, issue(tmp_path))
    assert len(started) == len(PLACES)
